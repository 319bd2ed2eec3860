//! Linux as a guest, to compare with: the lab's kernel, its own drivers, and stock iperf3.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::machine;
use crate::{
    build::{crates, fetch::BUSYBOX, host_kernel},
    initramfs,
    parts::{Accelerator, HostKernel, Qemu},
    system::{
        debian,
        progress::Step,
        scratch::Scratch,
        tools::{self, Tool},
    },
};

/// What the guest says on its console once its services can be reached; the address and the driver
/// follow.
pub const READY: &str = "linux: ready";

/// Drivers of all NICs there are models of, and VLANs.
const MODULES: &[&str] =
    &["virtio_pci", "virtio_net", "e1000", "e1000e", "igb", "ixgbe", "ixgbevf", "8021q"];
/// Its distribution's kernel wants more than the unikernel.
pub const MEMORY_MIB: u32 = 512;
/// Nothing that makes emulation slower than it has to be: Linux is to be at its best.
const COMMAND_LINE: &str = "console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off nokaslr \
                            tsc=reliable no_timer_check random.trust_cpu=on";

const TOOLS: &[Tool] = &[
    Tool::program("dpkg-deb", "dpkg"),
    Tool::program("xz", "xz-utils"),
    Tool::program("ldd", "libc-bin"),
    Tool::program("ip", "iproute2"),
    Tool::program("iperf3", "iperf3"),
    Tool::program("setpriv", "util-linux"),
];

/// The address that makes the guest ask for one; it needs busybox for that.
pub const DHCP: &str = "dhcp";

/// A command line of its kernel. `address` is `ADDRESS/LENGTH`, or [`DHCP`].
pub(crate) fn append(address: &str, gateway: &str) -> String {
    format!("{COMMAND_LINE} GUEST_IP={address} GUEST_GW={gateway}")
}

/// A Linux guest in files.
#[derive(Debug)]
pub struct LinuxGuest {
    /// Its kernel.
    pub kernel: HostKernel,
    pub(crate) initramfs: PathBuf,
    _directory: Scratch,
}

impl LinuxGuest {
    /// Fetches the kernel and packs the rest, with progress shown.
    pub fn prepare(kernel: Option<&Path>) -> Result<Self> {
        Self::prepare_with(kernel, None)
    }

    /// As [`LinuxGuest::prepare`], with busybox.
    pub fn prepare_with_busybox(kernel: Option<&Path>) -> Result<Self> {
        Self::prepare_with(kernel, Some(&busybox()?))
    }

    fn prepare_with(kernel: Option<&Path>, more: Option<&Path>) -> Result<Self> {
        tools::require("the Linux guest", TOOLS)?;
        let kernel = host_kernel::get(kernel)?;
        let init = crates::linux_guest()?;
        let programs = ["ip", "iperf3"].map(|name| tools::find_program(name).context(name));
        let [ip, iperf3] = programs;
        let (ip, iperf3) = (ip?, iperf3?);
        let programs: Vec<&Path> = [&*ip, &*iperf3].into_iter().chain(more).collect();
        let step = Step::new("Packing the Linux guest");
        let directory = Scratch::new()?;
        let path = directory.join("initramfs");
        let out = File::create(&path)?;
        initramfs::write_guest(&out, &init, &kernel, MODULES, &programs)
            .with_context(|| path.display().to_string())?;
        step.finish(format_args!("{} MiB", out.metadata()?.len() >> 20));
        Ok(Self { kernel, initramfs: path, _directory: directory })
    }

    /// The machine with this guest, without NIC and serial port. `address` is `ADDRESS/LENGTH`, or
    /// [`DHCP`]; then nothing uses the gateway, which may be empty. A guest with busybox has a
    /// shell on its second serial port.
    pub fn command_line(
        &self,
        qemu: &Qemu,
        accelerator: Accelerator,
        address: &str,
        gateway: &str,
    ) -> Vec<String> {
        let append = append(address, gateway);
        let image = &self.kernel.image;
        let mut line = machine::command_line(qemu, accelerator, MEMORY_MIB, image, &append);
        line.extend(["-initrd".into(), self.initramfs.display().to_string()]);
        line
    }
}

/// Busybox, from the cache or the distribution.
fn busybox() -> Result<PathBuf> {
    let tree = debian::place(BUSYBOX)?;
    if !tree.exists() {
        debian::unpack_package(BUSYBOX, &tree).context("the Linux guest's DHCP client")?;
    }
    // /bin is a link to /usr/bin since Debian 12, and newer packages use the latter.
    ["bin/busybox", "usr/bin/busybox"]
        .map(|program| tree.join(program))
        .into_iter()
        .find(|program| program.is_file())
        .with_context(|| format!("there is no busybox in {}", tree.display()))
}

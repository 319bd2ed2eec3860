//! Linux as a guest, to compare with: the lab's kernel, its own drivers, and stock iperf3.

use std::{fs::File, path::PathBuf};

use anyhow::{Context, Result};
use lab::{
    initramfs,
    parts::{Accelerator, HostKernel, Qemu},
};
use tempfile::TempDir;

use crate::{
    build, cli, host_kernel, machine,
    progress::Step,
    tools::{self, Tool},
};

/// What the guest says on its console once its services can be reached; the address and the driver follow.
pub(crate) const READY: &str = "linux: ready";

/// Drivers of all NICs there are models of.
const MODULES: &[&str] = &["virtio_pci", "virtio_net", "e1000", "e1000e", "igb", "ixgbe"];
/// Its distribution's kernel wants more than the unikernel.
pub(crate) const MEMORY_MIB: u32 = 512;
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

/// A Linux guest in files.
#[derive(Debug)]
pub(crate) struct LinuxGuest {
    pub(crate) kernel: HostKernel,
    initramfs: PathBuf,
    _directory: TempDir,
}

impl LinuxGuest {
    /// Fetches the kernel and packs the rest, with progress shown.
    pub(crate) fn prepare(host: &cli::Host) -> Result<Self> {
        tools::require("the Linux guest", TOOLS)?;
        let kernel = host_kernel::get(host.host_kernel.as_deref())?;
        let init = build::linux_guest()?;
        let programs = ["ip", "iperf3"].map(|name| tools::find_program(name).context(name));
        let [ip, iperf3] = programs;
        let step = Step::new("Packing the Linux guest");
        let directory = tempfile::Builder::new().prefix("godwit-linux-").tempdir()?;
        let path = directory.path().join("initramfs");
        let out = File::create(&path)?;
        initramfs::write_guest(&out, &init, &kernel, MODULES, &[&ip?, &iperf3?])
            .with_context(|| path.display().to_string())?;
        step.finish(format_args!("{} MiB", out.metadata()?.len() >> 20));
        Ok(Self { kernel, initramfs: path, _directory: directory })
    }

    /// The machine with this guest, without NIC and serial port. `address` is `ADDRESS/LENGTH`.
    pub(crate) fn command_line(
        &self,
        qemu: &Qemu,
        accelerator: Accelerator,
        address: &str,
        gateway: &str,
    ) -> Vec<String> {
        let append = format!("{COMMAND_LINE} GUEST_IP={address} GUEST_GW={gateway}");
        let image = &self.kernel.image;
        let mut line = machine::command_line(qemu, accelerator, MEMORY_MIB, image, &append);
        line.extend(["-initrd".into(), self.initramfs.display().to_string()]);
        line
    }
}

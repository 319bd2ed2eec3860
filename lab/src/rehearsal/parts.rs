//! What every start of the lab needs, made or fetched with progress shown.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::{
    build::{application::Application, crates, host_kernel, qemu, stock},
    choices::QemuKind,
    guest::{Nic, linux::LinuxGuest, machine},
    hardware::Hardware,
    host::Machines,
    initramfs,
    parts::{HostKernel, NicModel, Qemu},
    runner::Destination,
    system::{
        progress::Step,
        scratch::Scratch,
        tools::{self, Tool},
    },
};

/// Everything to start the lab with. Keeps its files as long as it lives.
#[derive(Debug)]
pub struct LabParts {
    /// Runs the host around the machines, where there is one, and whatever else is needed.
    pub qemu: Qemu,
    /// Runs the machines.
    pub(super) machines: Qemu,
    pub(super) place: Place,
}

/// Where the machines run.
#[derive(Debug)]
pub(super) enum Place {
    /// In the virtual host.
    Nested {
        kernel: HostKernel,
        /// With the guest's image in it.
        initramfs: PathBuf,
        _directory: Scratch,
    },
    /// On this machine.
    Local {
        /// The guest's image.
        guest: PathBuf,
        /// What that starts with, where it is Linux.
        initramfs: Option<PathBuf>,
        /// Keeps both there.
        _linux: Option<LinuxGuest>,
        /// The program that is an 82599, where one is needed.
        model: Option<PathBuf>,
        /// Where the second machine runs, if not here.
        destination: Option<Destination>,
    },
    /// On this machine, with NICs of its own.
    Host {
        /// The guest's image.
        guest: PathBuf,
        /// What of the machine they have.
        machines: Machines,
    },
}

/// What packing the lab takes of the machine, besides what builds QEMU.
const TOOLS: &[Tool] = &[
    Tool::program("dpkg-deb", "dpkg"),
    Tool::program("xz", "xz-utils"),
    Tool::program("setpriv", "util-linux"),
];

/// Builds the guest, the patched QEMU, and the NIC where that is a process of its own.
/// With a `destination`, the second machine runs there.
pub fn prepare_local(
    nic: NicModel,
    application: &Application,
    kind: QemuKind,
    destination: Option<Destination>,
) -> Result<LabParts> {
    tools::require("the lab", &[Tool::program("setpriv", "util-linux")])?;
    let guest = application.build()?;
    let model = nic.is_process().then(crates::ixgbe_model).transpose()?;
    let qemu = of_kind(kind)?;
    let place = Place::Local { guest, initramfs: None, _linux: None, model, destination };
    Ok(LabParts { machines: qemu.clone(), qemu, place })
}

/// The same with Linux as the guest, and a NIC of QEMU's, on this machine.
pub fn prepare_local_linux(kernel: Option<&Path>, kind: QemuKind) -> Result<LabParts> {
    let linux = LinuxGuest::prepare(kernel)?;
    let qemu = of_kind(kind)?;
    let place = Place::Local {
        guest: linux.kernel.image.clone(),
        initramfs: Some(linux.initramfs.clone()),
        _linux: Some(linux),
        model: None,
        destination: None,
    };
    Ok(LabParts { machines: qemu.clone(), qemu, place })
}

/// Builds the guest, and the patched QEMU unless it is installed.
pub fn prepare_host(
    application: &Application,
    kind: QemuKind,
    machines: Machines,
) -> Result<LabParts> {
    tools::require("the lab", &[Tool::program("setpriv", "util-linux")])?;
    // What can be wrong with the request comes first: building takes a while.
    machines.check(&Hardware::here())?;
    let guest = application.build()?;
    let qemu = host_qemu(kind, &machines)?;
    Ok(LabParts { machines: qemu.clone(), qemu, place: Place::Host { guest, machines } })
}

/// What runs machines with NICs of this one: the patched QEMU is built unless it is installed.
pub fn host_qemu(kind: QemuKind, machines: &Machines) -> Result<Qemu> {
    match kind {
        QemuKind::Patched => machine::qemu_for(&Nic::Vfio(machines.nics[0].clone())),
        other => of_kind(other),
    }
}

/// Builds the guest, the patched QEMU and the lab's host.
pub fn prepare(
    kernel: Option<&Path>,
    application: &Application,
    kind: QemuKind,
) -> Result<LabParts> {
    tools::require("the lab", TOOLS)?;
    let guest = application.build()?;
    pack(host_kernel::get(kernel)?, kind, |out| initramfs::append_guest(out, &guest))
}

/// The same with Linux as the guest, whose kernel is the host's as well.
pub fn prepare_linux(kernel: Option<&Path>, kind: QemuKind) -> Result<LabParts> {
    tools::require("the lab", TOOLS)?;
    let linux = LinuxGuest::prepare(kernel)?;
    pack(linux.kernel.clone(), kind, |out| {
        initramfs::append_linux(out, &linux.kernel.image, &linux.initramfs)
    })
}

/// Packs the lab's host, with the guest that is appended to it.
fn pack(
    kernel: HostKernel,
    kind: QemuKind,
    append_guest: impl FnOnce(&mut File) -> Result<()>,
) -> Result<LabParts> {
    let init = crates::lab_init()?;
    let (qemu, machines) = (qemu::get()?, of_kind(kind)?);
    let step = Step::new("Packing the lab's host");
    let directory = Scratch::new()?;
    let initramfs = directory.join("initramfs");
    let mut out = File::create(&initramfs)?;
    initramfs::write(&mut out, &init, &machines, &kernel)
        .and_then(|()| append_guest(&mut out))
        .with_context(|| initramfs.display().to_string())?;
    step.finish(format_args!("{} MiB", out.metadata()?.len() >> 20));
    let place = Place::Nested { kernel, initramfs, _directory: directory };
    Ok(LabParts { qemu, machines, place })
}

fn of_kind(kind: QemuKind) -> Result<Qemu> {
    match kind {
        QemuKind::Patched => qemu::get(),
        QemuKind::Stock => stock::get(),
        QemuKind::Backports => stock::backports(),
    }
}

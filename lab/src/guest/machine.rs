//! The machine that runs a guest outside the lab: which QEMU, and its command line by parts.

use std::{path::Path, process::Command};

use anyhow::Result;

use super::options::Nic;
use crate::{
    build::qemu,
    parts::{Accelerator, NicModel, Qemu},
    system::{command, tools},
};

/// The distribution's QEMU when there is one, else the patched one.
///
/// # Errors
/// There is none, and the patched one cannot be built.
pub fn qemu() -> Result<Qemu> {
    distribution_qemu().map_or_else(qemu::get, Ok)
}

/// The distribution's QEMU when it has this NIC (igb came with 8.0), else the patched one.
///
/// # Errors
/// There is none, and the patched one cannot be built.
pub fn qemu_with(model: NicModel) -> Result<Qemu> {
    match distribution_qemu() {
        Some(qemu) if has_device(&qemu, model.device())? => Ok(qemu),
        _ => qemu::get(),
    }
}

/// The same for whatever NIC a guest is given: one of this machine's wants the migration
/// capability, which the patched one has.
///
/// # Errors
/// As those of [`qemu_with`].
pub fn qemu_for(nic: &Nic) -> Result<Qemu> {
    match nic {
        Nic::Emulated(model) => qemu_with(*model),
        Nic::Vfio(_) => match distribution_qemu() {
            Some(qemu) if has_capability(&qemu)? => Ok(qemu),
            _ => qemu::get(),
        },
    }
}

/// Whether a QEMU's ports can tell a guest that its memory is being logged.
///
/// # Errors
/// It does not say what they can.
pub fn has_capability(qemu: &Qemu) -> Result<bool> {
    let help = command::run(Command::new(&qemu.binary).args(["-device", "pcie-root-port,help"]))?;
    Ok(String::from_utf8_lossy(&help.stdout).contains(CAPABILITY))
}

/// The property of a port that has it.
pub const CAPABILITY: &str = "x-dirty-log";

/// Where the panic device is: out of the way of those that are given no place. That it was told of
/// a crash is an event of the monitor's; how the machine ends stays the guest's to say.
const PANIC_SLOT: &str = "0x1e";

fn distribution_qemu() -> Option<Qemu> {
    let binary = tools::find_program("qemu-system-x86_64")?;
    Some(Qemu { binary, data: Vec::new() })
}

/// Whether a QEMU has a device.
///
/// # Errors
/// It does not say which it has.
pub fn has_device(qemu: &Qemu, device: &str) -> Result<bool> {
    let output = command::run(Command::new(&qemu.binary).args(["-device", "help"]))?;
    Ok(String::from_utf8_lossy(&output.stdout).contains(&format!("name \"{device}\",")))
}

/// The machine with a guest, without NIC and serial port.
pub fn command_line(
    qemu: &Qemu,
    accelerator: Accelerator,
    memory_mib: u32,
    image: &Path,
    append: &str,
) -> Vec<String> {
    let (accelerator, cpu) = match accelerator {
        Accelerator::Kvm => ("kvm", "host"),
        Accelerator::Tcg => ("tcg", "max"),
    };
    let mut line = qemu.command_line();
    let rest = format!(
        "-nodefaults -no-user-config -display none -no-reboot -M q35 -accel {accelerator} \
         -cpu {cpu} -m {memory_mib} -device isa-debug-exit,iobase=0xf4,iosize=4 \
         -device pvpanic-pci,addr={PANIC_SLOT} -action panic=none"
    );
    line.extend(rest.split(' ').map(str::to_owned));
    line.extend(["-kernel".into(), image.display().to_string(), "-append".into(), append.into()]);
    line
}

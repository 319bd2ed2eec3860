//! Whether KVM works, found out by using it.

use std::{fs::File, path::Path, time::Duration};

use anyhow::Result;
use clap::ValueEnum;

use super::{AttachedNic, Guest, Net, READY, Wire, machine, nic};
use crate::parts::{Accelerator, NicModel, Qemu};
use crate::system::scratch::Scratch;

/// What to look for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Accel {
    /// KVM where it has been seen to run a guest, else software.
    Auto,
    /// KVM.
    Kvm,
    /// Software.
    Tcg,
}

const MEMORY_MIB: u32 = 128;
/// A guest under a KVM that works is ready long before, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(5);

/// What `--accel` comes to on this machine. One line says so when `auto` finds KVM unusable.
pub fn choose(accel: Accel, qemu: &Qemu, image: &Path) -> Result<Accelerator> {
    match accel {
        Accel::Kvm => Ok(Accelerator::Kvm),
        Accel::Tcg => Ok(Accelerator::Tcg),
        Accel::Auto => match kvm_trouble(qemu, image)? {
            None => Ok(Accelerator::Kvm),
            Some(trouble) => {
                eprintln!("KVM is not usable here ({trouble}); emulating in software (TCG)");
                Ok(Accelerator::Tcg)
            }
        },
    }
}

/// What keeps this machine's KVM from running an ordinary guest, namely ours; `None` if nothing.
///
/// Opening `/dev/kvm` proves little: there are machines where that, and a few instructions of real
/// mode, work, and where any kernel hangs or makes QEMU abort.
pub fn kvm_trouble(qemu: &Qemu, image: &Path) -> Result<Option<String>> {
    match File::options().read(true).write(true).open("/dev/kvm") {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Some("there is no /dev/kvm".into()));
        }
        Err(error) => return Ok(Some(format!("/dev/kvm: {error}"))),
        Ok(_) => {}
    }
    let scratch = Scratch::new()?;
    let user = Wire::Netdev(nic::backend(&Net::User, &[])?);
    let nic = AttachedNic::emulated(NicModel::E1000e, &user, MEMORY_MIB)?;
    // Without an address to answer at it would never say that it is ready.
    let line = machine::command_line(qemu, Accelerator::Kvm, MEMORY_MIB, image, "ip=10.0.2.15/24");
    let mut guest = Guest::start(line, Some(nic), &scratch.join("console"))?;
    if guest.wait_so_long_for(READY, PATIENCE).is_ok() {
        return Ok(None);
    }
    if guest.is_speaking() {
        return Ok(Some(format!("a guest was not ready within {} s", PATIENCE.as_secs())));
    }
    let (status, said) = guest.wait_for_end()?;
    // Warnings come before the error, and consequences after it.
    let line = said.lines().find(|line| line.contains("error:")).or(said.lines().last());
    let line = line.map_or(status.to_string(), str::to_owned);
    Ok(Some(line.trim_start_matches("qemu-system-x86_64: ").to_owned()))
}

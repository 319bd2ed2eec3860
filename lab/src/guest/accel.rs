//! Whether KVM works, found out by using it.

use std::{fs::File, path::Path, time::Duration};

use anyhow::Result;
use clap::ValueEnum;

use super::{AttachedNic, Guest, Net, READY, Wire, exits, machine, nic};
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
/// Exits that a guest may need until then, many times over.
const EXITS: u32 = 50_000;
/// Hardware takes a microsecond or two for an exit, and the lab's emulated host a quarter of a
/// millisecond. Where it takes more, a guest is faster in software.
const DEAR: Duration = Duration::from_millis(1);
/// What QEMU says of a processor that KVM cannot go on with; it stops the machine, and stays.
const STUCK: [&str; 2] = ["KVM internal error", "emulation failure"];

/// What came of trying KVM.
#[derive(Debug, Clone)]
pub struct Trial {
    /// What an exit costs, if one came.
    pub exit: Option<Duration>,
    /// What keeps it from running an ordinary guest; `None` if nothing.
    pub trouble: Option<String>,
}

/// What `--accel` comes to on this machine. One line says so when `auto` finds KVM unusable.
pub fn choose(accel: Accel, qemu: &Qemu, image: &Path) -> Result<Accelerator> {
    match accel {
        Accel::Kvm => Ok(Accelerator::Kvm),
        Accel::Tcg => Ok(Accelerator::Tcg),
        Accel::Auto => match try_kvm(qemu, image)?.trouble {
            None => Ok(Accelerator::Kvm),
            Some(trouble) => {
                eprintln!("KVM is not usable here ({trouble}); emulating in software (TCG)");
                Ok(Accelerator::Tcg)
            }
        },
    }
}

/// Tries this machine's KVM: first what an exit costs, then an ordinary guest, namely ours.
///
/// Opening `/dev/kvm` proves little: there are machines where that, and a few instructions of real
/// mode, work, and where any kernel hangs or makes QEMU abort.
pub fn try_kvm(qemu: &Qemu, image: &Path) -> Result<Trial> {
    let trouble = |exit, trouble: String| Ok(Trial { exit, trouble: Some(trouble) });
    match File::options().read(true).write(true).open("/dev/kvm") {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return trouble(None, "there is no /dev/kvm".into());
        }
        Err(error) => return trouble(None, format!("/dev/kvm: {error}")),
        Ok(_) => {}
    }
    let cost = match exits::cost(qemu, Accelerator::Kvm) {
        Ok(cost) if cost > DEAR => {
            return trouble(Some(cost), format!("an exit takes {} µs", cost.as_micros()));
        }
        Ok(cost) => cost,
        Err(error) => return trouble(None, format!("{error:#}")),
    };
    let (exit, patience) = (Some(cost), PATIENCE + cost * EXITS);
    let scratch = Scratch::new()?;
    let user = Wire::Netdev(nic::backend(&Net::User, &[])?);
    let nic = AttachedNic::emulated(NicModel::E1000e, &user, MEMORY_MIB)?;
    // Without an address to answer at it would never say that it is ready.
    let line = machine::command_line(qemu, Accelerator::Kvm, MEMORY_MIB, image, "ip=10.0.2.15/24");
    let mut guest = Guest::start(line, Some(nic), &scratch.join("console"))?;
    match guest.wait_for_any(&[&[READY], &STUCK[..]].concat(), patience) {
        Ok(line) if line.contains(READY) => return Ok(Trial { exit, trouble: None }),
        Ok(line) => return trouble(exit, format!("a guest ended in: {}", line.trim())),
        Err(_) => {}
    }
    if guest.is_speaking() {
        return trouble(exit, format!("a guest was not ready within {} s", patience.as_secs()));
    }
    let (status, said) = guest.wait_for_end()?;
    // Warnings come before the error, and consequences after it.
    let line = said.lines().find(|line| line.contains("error:")).or(said.lines().last());
    let line = line.map_or(status.to_string(), str::to_owned);
    trouble(exit, line.trim_start_matches("qemu-system-x86_64: ").to_owned())
}

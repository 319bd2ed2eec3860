//! Whether KVM works, found out by using it.

use std::{
    fs::{self, File},
    path::Path,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use clap::ValueEnum;

use super::{AttachedNic, Net, READY, Wire, machine, nic};
use crate::{
    parts::{Accelerator, NicModel, Qemu},
    system::process::Guard,
};

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
    let scratch = tempfile::tempdir()?;
    let console_path = scratch.path().join("console");
    let said_path = scratch.path().join("qemu");
    let mut line =
        machine::command_line(qemu, Accelerator::Kvm, MEMORY_MIB, image, "ip=10.0.2.15/24");
    let user = Wire::Netdev(nic::backend(&Net::User, &[])?);
    // Without an address to answer at it would never say that it is ready.
    line.extend(AttachedNic::emulated(NicModel::E1000e, &user, MEMORY_MIB)?.options);
    line.extend(["-serial".into(), format!("file:{}", console_path.display())]);
    let said = File::create(&said_path)?;
    let mut guest = Guard::spawn(
        Guard::command(&line[0])
            .args(&line[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(said),
    )
    .context("cannot start QEMU")?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let console = fs::read_to_string(&console_path).unwrap_or_default();
        if console.contains(READY) {
            return Ok(None);
        }
        if let Some(status) = guest.try_wait()? {
            let said = fs::read_to_string(&said_path).unwrap_or_default();
            // Warnings come before the error, and consequences after it.
            let line = said.lines().find(|line| line.contains("error:")).or(said.lines().last());
            let line = line.map_or(status.to_string(), str::to_owned);
            return Ok(Some(line.trim_start_matches("qemu-system-x86_64: ").to_owned()));
        }
        if Instant::now() > deadline {
            let seconds = PATIENCE.as_secs();
            return Ok(Some(format!("a guest was not ready within {seconds} s")));
        }
        thread::sleep(Duration::from_millis(20));
    }
}

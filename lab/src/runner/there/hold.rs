//! What runs on the other machine for as long as the connection lasts.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    hardware::{Hardware, Take},
    system::signals,
};

/// What is said when the NIC is held.
pub const HELD: &str = "held";
/// The file with the number of QEMU's process, in the directory.
pub(super) const PROCESS: &str = "process";

/// For a process that was killed to be gone.
const PATIENCE: Duration = Duration::from_secs(10);
const TICK: Duration = Duration::from_millis(20);

/// Holds a NIC until standard input ends, as it does with the connection. Then it ends the QEMU
/// that has it, removes the directory, which has this program too, and gives the NIC back.
///
/// # Errors
/// The NIC cannot be had, with what to do about it.
pub fn hold(directory: &Path, nic: Option<(&str, Take)>) -> Result<()> {
    ensure!(directory.join("tool").is_file(), "{} is of no run", directory.display());
    let path = directory.to_path_buf();
    // Also when a signal comes, and before the NIC is given back, which waits for QEMU's end.
    let ((), clear) = signals::Finally::doing(|| (), move || clear(&path));
    let claim = match nic {
        Some((address, take)) => Some(Hardware::here().claim(address, take)?),
        None => None,
    };
    let mut out = io::stdout();
    writeln!(out, "{HELD}").and_then(|()| out.flush()).context("nobody listens")?;
    io::copy(&mut io::stdin(), &mut io::sink())?;
    drop(clear);
    drop(claim);
    Ok(())
}

fn clear(directory: &Path) {
    let number = fs::read_to_string(directory.join(PROCESS)).unwrap_or_default();
    if let Some(process) = number.trim().parse().ok().and_then(Pid::from_raw) {
        // One that has ended meanwhile is as it should be.
        let _ = kill_process(process, Signal::KILL);
        let place = PathBuf::from(format!("/proc/{}", process.as_raw_nonzero()));
        let deadline = Instant::now() + PATIENCE;
        while place.exists() && Instant::now() < deadline {
            thread::sleep(TICK);
        }
    }
    let _ = fs::remove_dir_all(directory);
}

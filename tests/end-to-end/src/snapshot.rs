//! A machine put back to a snapshot of it: it goes on from there, and its clock knows how long ago
//! that was.

use std::{
    fs::File,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use lab::{
    addresses::HTTP_PORT,
    guest::{
        Forward, Guest, READY,
        clients::{self, free_port},
    },
    parts::NicModel,
};

use crate::{
    kernel::{self, millis},
    monitor::Monitor,
    shapes::says,
    suite::{MINUTES, Suite},
};

/// Of who may have the frames checked.
const TOKEN: &str = "snapshot";
/// What the guest says of each check, before the number.
const CHECKED: &str = "recorder: checked ";
/// Requests after the snapshot.
const FORGOTTEN: u64 = 10;
/// Between the snapshot and the return to it.
const AGO: Duration = Duration::from_secs(5);

pub(crate) fn add(suite: &mut Suite) {
    suite.test("a machine put back to a snapshot serves again", MINUTES, serves);
    suite.test("the kernel counts the time since its snapshot", MINUTES, counts);
}

/// The options of a disk that snapshots go to: what `snapshot=on` puts in front of the file is in a
/// format that has room for them, and is gone with the machine.
fn disk(log: &Path) -> Result<[String; 4]> {
    let file: PathBuf = log.with_extension("disk");
    File::create(&file)?.set_len(1 << 20)?;
    let drive = format!("if=none,id=disk,format=raw,snapshot=on,file={}", file.display());
    Ok(["-drive".into(), drive, "-device".into(), "virtio-blk-pci,drive=disk".into()])
}

/// One that answered before the snapshot answers after it, and has forgotten what was in between.
fn serves(log: &Path) -> Result<String> {
    let monitor = Monitor::new()?;
    let options = [&monitor.options()[..], &disk(log)?].concat();
    let forward = Forward { host: free_port()?, guest: HTTP_PORT };
    let append = format!("token={TOKEN}");
    let mut guest = Guest::boot_with(NicModel::E1000e, log, &append, &[forward], &options)?;
    guest.wait_for(READY)?;
    // How many frames it has recorded, at its so many-th check.
    let recorded = |guest: &mut Guest, times: usize| -> Result<u64> {
        let answer = clients::request(forward.host, "POST", "/check", Some(TOKEN))?;
        ensure!(answer.starts_with("HTTP/1.1 200"), "the answer was {answer:?}");
        says(guest, CHECKED, times)?;
        let console = guest.console();
        let (_, said) = console.rsplit_once(CHECKED).context("it has just been counted")?;
        let (number, stale) = said.trim().split_once(" stale ").context("no result")?;
        ensure!(stale.lines().next() == Some("0"), "{stale} are stale");
        Ok(number.parse()?)
    };
    recorded(&mut guest, 1)?;
    snapshot(&monitor, "savevm")?;
    for _ in 0..FORGOTTEN {
        clients::request(forward.host, "GET", "/", None)?;
    }
    let before = recorded(&mut guest, 2)?;
    snapshot(&monitor, "loadvm")?;
    let after = recorded(&mut guest, 3)?;
    ensure!(after + FORGOTTEN < before, "of {before} frames it has forgotten none: {after}");
    // It may have had a connection under way.
    recorded(&mut guest, 4)?;
    guest.ensure_running()?;
    ensure!(!guest.console().contains("panicked"), "it panicked");
    Ok(String::new())
}

fn counts(log: &Path) -> Result<String> {
    let monitor = Monitor::new()?;
    let options = [&monitor.options()[..], &disk(log)?].concat();
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let mut guest = kernel::boot(log, "check=clock", &options)?;
    // The clocks have been compared by then.
    guest.wait_for("check: tick 20 ")?;
    snapshot(&monitor, "savevm")?;
    const TICK: &str = "check: tick 40 ";
    let before = millis(&guest.wait_for(TICK)?)?;
    thread::sleep(AGO);
    snapshot(&monitor, "loadvm")?;
    says(&mut guest, TICK, 2)?;
    let console = guest.console();
    let after = millis(console.lines().rfind(|line| line.contains(TICK)).unwrap_or_default())?;
    let unseen = after.saturating_sub(before);
    // The TSC of the same QEMU goes on; what it may lack, the PC's clock has in seconds.
    ensure!(unseen >= AGO.as_millis() as u64 - 1000, "of {AGO:?} it counts {unseen} ms");
    Ok(format!("{unseen} ms of {} s", AGO.as_secs()))
}

/// Takes one, or goes back to it. Both are over when the monitor answers again.
fn snapshot(monitor: &Monitor, command: &str) -> Result<()> {
    let said = monitor.ask(&format!("{command} one\ninfo status"), "VM status: ")?;
    ensure!(!said.contains("Error"), "{command}: {said}");
    Ok(())
}

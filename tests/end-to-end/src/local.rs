//! Migrations in the lab on this machine, with the 82599 that knows what it wrote.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use lab::result::Migration;

use crate::{
    migrations::{bypasses, completed, fresh, migrate},
    options::Kernel,
    suite::{LONG, Suite},
};

pub(crate) fn add(suite: &mut Suite, kernel: Kernel) {
    for nic in ["ixgbe", "ixgbevf"] {
        let name = format!("migrate --lab local --nic {nic}");
        suite.test(&name, LONG, move |log| {
            let migration = run(log, kernel, nic, "auto")?;
            let (stale, written) = pages(&migration)?;
            ensure!(stale == 0, "{stale} of {written} pages stale");
            let (differing, memory) = memory(&migration)?;
            ensure!(differing == 0, "{differing} of all {memory} pages differ");
            Ok(format!("{}, 0 of {written} pages, 0 of all {memory}", fresh(&migration)?))
        });
        suite.test(&format!("{name} --marking never loses writes"), LONG, move |log| {
            let migration = run(log, kernel, nic, "never")?;
            let (stale, written) = pages(&migration)?;
            let (differing, _) = memory(&migration)?;
            let frames = migration.integrity.stale.unwrap_or(0);
            ensure!(
                stale > 0 && frames > 0,
                "{stale} of {written} pages and {frames} frames stale without marking: the test \
                 cannot fail"
            );
            ensure!(differing >= stale, "{stale} pages are stale, but only {differing} differ");
            Ok(format!("{frames} frames, {stale} of {written} pages stale"))
        });
    }
}

fn run(log: &Path, kernel: Kernel, nic: &str, marking: &str) -> Result<Migration> {
    let arguments = ["--lab", "local", "--nic", nic, "--marking", marking];
    let migration = migrate(log, kernel, &arguments)?;
    completed(&migration)?;
    bypasses(&migration)?;
    Ok(migration)
}

/// Stale pages, and how many the NIC wrote.
fn pages(migration: &Migration) -> Result<(u64, u64)> {
    let integrity = migration.integrity;
    let counts = integrity.pages_stale.zip(integrity.pages_written);
    let (stale, written) = counts.context("nobody compared the machines' memory")?;
    ensure!(written > 0, "the NIC wrote no page");
    Ok((stale, written))
}

/// Pages that differ, of all of memory.
fn memory(migration: &Migration) -> Result<(u64, u64)> {
    let integrity = migration.integrity;
    let counts = integrity.memory_differing.zip(integrity.memory_pages);
    counts.context("nobody compared all of the machines' memory")
}

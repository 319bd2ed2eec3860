//! Migrations in the lab on this machine, with the 82599 that knows what it wrote.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use lab::result::Migration;

use crate::{
    migrations::{completed, fresh, migrate},
    options::Kernel,
    suite::{LONG, Suite},
};

pub(crate) fn add(suite: &mut Suite, kernel: Kernel) {
    suite.test("migrate --lab local --nic ixgbe", LONG, move |log| {
        let migration = run(log, kernel, "auto")?;
        let (stale, written) = pages(&migration)?;
        ensure!(stale == 0, "{stale} of {written} pages stale");
        Ok(format!("{}, 0 of {written} pages", fresh(&migration)?))
    });
    suite.test("migrate --lab local --nic ixgbe --marking never loses writes", LONG, move |log| {
        let migration = run(log, kernel, "never")?;
        let (stale, written) = pages(&migration)?;
        let frames = migration.integrity.stale.unwrap_or(0);
        ensure!(
            stale > 0 && frames > 0,
            "{stale} of {written} pages and {frames} frames stale without marking: the test \
            cannot fail"
        );
        Ok(format!("{frames} frames, {stale} of {written} pages stale"))
    });
}

fn run(log: &Path, kernel: Kernel, marking: &str) -> Result<Migration> {
    let arguments = ["--lab", "local", "--nic", "ixgbe", "--marking", marking];
    let migration = migrate(log, kernel, &arguments)?;
    completed(&migration)?;
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

//! Migrations in the nested lab.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use lab::{build::application::Application, rehearsal::parts};

use crate::{
    migrations::{check, command, completed, fresh, migrate, path, read},
    options::Kernel,
    suite::{LONG, MINUTES, Suite},
};

pub(crate) fn add(suite: &mut Suite, kernel: Kernel) {
    // What takes minutes when it is not in the cache, with its own progress shown.
    let parts = suite.test("the parts of the lab", LONG, move |_| {
        Ok(parts::prepare(kernel, &Application::ours()?)?.qemu.binary.display().to_string())
    });
    suite.needs(parts);
    suite.test("demo", MINUTES, move |log| demo(log, kernel));
    for marking in ["auto", "always"] {
        suite.test(&format!("migrate --marking {marking}"), MINUTES, move |log| {
            let migration = migrate(log, kernel, &["--marking", marking])?;
            completed(&migration)?;
            let idle = migration.dma.pages_marked_before;
            let idle = idle.context("the guest reported nothing before the migration")?;
            ensure!((idle > 0) == (marking == "always"), "{idle} pages marked while nobody logged");
            fresh(&migration)
        });
    }
    suite.test("migrate --nic igb", MINUTES, move |log| {
        let migration = migrate(log, kernel, &["--nic", "igb"])?;
        completed(&migration)?;
        fresh(&migration)
    });
    suite.test("migrate --marking never loses writes", MINUTES, move |log| {
        let migration = migrate(log, kernel, &["--marking", "never"])?;
        completed(&migration)?;
        let (stale, checked) = check(&migration)?;
        ensure!(stale > 0, "stale is 0 without marking: the test cannot fail");
        Ok(format!("{stale} of {checked} stale"))
    });
    suite.test("migrate --strategy cold", MINUTES, move |log| {
        let migration = migrate(log, kernel, &["--strategy", "cold"])?;
        completed(&migration)?;
        let (stale, checked) = check(&migration)?;
        ensure!(stale == 0 && checked > 0, "{stale} of {checked} stale");
        Ok(String::new())
    });
}

/// The main job, with its report.
fn demo(log: &Path, kernel: Kernel) -> Result<String> {
    let json = log.with_extension("json");
    let said = command(log, kernel, &["demo", "--json", path(&json)?, "--seconds", "5"])?;
    let migration = read(&json)?;
    completed(&migration)?;
    let remark = fresh(&migration)?;
    let last = said.lines().last().context("demo said nothing")?.trim();
    let report = last.rsplit(' ').next().unwrap_or_default();
    ensure!(Path::new(report).exists(), "the last line names no report: {last}");
    Ok(remark)
}

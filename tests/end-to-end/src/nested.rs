//! Migrations in the nested lab.

use anyhow::{Context, ensure};
use lab::{build::application::Application, choices::QemuKind, rehearsal::parts};

use crate::{
    headline,
    migrations::{check, completed, fresh, migrate},
    options::Kernel,
    suite::{LONG, MINUTES, Suite},
};

pub(crate) fn add(suite: &mut Suite, kernel: Kernel) {
    // What takes minutes when it is not in the cache, with its own progress shown.
    let parts = suite.test("the parts of the lab", LONG, move |_| {
        Ok(parts::prepare(kernel, &Application::ours()?, QemuKind::Patched)?
            .qemu
            .binary
            .display()
            .to_string())
    });
    suite.needs(parts);
    headline::add(suite, kernel);
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

//! Migrations in the nested lab.

use anyhow::{Context, ensure};
use lab::{build::application::Application, choices::QemuKind, rehearsal::parts};

use crate::{
    migrations::{check, completed, fresh, fresh_on_arrival, migrate, stale_on_arrival},
    options::Kernel,
    suite::{LONG, MINUTES, Suite},
};

/// The virtual function has no address of the host's, and the guest asks for its own.
const GUEST_CHOOSES: &[&str] = &["--nic", "e1000e", "--destination-nic", "igbvf"];

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
    for nics in [&["--nic", "igb"][..], &["--nic", "igbvf"], GUEST_CHOOSES] {
        suite.test(&format!("migrate {}", nics.join(" ")), MINUTES, move |log| {
            fresh_on_arrival(log, kernel, nics)
        });
    }
    for nic in [&[][..], &["--nic", "igbvf"]] {
        let arguments = [nic, &["--marking", "never"]].concat();
        let name = format!("migrate {} loses writes", arguments.join(" "));
        suite.test(&name, MINUTES, move |log| stale_on_arrival(log, kernel, &arguments));
    }
    suite.test("migrate --strategy cold", MINUTES, move |log| {
        let migration = migrate(log, kernel, &["--strategy", "cold"])?;
        completed(&migration)?;
        let (stale, checked) = check(&migration)?;
        ensure!(stale == 0 && checked > 0, "{stale} of {checked} stale");
        Ok(String::new())
    });
}

//! The distribution's QEMU, without a patch: the NIC is taken and given by commands.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use lab::{
    build::stock,
    migration::Outcome,
    result::{Migration, PhaseName},
};

use crate::{
    migrations::{self, RATE, completed},
    options::Kernel,
    suite::{MINUTES, Suite},
};

const STOCK: [&str; 2] = ["--qemu", "stock"];
const LOCAL: [&str; 4] = ["--lab", "local", "--nic", "e1000e"];
/// What the warm-up is to receive of what was received before it. A NIC that leaves at the start
/// leaves next to nothing.
const KEPT: f64 = 0.8;

/// In the lab on this machine.
pub(crate) fn add_local(suite: &mut Suite, kernel: Kernel) {
    suite.alone("migrate --qemu stock --lab local", MINUTES, move |log| {
        warm(&migrate(log, kernel, &[&STOCK[..], &LOCAL, &["--rate", RATE]].concat())?)
    });
    suite.test("migrate --qemu stock --lab local to and fro", MINUTES, move |log| {
        let times = ["--times", "3", "--rate", RATE];
        let first = migrate(log, kernel, &[&STOCK[..], &LOCAL, &times].concat())?;
        let runs = first.runs();
        ensure!(runs.len() == 3, "{} migrations", runs.len());
        runs.iter().try_for_each(|run| completed(run))?;
        Ok(String::new())
    });
    suite.alone(
        "migrate --qemu stock --lab local cancelled, then completed",
        MINUTES,
        move |log| {
            let cancel = ["--cancel-at", "setup,warmup", "--rate", RATE];
            let first = migrate(log, kernel, &[&STOCK[..], &LOCAL, &cancel].concat())?;
            for run in first.runs() {
                ensure!(run.outcome == Outcome::Cancelled, "it {:?}", run.outcome);
                flows(run)?;
            }
            warm(first.second.as_deref().context("there was no migration in the end")?)
        },
    );
    suite.test("a guest that keeps its NIC stays, under stock QEMU", MINUTES, move |log| {
        let keeps = ["--append", "detach=never", "--rate", RATE];
        stock::get()?;
        let (_, run) = migrations::attempt(log, kernel, &[&STOCK[..], &LOCAL, &keeps].concat())?;
        ensure!(run.outcome == Outcome::Failed, "the outcome is {:?}", run.outcome);
        let error = run.error.as_deref().unwrap_or_default();
        ensure!(error.contains("did not give"), "it failed with {error:?}");
        flows(&run)?;
        Ok(String::new())
    });
}

/// In the nested lab.
pub(crate) fn add_nested(suite: &mut Suite, kernel: Kernel) {
    suite.alone("migrate --qemu stock", MINUTES, move |log| warm(&migrate(log, kernel, &STOCK)?));
}

/// A migration that comes out as it was asked for, if this machine can have that QEMU.
fn migrate(log: &Path, kernel: Kernel, arguments: &[&str]) -> Result<Migration> {
    stock::get()?;
    migrations::migrate(log, kernel, arguments)
}

/// The guest had its NIC in the warm-up, and has one on the destination.
fn warm(run: &Migration) -> Result<String> {
    completed(run)?;
    let share = run.relative(PhaseName::Warmup).context("there was no warm-up")?;
    ensure!(share >= KEPT, "{:.1}% of what was received before in the warm-up", 100.0 * share);
    let gap = run.service_gap_ms;
    Ok(format!("{:.1}% in the warm-up, a gap of {gap:.0} ms", 100.0 * share))
}

/// The guest that has stayed still receives.
fn flows(run: &Migration) -> Result<()> {
    let after = run.phase(PhaseName::After).context("there is no phase after")?;
    ensure!(after.rx_packets > 0, "no traffic reaches the guest");
    Ok(())
}

//! The distribution's QEMUs, without a patch: the NIC is taken and given by commands.

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
    suite::{LONG, MINUTES, Suite},
};

const STOCK: [&str; 2] = ["--qemu", "stock"];
/// The newer one.
const BACKPORTS: [&str; 2] = ["--qemu", "backports"];
const LOCAL: [&str; 4] = ["--lab", "local", "--nic", "e1000e"];
/// What the warm-up is to receive of what was received before it. A NIC that leaves at the start
/// leaves next to nothing.
const KEPT: f64 = 0.8;
/// Of what is compared.
const SECONDS: [&str; 2] = ["--seconds", "3"];

/// In the lab on this machine.
pub(crate) fn add_local(suite: &mut Suite, kernel: Kernel, long: bool) {
    if long {
        suite.test("migrate --qemu backports --lab local to and fro", MINUTES, move |log| {
            let times = ["--times", "3", "--rate", RATE];
            to_and_fro(&migrate(log, kernel, &[&BACKPORTS[..], &LOCAL, &times].concat())?)
        });
        let name = "migrate --qemu backports --lab local cancelled, then completed";
        suite.alone(name, MINUTES, move |log| cancelled(log, kernel, BACKPORTS, &LOCAL));
        let name = "a guest that keeps its NIC stays, under the QEMU of backports";
        suite.test(name, MINUTES, move |log| kept(log, kernel, BACKPORTS));
    }
    suite.alone("migrate --qemu stock --lab local", MINUTES, move |log| {
        warm(&migrate(log, kernel, &[&STOCK[..], &LOCAL, &["--rate", RATE], &SECONDS].concat())?)
    });
    suite.test("migrate --qemu stock --lab local to and fro", MINUTES, move |log| {
        let times = ["--times", "3", "--rate", RATE];
        to_and_fro(&migrate(log, kernel, &[&STOCK[..], &LOCAL, &times].concat())?)
    });
    suite.alone(
        "migrate --qemu stock --lab local cancelled, then completed",
        MINUTES,
        move |log| cancelled(log, kernel, STOCK, &LOCAL),
    );
    suite.test("a guest that keeps its NIC stays, under stock QEMU", MINUTES, move |log| {
        kept(log, kernel, STOCK)
    });
}

/// In the nested lab.
pub(crate) fn add_nested(suite: &mut Suite, kernel: Kernel, long: bool) {
    suite.alone("migrate --qemu stock", MINUTES, move |log| {
        warm(&migrate(log, kernel, &[STOCK, SECONDS].concat())?)
    });
    if long {
        suite.alone("migrate --qemu backports", MINUTES, move |log| {
            warm(&migrate(log, kernel, &[BACKPORTS, SECONDS].concat())?)
        });
        suite.alone("migrate --qemu stock --nic igbvf", MINUTES, move |log| {
            warm(&migrate(log, kernel, &[STOCK, ["--nic", "igbvf"], SECONDS].concat())?)
        });
        let name = "migrate --qemu stock cancelled, then completed, nested";
        suite.alone(name, LONG, move |log| cancelled(log, kernel, STOCK, &[]));
    }
}

fn to_and_fro(first: &Migration) -> Result<String> {
    let runs = first.runs();
    ensure!(runs.len() == 3, "{} migrations", runs.len());
    runs.iter().try_for_each(|run| completed(run))?;
    Ok(String::new())
}

fn cancelled(log: &Path, kernel: Kernel, qemu: [&str; 2], lab: &[&str]) -> Result<String> {
    let cancel = ["--cancel-at", "setup,warmup", "--rate", RATE];
    let first = migrate(log, kernel, &[&qemu[..], lab, &cancel, &SECONDS].concat())?;
    for run in first.runs() {
        ensure!(run.outcome == Outcome::Cancelled, "it {:?}", run.outcome);
        flows(run)?;
    }
    warm(first.second.as_deref().context("there was no migration in the end")?)
}

fn kept(log: &Path, kernel: Kernel, qemu: [&str; 2]) -> Result<String> {
    let keeps = ["--append", "detach=never", "--rate", RATE];
    is_there(qemu)?;
    let (_, run) = migrations::attempt(log, kernel, &[&qemu[..], &LOCAL, &keeps].concat())?;
    ensure!(run.outcome == Outcome::Failed, "the outcome is {:?}", run.outcome);
    let error = run.error.as_deref().unwrap_or_default();
    ensure!(error.contains("did not give"), "it failed with {error:?}");
    flows(&run)?;
    Ok(String::new())
}

/// Whether this machine can have that QEMU.
fn is_there(qemu: [&str; 2]) -> Result<()> {
    if qemu == BACKPORTS { stock::backports() } else { stock::get() }.map(drop)
}

/// A migration that comes out as it was asked for, if this machine can have that QEMU.
fn migrate(log: &Path, kernel: Kernel, arguments: &[&str]) -> Result<Migration> {
    is_there([arguments[0], arguments[1]])?;
    migrations::migrate(log, kernel, arguments)
}

/// The guest had its NIC in the warm-up, and has one on the destination.
fn warm(run: &Migration) -> Result<String> {
    completed(run)?;
    let share = run.relative(PhaseName::Warmup).context("there was no warm-up")?;
    ensure!(share >= KEPT, "{:.1}% of what was received before in the warm-up", 100.0 * share);
    let gap = run.service_gap_ms;
    let qemu = &run.facts.qemu;
    Ok(format!("{qemu}: {:.1}% in the warm-up, a gap of {gap:.0} ms", 100.0 * share))
}

/// The guest that has stayed still receives.
fn flows(run: &Migration) -> Result<()> {
    let after = run.phase(PhaseName::After).context("there is no phase after")?;
    ensure!(after.rx_packets > 0, "no traffic reaches the guest");
    Ok(())
}

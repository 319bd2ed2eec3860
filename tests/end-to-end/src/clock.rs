//! The lab's own clock: what a result says, it says on a busy machine as well.

use std::{
    hint,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
};

use anyhow::{Context, Result, ensure};
use lab::{
    choices::ClockKind,
    result::{Migration, PhaseName},
};

use crate::{
    migrations::{completed, migrate},
    options::Kernel,
    suite::{LONG, Suite},
};

/// Threads that want this machine's processors, to each of them.
const HOGS: usize = 2;
/// What two measurements of the same rate may differ by, of the larger.
const APART: f64 = 0.02;
/// And two of the same gap: a command may reach a machine some milliseconds earlier or later.
const APART_MS: f64 = 25.0;

const VIRTUAL: &[&str] = &["--clock", "virtual"];

pub(crate) fn add(suite: &mut Suite, kernel: Kernel, long: bool) {
    if !long {
        return;
    }
    suite.test("the same figures on a busy machine", LONG, move |log| {
        let idle = migrate(&log.with_extension("idle"), kernel, VIRTUAL)?;
        let busy = beside_others(|| migrate(&log.with_extension("busy"), kernel, VIRTUAL))?;
        same(&idle, &busy)
    });
}

/// Does something while others want all processors.
fn beside_others<T>(work: impl FnOnce() -> T) -> T {
    let stop = AtomicBool::new(false);
    let processors = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..processors * HOGS {
            scope.spawn(|| {
                while !stop.load(Relaxed) {
                    hint::spin_loop();
                }
            });
        }
        let done = work();
        stop.store(true, Relaxed);
        done
    })
}

fn same(idle: &Migration, busy: &Migration) -> Result<String> {
    let mut remarks = Vec::new();
    for (name, figure) in [("saturated", saturated as fn(&Migration) -> _), ("warm-up", warmup)] {
        let (idle, busy) = (figure(idle)?, figure(busy)?);
        let apart = (idle - busy).abs() / idle.max(busy);
        let said = format!("{name} {:.0} and {:.0} Mbit/s", idle / 1e6, busy / 1e6);
        ensure!(apart <= APART, "{said}");
        remarks.push(said);
    }
    for run in [idle, busy] {
        completed(run)?;
        short_gap(run)?;
        ensure!(run.facts.lab_clock == Some(ClockKind::Virtual), "{:?}", run.facts.lab_clock);
    }
    let (idle, busy) = (idle.service_gap_ms, busy.service_gap_ms);
    ensure!((idle - busy).abs() <= APART_MS, "gaps of {idle:.0} and {busy:.0} ms");
    remarks.push(format!("gaps of {idle:.0} and {busy:.0} ms"));
    Ok(remarks.join(", "))
}

/// That the NIC is not missing for much longer than the machine, in the lab's own time
/// (docs/lab.md).
fn short_gap(migration: &Migration) -> Result<()> {
    const LONGER_MS: f64 = 50.0;
    let downtime = migration.migration.downtime_ms.context("there is no downtime")? as f64;
    let gap = migration.service_gap_ms;
    let message = format!("a gap of {gap:.0} ms with a downtime of {downtime:.0} ms");
    ensure!(gap <= downtime + LONGER_MS, message);
    Ok(())
}

fn saturated(run: &Migration) -> Result<f64> {
    Ok(run.saturated.as_ref().context("nothing flooded the guest")?.before)
}

fn warmup(run: &Migration) -> Result<f64> {
    Ok(run.phase(PhaseName::Warmup).context("there is no warm-up")?.rx_bits_per_s)
}

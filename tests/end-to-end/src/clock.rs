//! The lab's own clock: what a result says, it says on a busy machine as well.

use std::{
    hint,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
};

use anyhow::{Context, Result, ensure};
use lab::{
    choices::ClockKind,
    result::{Migration, PhaseName, headline::BEYOND_DOWNTIME_MS},
};

use crate::{
    migrations::{completed, migrate},
    options::Kernel,
    suite::{LONG, Suite},
};

/// Threads that want this machine's processors, to each of them.
const HOGS: usize = 2;
/// How many runs there are on the machine as it is, and as many beside others.
const RUNS: usize = 3;
/// And how many there are for the saturated figure alone.
const STARTS: usize = 10;
/// What the means of both may differ by, of the larger.
const APART: f64 = 0.02;
/// And any two runs, each of which is a start of its own.
const SPREAD: f64 = 0.05;
/// And the means of the gaps: a command may reach a machine some milliseconds earlier or later.
const APART_MS: f64 = 25.0;

const VIRTUAL: &[&str] = &["--clock", "virtual"];

pub(crate) fn add(suite: &mut Suite, kernel: Kernel, long: bool) {
    if !long {
        return;
    }
    suite.alone("the same figures on a busy machine", LONG, move |log| {
        let run =
            |name: &str, n| migrate(&log.with_extension(format!("{name}{n}")), kernel, VIRTUAL);
        let idle: Vec<_> = (0..RUNS).map(|n| run("idle", n)).collect::<Result<_>>()?;
        let busy = (0..RUNS).map(|n| beside_others(|| run("busy", n)));
        let busy: Vec<_> = busy.collect::<Result<_>>()?;
        same(&idle, &busy)
    });
    suite.test("ten starts have the same saturated figure", 2 * LONG, move |log| {
        let options = [VIRTUAL, &["--seconds", "1"]].concat();
        let start = |n: usize| migrate(&log.with_extension(n.to_string()), kernel, &options);
        steady(&(0..STARTS).map(start).collect::<Result<Vec<_>>>()?)
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

fn same(idle: &[Migration], busy: &[Migration]) -> Result<String> {
    let all = || idle.iter().chain(busy);
    for run in all() {
        completed(run)?;
        short_gap(run)?;
        ensure!(run.facts.lab_clock == Some(ClockKind::Virtual), "{:?}", run.facts.lab_clock);
    }
    let mut remarks = Vec::new();
    for (name, figure) in [("saturated", saturated as fn(&Migration) -> _), ("warm-up", warmup)] {
        let rates: Vec<f64> = all().map(figure).collect::<Result<_>>()?;
        let (idle, busy) = rates.split_at(idle.len());
        let (idle, busy) = (mean(idle), mean(busy));
        let megabits: Vec<String> = rates.iter().map(|r| format!("{:.0}", r / 1e6)).collect();
        let said = format!("{name} {} Mbit/s", megabits.join(", "));
        ensure!(apart(&[idle, busy]) <= APART && apart(&rates) <= SPREAD, "{said}");
        remarks.push(said);
    }
    let gap =
        |runs: &[Migration]| mean(&runs.iter().map(|run| run.service_gap_ms).collect::<Vec<_>>());
    let said = format!("gaps of {:.0} and {:.0} ms in the mean", gap(idle), gap(busy));
    ensure!((gap(idle) - gap(busy)).abs() <= APART_MS, "{said}");
    remarks.push(said);
    Ok(remarks.join(", "))
}

/// A guest takes the same when flooded, whichever start it is measured in.
fn steady(runs: &[Migration]) -> Result<String> {
    ensure!(runs.len() == STARTS, "{} starts", runs.len());
    runs.iter().try_for_each(completed)?;
    let rates: Vec<f64> = runs.iter().map(saturated).collect::<Result<_>>()?;
    let megabits: Vec<String> = rates.iter().map(|rate| format!("{:.0}", rate / 1e6)).collect();
    let said = format!("{} Mbit/s, {:.1}% apart", megabits.join(", "), 100.0 * apart(&rates));
    ensure!(apart(&rates) <= SPREAD, "{said}");
    Ok(said)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// What the outermost of them differ by, of the largest.
fn apart(values: &[f64]) -> f64 {
    let largest = values.iter().copied().fold(f64::MIN, f64::max);
    let smallest = values.iter().copied().fold(f64::MAX, f64::min);
    (largest - smallest) / largest
}

/// That the NIC is not missing for much longer than the machine.
fn short_gap(migration: &Migration) -> Result<()> {
    let downtime = migration.migration.downtime_ms.context("there is no downtime")? as f64;
    let gap = migration.service_gap_ms;
    let message = format!("a gap of {gap:.0} ms with a downtime of {downtime:.0} ms");
    ensure!(gap <= downtime + BEYOND_DOWNTIME_MS, message);
    Ok(())
}

fn saturated(run: &Migration) -> Result<f64> {
    Ok(run.saturated.as_ref().context("nothing flooded the guest")?.before)
}

fn warmup(run: &Migration) -> Result<f64> {
    Ok(run.phase(PhaseName::Warmup).context("there is no warm-up")?.rx_bits_per_s)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn a_figure_that_moves_with_the_machine_is_seen() {
        let three = || [(); RUNS].map(|()| sample::run());
        assert!(same(&three(), &three()).is_ok());
        let busy = |change: fn(&mut Migration)| {
            let mut busy = three();
            busy.iter_mut().for_each(change);
            same(&three(), &busy).map_err(|error| error.to_string())
        };
        let slower = busy(|run| run.saturated.as_mut().unwrap().before *= 0.97).unwrap_err();
        assert!(slower.contains("saturated 2585, 2585, 2585, 2507"), "{slower}");
        assert!(busy(|run| run.phases[1].rx_bits_per_s *= 0.97).is_err());
        assert!(busy(|run| run.service_gap_ms += 30.0).is_err());
        assert!(busy(|run| run.service_gap_ms += 60.0).unwrap_err().contains("downtime"));
        assert!(busy(|run| run.facts.lab_clock = Some(ClockKind::Real)).is_err());
        let mut one = three();
        one[1].saturated.as_mut().unwrap().before *= 0.945;
        assert!(same(&one, &three()).is_err(), "one start in three is another");

        let mut ten = [(); STARTS].map(|()| sample::run());
        assert!(steady(&ten).is_ok() && steady(&ten[1..]).is_err());
        ten[7].saturated.as_mut().unwrap().before *= 0.945;
        assert!(steady(&ten).unwrap_err().to_string().ends_with("5.5% apart"));
    }
}

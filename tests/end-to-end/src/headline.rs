//! The main job, with its report: what is claimed of it, in the lab's own time, in which a run has
//! the same figures however busy this machine is.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use lab::{
    choices::ClockKind,
    result::{Migration, PhaseName},
};

use crate::{
    migrations::{command, completed, fresh, path, read},
    options::Kernel,
    suite::{LONG, Suite},
};

/// The part of a paced load that is received in the warm-up.
const PACED: f64 = 0.98;
/// What the guest takes when flooded, in bits a second, and the part of it that it takes in the
/// warm-up: what is reached today. To be raised with every improvement.
const FLOOD: f64 = 1.9e9;
const SATURATED: f64 = 0.84;
/// Milliseconds that the service is gone for beyond the downtime.
const BEYOND_DOWNTIME: f64 = 50.0;
/// The part of its throughput that a guest keeps whose NIC was taken away: the control, without
/// which the rest could be a measurement that sees no loss. (That of `fresh` are the tests whose
/// marking policy is `never`.)
const WITHOUT_NIC: f64 = 0.1;

pub(crate) fn add(suite: &mut Suite, kernel: Kernel) {
    suite.test("demo --clock virtual keeps what the README says", LONG, move |log| {
        let json = log.with_extension("json");
        let report = log.with_extension("report");
        let options = ["demo", "--clock", "virtual", "--seconds", "2"];
        let files = ["--json", path(&json)?, "--report", path(&report)?];
        let said = command(log, kernel, &[&options[..], &files].concat())?;
        let last = said.lines().last().context("demo said nothing")?.trim();
        ensure!(Path::new(last).is_file(), "the last line names no page: {last}");
        let migration = read(&json)?;
        completed(&migration)?;
        let integrity = fresh(&migration)?;
        Ok(format!("{}; {integrity}", figures(&migration)?))
    });
}

fn figures(run: &Migration) -> Result<String> {
    ensure!(run.facts.lab_clock == Some(ClockKind::Virtual), "{:?}", run.facts.lab_clock);
    let rate = |name| run.phase(name).map(|phase| phase.rx_bits_per_s).context("no such phase");
    let (before, warmup) = (rate(PhaseName::Before)?, rate(PhaseName::Warmup)?);
    let paced = warmup / before;
    ensure!(paced >= PACED, "{paced:.3} of the paced load in the warm-up");

    let saturated = run.saturated.context("nothing flooded the guest")?;
    ensure!(saturated.before >= FLOOD, "flooded, it takes {:.0} bit/s", saturated.before);
    let kept = saturated.warmup.context("no flood in a warm-up")? / saturated.before;
    ensure!(kept >= SATURATED, "{kept:.3} of the flood in the warm-up");

    let downtime = run.migration.downtime_ms.context("there is no downtime")? as f64;
    let gap = run.service_gap_ms;
    ensure!(gap > 0.0 && gap <= downtime + BEYOND_DOWNTIME, "{gap} ms, downtime {downtime} ms");
    let losses = run.losses.context("nobody counted")?;
    ensure!(losses.duplicates == 0, "{} datagrams came twice", losses.duplicates);

    let control = run.baseline.context("there is no control")?;
    let without = control.warmup_bits_per_s / control.before_bits_per_s;
    ensure!(without <= WITHOUT_NIC, "{without:.3} of its throughput without a NIC");
    Ok(format!(
        "paced {:.1}%, saturated {:.1}% of {:.0} Mbit/s, gap {gap:.0} ms (downtime {downtime:.0} \
         ms), without a NIC {:.1}%",
        100.0 * paced,
        100.0 * kept,
        saturated.before / 1e6,
        100.0 * without
    ))
}

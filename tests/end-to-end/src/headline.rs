//! The main job, with its report: what is claimed of it, in the lab's own time, in which a run has
//! the same figures however busy this machine is.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use lab::{
    choices::ClockKind,
    result::{Migration, PhaseName, headline::shortfalls},
};

use crate::{
    migrations::{command, completed, fresh, path, read},
    options::Kernel,
    suite::{LONG, Suite},
};

/// What the guest takes when flooded, in bits a second: what is reached today, to be raised with
/// every improvement. The demo itself claims only what a warm-up leaves of it, since the figure is
/// that of one model of a processor.
const FLOOD: f64 = 2.4e9;

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
        let faults = faults(&migration);
        ensure!(faults.is_empty(), "{}", faults.join("; "));
        Ok(format!("{}; {integrity}", figures(&migration)?))
    });
}

/// What does not hold of it: what the demo itself would say, and what says that it was measured.
fn faults(run: &Migration) -> Vec<String> {
    let mut all = shortfalls(run);
    let mut hold = |holds: bool, otherwise: String| all.extend((!holds).then_some(otherwise));
    // In this machine's time the demo holds itself to less.
    let clock = run.facts.lab_clock;
    hold(clock == Some(ClockKind::Virtual), format!("its clock is {clock:?}"));
    let flood = run.saturated.map_or(0.0, |saturated| saturated.before);
    hold(flood >= FLOOD, format!("flooded, it takes {flood:.0} bit/s"));
    hold(run.service_gap_ms > 0.0, "a service that was never gone was not measured".into());
    match run.losses {
        Some(losses) => hold(
            losses.duplicates == 0,
            format!("{} datagrams came more than once", losses.duplicates),
        ),
        None => hold(false, "nobody counted datagrams".into()),
    }
    let control = run.baseline.is_some_and(|control| control.before_bits_per_s > 0.0);
    hold(control, "there is no control".into());
    all
}

fn figures(run: &Migration) -> Result<String> {
    let paced = run.relative(PhaseName::Warmup).context("no warm-up")?;
    let saturated = run.saturated.context("nothing flooded the guest")?;
    let kept = saturated.kept().context("no flood in a warm-up")?;
    let downtime = run.migration.downtime_ms.context("there is no downtime")?;
    let control = run.baseline.context("there is no control")?;
    Ok(format!(
        "paced {:.1}%, saturated {:.1}% of {:.0} Mbit/s, gap {:.0} ms (downtime {downtime} ms), \
         without a NIC {:.1}%",
        100.0 * paced,
        100.0 * kept,
        saturated.before / 1e6,
        run.service_gap_ms,
        100.0 * control.warmup_bits_per_s / control.before_bits_per_s
    ))
}

#[cfg(test)]
mod tests {
    use lab::result::Phase;

    use super::*;
    use crate::sample;

    fn warmup(run: &mut Migration) -> &mut Phase {
        run.phases.iter_mut().find(|phase| phase.name == PhaseName::Warmup).unwrap()
    }

    #[test]
    fn every_claim_is_missed_when_it_does_not_hold() {
        assert_eq!(faults(&sample::run()), [""; 0]);
        type Doctor = fn(&mut Migration);
        let doctored: [(&str, Doctor); 11] = [
            ("paced throughput", |run| warmup(run).rx_bits_per_s *= 0.97),
            ("saturated throughput", |run| run.saturated.as_mut().unwrap().warmup = Some(2.1e9)),
            ("saturated throughput", |run| run.saturated.as_mut().unwrap().warmup = None),
            ("the service was gone for 168 ms", |run| run.service_gap_ms += 42.0),
            ("downtime", |run| run.migration.downtime_ms = None),
            ("the control kept", |run| run.baseline.as_mut().unwrap().warmup_bits_per_s = 2e8),
            ("its clock is", |run| run.facts.lab_clock = Some(ClockKind::Real)),
            ("flooded, it takes", |run| {
                run.saturated.as_mut().unwrap().before = 2.39e9;
                run.saturated.as_mut().unwrap().warmup = Some(2.38e9);
            }),
            ("never gone", |run| run.service_gap_ms = 0.0),
            ("1 datagrams came more", |run| run.losses.as_mut().unwrap().duplicates = 1),
            ("no control", |run| run.baseline = None),
        ];
        for (words, doctor) in doctored {
            let mut run = sample::run();
            doctor(&mut run);
            let [fault] = &faults(&run)[..] else { panic!("{words}: {:?}", faults(&run)) };
            assert!(fault.contains(words), "{words}: {fault}");
        }
        let mut run = sample::run();
        run.losses = None;
        assert_eq!(faults(&run), ["nobody counted datagrams"]);
    }
}

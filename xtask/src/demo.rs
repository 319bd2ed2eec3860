//! `cargo xtask demo`.

use std::time::Duration;

use anyhow::Result;
use lab::{
    build::application::Application,
    choices::{ClockKind, LabKind, QemuKind, Strategy},
    migration::Outcome,
    rehearsal::{self, Script, parts},
    report::Place,
    result::{Migration, PhaseName, headline},
};

use crate::{cli::Demo, ending::Ending, migrate};

/// How long traffic is measured before and after the migration to compare with.
const BASELINE: Duration = Duration::from_secs(3);

pub(crate) fn main(options: &Demo) -> Result<Ending> {
    let application = Application::ours()?;
    migrate::check_model(LabKind::Nested, options.nic)?;
    let parts = parts::prepare(options.host.kernel(), &application, QemuKind::Patched)?;
    let place = Place::take(&options.report)?;
    let mut script = Script {
        clock: options.clock.unwrap_or(ClockKind::Real),
        measure: Duration::from_secs(options.seconds.into()),
        saturated_warmup: true,
        logs: place.logs(),
        ..Script::of(application, options.nic)
    };
    let mut result = rehearsal::run(&script, &parts)?;
    if options.clock.is_none() && is_disturbed(&result) {
        eprintln!(
            "All arrived, but others used this machine, and these figures are in its time. Once \
             more in the lab's own, as with --clock virtual, where they do not count:"
        );
        script.clock = ClockKind::Virtual;
        match rehearsal::run(&script, &parts) {
            Ok(again) => result = again,
            // What came out at first is shown, and judged as it is.
            Err(error) => {
                eprintln!("That failed: {error:#}");
                script.clock = ClockKind::Real;
            }
        }
    }
    eprintln!("The same with the NIC taken away at the start, to compare:");
    let cold = Script {
        strategy: Strategy::Cold,
        rate: result.traffic.paced_bits_per_s.map(|rate| rate as u64),
        measure: script.measure.min(BASELINE),
        saturated_warmup: false,
        logs: script.logs.join("cold"),
        ..script
    };
    let baseline = rehearsal::run(&cold, &parts);
    if let Ok(baseline) = &baseline {
        result.baseline = Some(baseline.as_baseline());
        result.facts.note_crashes(baseline.facts.lab_crashes.clone());
    }
    let page = migrate::publish(&result, &place, options.json.as_deref())?;
    let mut complaints = complaints(&result);
    complaints.extend(baseline.err().map(|error| format!("the baseline: {error:#}")));
    let shortfalls = headline::shortfalls(&result);
    let ending = ending(&result, complaints.is_empty(), shortfalls.is_empty());
    for complaint in complaints.iter().chain(&shortfalls) {
        eprintln!("error: {complaint}");
    }
    if ending == Ending::Disturbed {
        eprintln!(
            "Others used this machine meanwhile, and these figures are in its time: have it for \
             yourself, or take `--clock virtual`."
        );
    }
    println!("{}", page.display());
    Ok(ending)
}

/// Whether all is right but the figures, and those may be because of others.
fn is_disturbed(result: &Migration) -> bool {
    let is_as_claimed = headline::shortfalls(result).is_empty();
    ending(result, complaints(result).is_empty(), is_as_claimed) == Ending::Disturbed
}

fn ending(result: &Migration, is_right: bool, is_as_claimed: bool) -> Ending {
    match (is_right, is_as_claimed) {
        _ if result.integrity.is_stale() => Ending::Stale,
        (true, true) => Ending::AsAsked,
        (true, false) if headline::disturbance(result).is_some() => Ending::Disturbed,
        _ => Ending::Failed,
    }
}

/// What is wrong, whatever the figures are.
fn complaints(result: &Migration) -> Vec<String> {
    let mut complaints = Vec::new();
    if result.outcome != Outcome::Completed {
        complaints.push("the migration did not complete".into());
    }
    match (result.integrity.check(), result.integrity.while_logging) {
        (Some((0, 1..)), Some(1..)) => {}
        (Some((stale @ 1.., _)), _) => complaints.push(format!("{stale} frames are stale")),
        (Some((0, 0)) | None, _) => complaints.push("the guest checked no frame".into()),
        (_, Some(0) | None) => complaints.push("no frame came while logging was on".into()),
    }
    let after = result.phase(PhaseName::After).map_or(0.0, |phase| phase.rx_bits_per_s);
    if result.outcome == Outcome::Completed && after <= 0.0 {
        complaints.push("no traffic reaches the guest on the destination".into());
    }
    complaints
}

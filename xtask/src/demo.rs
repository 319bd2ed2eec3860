//! `cargo xtask demo`.

use std::time::Duration;

use anyhow::Result;
use lab::{
    build::application::Application,
    choices::{Bridge, Chipset, ClockKind, LabKind, Marking, Strategy, TrafficKind},
    migration::Outcome,
    rehearsal::{self, Script, parts},
    report::Place,
    result::{Migration, PhaseName},
};

use crate::{cli::Demo, ending::Ending, migrate};

/// How long traffic is measured before and after the migration to compare with.
const BASELINE: Duration = Duration::from_secs(3);

/// The part of throughput that the warm-up keeps, at least: the claim.
const WARMUP: f64 = 0.98;

pub(crate) fn main(options: &Demo) -> Result<Ending> {
    let application = Application::ours()?;
    let place = Place::take(&options.report)?;
    migrate::check_model(LabKind::Nested, options.nic)?;
    let parts = parts::prepare(options.host.kernel(), &application)?;
    let script = Script {
        application,
        clock: options.clock,
        nic: options.nic,
        destination_nic: None,
        nics: 1,
        strategy: Strategy::Warm,
        standby: false,
        chipset: Chipset::Q35,
        bridge: Bridge::PcieRootPort,
        times: 1,
        marking: Marking::Auto,
        traffic: TrafficKind::Udp,
        client: None,
        port: None,
        transfer: 0,
        rate: None,
        measure: Duration::from_secs(options.seconds.into()),
        cancel_at: Vec::new(),
        saturated_warmup: true,
        append: String::new(),
        pcap: None,
        logs: place.logs(),
    };
    let mut result = rehearsal::run(&script, &parts)?;
    eprintln!("The same with the NIC taken away at the start, to compare:");
    let cold = Script {
        strategy: Strategy::Cold,
        rate: result.traffic.paced_bits_per_s.map(|rate| rate as u64),
        measure: BASELINE,
        saturated_warmup: false,
        logs: script.logs.join("cold"),
        ..script
    };
    let baseline = rehearsal::run(&cold, &parts);
    result.baseline = baseline.as_ref().ok().map(Migration::as_baseline);
    let page = migrate::publish(&result, &place, options.json.as_deref())?;
    let mut complaints = complaints(&result);
    complaints.extend(baseline.err().map(|error| format!("the baseline: {error:#}")));
    for complaint in &complaints {
        eprintln!("error: {complaint}");
    }
    println!("{}", page.display());
    Ok(match complaints.is_empty() {
        true => Ending::AsAsked,
        false if result.integrity.is_stale() => Ending::Stale,
        false => Ending::Failed,
    })
}

/// What is not as it has to be.
fn complaints(result: &Migration) -> Vec<String> {
    let mut complaints = Vec::new();
    if result.outcome != Outcome::Completed {
        complaints.push("the migration did not complete".into());
    }
    match result.integrity.check() {
        Some((0, 1..)) => {}
        Some((stale @ 1.., _)) => complaints.push(format!("{stale} frames are stale")),
        Some((0, 0)) | None => complaints.push("the guest checked no frame".into()),
    }
    let after = result.phase(PhaseName::After).map_or(0.0, |phase| phase.rx_bits_per_s);
    if result.outcome == Outcome::Completed && after <= 0.0 {
        complaints.push("no traffic reaches the guest on the destination".into());
    }
    // In this machine's time it says as much about who else uses the machine.
    let warmup = result.of_before(PhaseName::Warmup);
    if let (Some(ClockKind::Virtual), Some(share)) = (result.facts.lab_clock, warmup)
        && share < WARMUP
    {
        complaints.push(format!("{:.1}% of throughput in the warm-up", 100.0 * share));
    }
    complaints
}

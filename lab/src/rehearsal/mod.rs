//! What `migrate`, `demo` and `test` have in common: the lab booted with a guest in it, traffic,
//! migrations, results.

mod again;
mod crash;
mod facts;
mod live;
mod load;
pub mod parts;
mod script;
pub mod soak;
mod stage;

use std::{fs, sync::Arc, time::Duration};

use crate::{
    addresses::{GATEWAY, GUEST, GUESTS, interface_name},
    choices::{CancelAt, ClockKind, GuestKind, TrafficKind},
    guest::linux,
    migration::{Effort, Exits, Lab, Outcome, Plan, Session},
    result::{self, CommandLine, Migration, Saturated, Setting, Traffic},
    segment::Segment,
    source::Meter,
    system::{processors::ProcessorTime, scratch::Scratch},
};
use anyhow::{Context, Result, bail};
pub use crash::is_of_the_lab;
use crash::lost;
use facts::{facts, kind};
use live::{Live, Stage};
use load::{Carried, IP_LENGTH, Load, RECORDER, SETTLE};
pub use parts::LabParts;
use parts::Place;
pub use script::Script;
use stage::start_lab;

/// Paced traffic takes this share of what the guest takes when saturated. More than half; the
/// rest is for the migration, which the same processors emulate.
const SHARE: f64 = 0.52;
/// What depends on how dear emulation is there, and a second of the clock.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// How long QEMU is kept in the warm-up: as long as a guest that uses some gigabytes would
    /// take.
    warmup: Duration,
    /// What the migration may send in the warm-up, in bytes a second.
    bandwidth: u64,
    /// How long a saturated rate is measured.
    flood: Duration,
    /// The same in a migration's warm-up, which begins with more work than it goes on with.
    flooded_warmup: Duration,
}

/// Each page sent costs the guest a trap when it is next written to, and traps are a hundred times
/// dearer under emulation.
const NESTED: Pace = Pace {
    warmup: Duration::from_secs(20),
    bandwidth: 2 << 20,
    flood: Duration::from_secs(4),
    flooded_warmup: Duration::from_secs(10),
};
/// The same in virtual time. A second of it takes several, but evens out as much as many. QEMU
/// sends a hundredth of its default, as traps are that much dearer.
const NESTED_VIRTUAL: Pace = Pace {
    warmup: Duration::from_secs(6),
    bandwidth: (128 << 20) / 100,
    flood: Duration::from_secs(2),
    flooded_warmup: Duration::from_secs(5),
};
/// Here a trap costs next to nothing, but all share the machine's processors.
const LOCAL: Pace = Pace { warmup: Duration::from_secs(8), bandwidth: 4 << 20, ..NESTED };
/// On hardware: so that the guest's memory takes longer than the warm-up.
const HOST: Pace = Pace { warmup: Duration::from_secs(10), ..LOCAL };

/// The warm-up of each migration of several: there the switchovers matter, or what comes before
/// them.
const SERIES_WARMUP: Duration = Duration::from_secs(4);

/// Boots the guest and migrates it as the script says. A migration that failed is a result.
///
/// The emulated host's own kernel has been seen to crash, once in some twenty runs, and a guest's
/// processor to be given the state of the host. That says nothing about the guest, so
/// then, and only then, all is done again, and the result says so.
pub fn run(script: &Script, parts: &LabParts) -> Result<Migration> {
    let started = ProcessorTime::now();
    let behind = |error: &_| crash::behind(error, &script.logs, &parts.place);
    let (done, crashes) =
        again::if_the_lab_crashes(&script.logs, behind, || rehearse(script, parts));
    let mut result = done?;
    result.facts.note_crashes(crashes);
    result.facts.taken_by_others =
        started.zip(ProcessorTime::now()).and_then(|(started, ended)| ended.others_since(started));
    Ok(result)
}

fn rehearse(script: &Script, parts: &LabParts) -> Result<Migration> {
    fs::create_dir_all(&script.logs)
        .with_context(|| format!("cannot create {}", script.logs.display()))?;
    // Not in the logs' directory: a socket's path has at most 107 characters.
    let sockets = Scratch::new()?;
    let segment = Arc::new(Segment::start_by(script.clock(), script.pcap.as_deref())?);
    let mut lab = start_lab(script, parts, &segment, &sockets)?;
    let load =
        |session: &Session<'_>| Load::start(script, session, &parts.qemu, &segment, &sockets);
    let stage = Stage::new(segment.clone());
    perform(script, parts, &mut *lab, &stage, load).map_err(|error| {
        if lab.answers() { error } else { error.context(lost(&mut *lab, &script.logs)) }
    })
}

/// What is done once everything is there.
fn perform(
    script: &Script,
    parts: &LabParts,
    lab: &mut dyn Lab,
    stage: &Stage,
    load: impl FnOnce(&Session<'_>) -> Result<Load>,
) -> Result<Migration> {
    let pace = parts.pace(script.clock);
    let plan = |script: &Script| plan(script, pace);
    let append = append(script);
    let mut say = |what: &str| stage.say(what);
    let mut session = Session::boot(lab, &append, &script.logs, &mut say)?;
    // The guest says on its console where it is reached.
    let load = &load(&session)?;

    let _live = Live::start(stage.clone(), load.watched(), session.memory_left());

    let mut saturated = None;
    if load.is_paced() && (script.rate.is_none() || script.saturated_warmup) {
        session.say("Measuring what the guest takes when flooded");
        let (before, effort) = session.watch(|| load.saturate(pace.flood))?;
        let exits_per_s = effort.exits_per_s(|exits| exits.all);
        saturated = Some(Saturated { before, exits_per_s, ..Saturated::default() });
    }
    if let (Some(saturated), true) = (&mut saturated, script.saturated_warmup) {
        saturate_warmup(saturated, &mut session, &plan(script), pace, load)?;
    }
    let measured = saturated.map_or(0.0, |saturated| saturated.before);
    let rate = script.rate.unwrap_or((measured * SHARE) as u64);
    let paced = load.is_paced().then_some(rate as f64);

    let setting = Setting {
        marking: script.marking,
        nic: parts.nics_name(script),
        standby: script.pair().standby,
        lab: kind(parts),
        guest: script.guest,
        application: match script.guest {
            GuestKind::Godwit => script.application.name.clone(),
            GuestKind::Linux => String::new(),
        },
        traffic: Traffic {
            kind: script.traffic,
            paced_bits_per_s: paced,
            ip_length: load.is_udp().then_some(IP_LENGTH),
        },
        saturated,
        facts: facts(script.clock, script.qemu, parts),
    };
    let plan = plan(script);
    let cancelled =
        script.cancel_at.iter().map(|&at| Plan { cancel_at: Some(at), ..plan.clone() }).collect();
    let mut plans: Vec<Plan> = cancelled;
    plans.extend(vec![plan; script.times as usize]);
    let mut results = Vec::new();
    let (mut transfer, mut client) = (None, None);
    // One TCP connection lasts through all migrations; each stream of datagrams has its own
    // numbers, and gap.
    let carried = if script.traffic == TrafficKind::Udp { 1 } else { plans.len() };
    for plans in plans.chunks(carried) {
        let carried = load.carry(Some(rate), |traffic| {
            let migrate = |plan| Ok((session.migrate(plan, traffic)?, load.others()));
            plans.iter().map(migrate).collect::<Result<Vec<_>>>()
        })?;
        for (record, others) in &carried.done {
            let mut meters = vec![&*carried.meter];
            meters.extend(others.iter().map(|trace| trace as &dyn Meter));
            results.push(result::build(record, &meters, setting.clone()));
        }
        (transfer, client) = (carried.transfer, carried.client);
        if results.last().is_some_and(|result| result.outcome == Outcome::Failed) {
            break;
        }
    }
    let mut result = results.remove(0);
    if !script.cancel_at.is_empty() && results.len() == script.cancel_at.len() {
        result.second = results.pop().map(Box::new);
    }
    result.series = results;
    (result.transfer, result.client) = (transfer, client);
    let lines = session.command_lines().into_iter();
    result.command_lines =
        lines.map(|(machine, arguments)| CommandLine { machine, arguments }).collect();
    drop(session);
    stage.finish();
    Ok(result)
}

/// The guest's command line.
fn append(script: &Script) -> String {
    let address = format!("{}/24", GUEST.ip);
    if script.guest == GuestKind::Linux {
        return linux::append(&address, &GATEWAY.to_string()) + " " + &script.append;
    }
    let mut append =
        format!("ip={address} gw={GATEWAY} marking={} recorder={RECORDER}", script.marking);
    for (index, station) in GUESTS[..script.nics].iter().enumerate().skip(1) {
        append += &format!(" {}.ip={}/24", interface_name(index), station.ip);
    }
    append + " " + &script.append
}

/// Measures what the guest receives when it is flooded while a migration warms up, which is
/// cancelled then.
fn saturate_warmup(
    saturated: &mut Saturated,
    session: &mut Session<'_>,
    plan: &Plan,
    pace: Pace,
    load: &Load,
) -> Result<()> {
    let plan = Plan {
        before: SETTLE,
        warmup: pace.flooded_warmup,
        after: SETTLE,
        cancel_at: Some(CancelAt::Warmup),
        ..plan.clone()
    };
    let Carried { done: record, meter, .. } =
        load.carry(None, |traffic| session.migrate(&plan, traffic))?;
    let (Outcome::Cancelled, Some(cancelled)) = (record.outcome, record.timeline.cancelled) else {
        bail!(
            "the migration under a flood, which was to be cancelled, ended as {:?}: {}",
            record.outcome,
            record.error.as_deref().unwrap_or("no reason was given")
        );
    };
    saturated.warmup = Some(meter.received(record.timeline.start, cancelled).bits_per_s);
    let effort = record.effort.as_ref();
    let exits = |of: fn(Exits) -> u64| effort.and_then(|effort| effort.exits_per_s(of));
    saturated.warmup_exits_per_s = exits(|exits| exits.all);
    saturated.warmup_faults_per_s = exits(|exits| exits.faults);
    saturated.warmup_interrupts_per_s = exits(|exits| exits.interrupts);
    saturated.warmup_processors = effort.and_then(Effort::busy);
    Ok(())
}

fn plan(script: &Script, pace: Pace) -> Plan {
    let several = script.times > 1 || script.cancel_at.len() > 1;
    Plan {
        strategy: script.strategy,
        before: script.measure,
        warmup: script.warmup.unwrap_or(if several { SERIES_WARMUP } else { pace.warmup }),
        after: script.measure,
        bandwidth: pace.bandwidth,
        cancel_at: None,
    }
}

impl LabParts {
    fn pace(&self, clock: ClockKind) -> Pace {
        match self.place {
            Place::Nested { .. } if clock == ClockKind::Virtual => NESTED_VIRTUAL,
            Place::Nested { .. } => NESTED,
            Place::Local { .. } => LOCAL,
            Place::Host { .. } => HOST,
        }
    }

    /// What the NICs are, as a result has it.
    fn nics_name(&self, script: &Script) -> String {
        match (&self.place, script.destination_nic) {
            (Place::Host { machines, .. }, _) => {
                machines.nics.each_ref().map(|address| format!("vfio:{address}")).join(" to ")
            }
            (_, Some(other)) => format!("{} to {other}", script.nic),
            (_, None) => script.nic.to_string(),
        }
    }
}

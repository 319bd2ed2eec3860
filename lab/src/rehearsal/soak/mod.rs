//! A soak: one guest migrated over and over under mixed traffic, while things happen that a seed
//! chooses. After each migration the guest has to be as it was.

mod client;
mod event;
mod judge;
mod table;

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::{
    again, crash,
    facts::{facts, kind},
    load::{IP_LENGTH, RECORDER, SETTLE, udp},
    parts::LabParts,
    script::Script,
    stage::start_lab,
};
use crate::{
    addresses::{ECHO_PORT, GATEWAY, GUEST},
    choices::{GuestKind, LabKind, Marking, TrafficKind},
    clock::Clock,
    migration::{Lab, Outcome, Plan, Session},
    result::{self, Facts, Setting},
    segment::Segment,
    source::{EchoSource, Peer, Rate, Traffic, Transfer, UdpSource},
    system::{progress::Step, scratch::Scratch},
};
use client::{Client, TOKEN};
pub use event::Event;
use event::{Deck, Happening};
use judge::{Judge, Seen};
pub use table::table;

/// Of the datagrams, and of the connection, in bits a second.
const DATAGRAMS: u64 = 40_000_000;
const CONNECTION: u64 = 8_000_000;
/// Traffic before each migration and after it.
const MEASURE: Duration = Duration::from_millis(500);
/// Traffic before anything is counted.
const FILLING: Duration = Duration::from_secs(3);
/// What a migration may send in its warm-up, in bytes a second.
const BANDWIDTH: u64 = 4 << 20;

/// What came of a soak.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Soak {
    /// What chose the events.
    pub seed: u64,
    /// Where the machines ran.
    pub lab: LabKind,
    /// The NICs' model.
    pub nic: String,
    /// The guest's marking policy.
    pub marking: Marking,
    /// How many migrations there were to be.
    pub migrations: u32,
    /// Those that there were.
    pub rounds: Vec<Round>,
    /// What went to the guest and back over one connection, from before the first, or the first
    /// after the lab was started over, to after the last. None where it broke.
    pub transfer: Option<Transfer>,
    /// Why it ended early, or how the connection broke.
    pub error: Option<String>,
    /// The machine all this was done on.
    pub facts: Facts,
}

impl Soak {
    /// Whether nothing was wrong in any of as many migrations as there were to be.
    #[must_use]
    pub fn is_good(&self) -> bool {
        let all = self.rounds.len() as u32 == self.migrations;
        all && self.error.is_none() && self.rounds.iter().all(|round| round.faults.is_empty())
    }

    /// Forgets what is about a guest that is gone. With it goes the last of all rounds: what is
    /// judged in the end has to be a guest that was migrated.
    fn again(&mut self) {
        (self.transfer, self.error) = (None, None);
        self.rounds.truncate((self.migrations as usize).saturating_sub(1));
    }

    /// How many frames were not what was received, over all migrations.
    #[must_use]
    pub fn stale(&self) -> u64 {
        self.rounds.iter().filter_map(|round| round.stale).sum()
    }
}

/// One migration of a soak.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Round {
    /// From 1.
    pub number: u32,
    /// The machine that the guest was on.
    pub from: String,
    /// What happened.
    pub event: Event,
    /// How long the warm-up was to be.
    pub warmup_ms: u64,
    /// How the migration ended.
    pub outcome: Outcome,
    /// Why it failed.
    pub error: Option<String>,
    /// How long the guest was stopped for it.
    pub downtime_ms: Option<u64>,
    /// The longest time without new datagrams.
    pub service_gap_ms: f64,
    /// Datagrams that did not arrive.
    pub lost: u64,
    /// Frames that the recorder checked; none where the guest heard of no log.
    pub checked: Option<u64>,
    /// Those of them that are not what was received.
    pub stale: Option<u64>,
    /// Bytes that have come back over the connection since the guest was booted.
    pub returned: u64,
    /// Slots of the DMA pool in use afterwards, but for the recorder's.
    pub slots_used: u64,
    /// Bytes of the heap in use afterwards.
    pub heap_used: u64,
    /// What was wrong.
    pub faults: Vec<String>,
}

/// Migrates a guest so often, to and fro. Of the script counts what is about guest and lab. `tell`
/// hears of each migration as soon as it is over.
///
/// When the emulated host crashes, what there was stays, and another guest goes on from there. A
/// guest that is reset in silence is no such crash: with so many migrations of a guest, nobody
/// could tell whose fault that is.
///
/// # Errors
/// There was no first migration. What goes wrong later is in the result.
pub fn run(
    script: &Script,
    parts: &LabParts,
    seed: u64,
    tell: &mut dyn FnMut(&Round),
) -> Result<Soak> {
    let mut soak = Soak {
        seed,
        lab: kind(parts),
        nic: script.nic.to_string(),
        marking: script.marking,
        migrations: script.times,
        rounds: Vec::new(),
        transfer: None,
        error: None,
        facts: facts(script.clock, script.qemu, parts),
    };
    let behind = |error: &_| crash::of_host(error, &script.logs);
    let go_on = || go_on(script, parts, &mut soak, tell);
    let (done, crashes) = again::if_the_lab_crashes(&script.logs, behind, go_on);
    soak.facts.note_crashes(crashes);
    match done {
        Err(error) if soak.rounds.is_empty() => return Err(error),
        Err(error) => soak.error = Some(format!("{error:#}")),
        Ok(()) => {}
    }
    Ok(soak)
}

/// Boots a guest, and has it go through the rounds that there have not been.
fn go_on(
    script: &Script,
    parts: &LabParts,
    soak: &mut Soak,
    tell: &mut dyn FnMut(&Round),
) -> Result<()> {
    soak.again();
    fs::create_dir_all(&script.logs).with_context(|| script.logs.display().to_string())?;
    let sockets = Scratch::new()?;
    let segment = Arc::new(Segment::start_by(script.clock(), script.pcap.as_deref())?);
    let mut lab = start_lab(script, parts, &segment, &sockets)?;
    let server = (GUEST.ip, ECHO_PORT).into();
    let peer = Peer::start(&parts.qemu, &segment, &sockets, GATEWAY, server)?;
    let client = Client::new(peer);
    perform(script, &mut *lab, &client, &segment, soak, tell).map_err(|error| {
        if lab.answers() { error } else { error.context(crash::lost(&mut *lab, &script.logs)) }
    })
}

/// Both kinds of traffic as one.
struct Mixed<'t> {
    datagrams: &'t UdpSource,
    connection: &'t EchoSource,
}

impl Traffic for Mixed<'_> {
    fn flows_since(&self, moment: Instant) -> bool {
        self.datagrams.flows_since(moment) && self.connection.flows_since(moment)
    }

    fn start_over(&self) {
        self.datagrams.start_over();
    }
}

fn perform(
    script: &Script,
    lab: &mut dyn Lab,
    client: &Client,
    segment: &Segment,
    soak: &mut Soak,
    tell: &mut dyn FnMut(&Round),
) -> Result<()> {
    let append = format!(
        "ip={}/24 gw={GATEWAY} marking={} recorder={RECORDER} token={TOKEN} {}",
        GUEST.ip, script.marking, script.append
    );
    let mut say = |_: &str| {};
    let mut session = Session::boot(lab, &append, &script.logs, &mut say)?;
    let datagrams = &udp(segment, &session, 0)?;
    let (stream, _relay) = client.echo()?;
    let connection = EchoSource::start(stream, Some(CONNECTION), 0)?;
    let done = rounds(script, &mut session, client, datagrams, &connection, soak, tell);
    datagrams.set_rate(Rate::Idle);
    connection.goes_on();
    match (connection.finish(), &done) {
        (Ok((_, transfer)), _) => soak.transfer = Some(transfer),
        // What broke it is said by what came before.
        (Err(_), Err(_)) => {}
        (Err(error), Ok(())) => soak.error = Some(format!("the connection broke: {error:#}")),
    }
    done
}

fn rounds(
    script: &Script,
    session: &mut Session<'_>,
    client: &Client,
    datagrams: &UdpSource,
    connection: &EchoSource,
    soak: &mut Soak,
    tell: &mut dyn FnMut(&Round),
) -> Result<()> {
    // The connection's other end is a program of this machine.
    let clock = Clock::real();
    let mut deck = Deck::without(soak.seed, soak.rounds.len());
    datagrams.begin(Rate::Paced(DATAGRAMS));
    // The recorder is full after that, and what the guest makes once is made.
    clock.sleep(FILLING);
    datagrams.set_rate(Rate::Idle);
    connection.rest().context("the connection")?;
    let mut judge = Judge::new(|| client.counts())?;
    for number in soak.rounds.len() as u32 + 1..=script.times {
        let (event, warmup) = deck.draw();
        let from = session.home().to_string();
        let step = Step::new(format!("Migration {number} of {}: {event}", script.times));
        datagrams.begin(Rate::Paced(DATAGRAMS));
        connection.goes_on();
        clock.sleep(SETTLE);
        let plan = Plan {
            strategy: script.strategy,
            before: MEASURE,
            warmup,
            after: MEASURE,
            bandwidth: BANDWIDTH,
            cancel_at: event.cancel_at(),
        };
        let mixed = Mixed { datagrams, connection };
        let mut happening = Happening { event, client };
        let record = session
            .migrate_disturbed(&plan, &[&mixed], &mut happening)
            .with_context(|| format!("migration {number}, {event}"))?;
        client.relieve();
        let setting = Setting {
            marking: script.marking,
            nic: soak.nic.clone(),
            standby: false,
            lab: soak.lab,
            guest: GuestKind::Godwit,
            application: script.application.name.clone(),
            traffic: result::Traffic {
                kind: TrafficKind::Udp,
                paced_bits_per_s: Some(DATAGRAMS as f64),
                ip_length: Some(IP_LENGTH),
            },
            saturated: None,
            facts: soak.facts.clone(),
        };
        let migration = result::build(&record, &[&datagrams.trace()], setting);
        datagrams.set_rate(Rate::Idle);
        let returned = connection.rest().context("the connection")?;
        let seen = Seen { event, migration: &migration, marking: script.marking };
        let (counts, faults) = judge.judge(&seen, || client.counts())?;
        step.finish(if faults.is_empty() { "as it should be" } else { "NOT as it should be" });
        let round = Round {
            number,
            from,
            event,
            warmup_ms: warmup.as_millis() as u64,
            outcome: migration.outcome,
            error: migration.error.clone(),
            downtime_ms: migration.migration.downtime_ms,
            service_gap_ms: migration.service_gap_ms,
            lost: migration.losses.map_or(0, |losses| losses.lost),
            checked: migration.integrity.buffers_checked,
            stale: migration.integrity.stale,
            returned,
            slots_used: counts.slots_used,
            heap_used: counts.heap_used,
            faults,
        };
        tell(&round);
        soak.rounds.push(round);
    }
    let faults = judge.in_the_end(|| client.counts())?;
    if !faults.is_empty() {
        soak.error = Some(format!("in the end: {}", faults.join("; ")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_that_were_finished_stay_but_for_the_last_of_all() {
        let round = |number| Round {
            number,
            from: "source".into(),
            event: Event::None,
            warmup_ms: 0,
            outcome: Outcome::Completed,
            error: None,
            downtime_ms: None,
            service_gap_ms: 0.0,
            lost: 0,
            checked: None,
            stale: None,
            returned: 0,
            slots_used: 0,
            heap_used: 0,
            faults: Vec::new(),
        };
        let mut soak = Soak {
            seed: 1,
            lab: LabKind::Nested,
            nic: String::new(),
            marking: Marking::Auto,
            migrations: 3,
            rounds: vec![round(1), round(2)],
            transfer: None,
            error: Some("the connection broke".into()),
            facts: Facts::default(),
        };
        soak.again();
        assert!(soak.rounds.len() == 2 && soak.error.is_none(), "{soak:?}");
        soak.rounds.push(round(3));
        soak.again();
        assert_eq!(soak.rounds.iter().map(|round| round.number).collect::<Vec<_>>(), [1, 2]);
    }
}

//! The result of a migration, as `--json` writes it. Scripts depend on these names: some may be
//! added, none may go.

mod build;
mod detail;
mod facts;
pub mod headline;

pub use build::{Setting, build};
pub use detail::{CommandLine, Copying, Delays, Percentiles};
pub use facts::{Crash, CrashCause, Facts};

use crate::choices::{CancelAt, GuestKind, LabKind, Marking, Strategy, TrafficKind};
use crate::migration::Outcome;
use crate::source::{ClientRuns, Losses, Transfer};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Of the format. It goes up when a name goes, or what one means changes; more names do not count.
pub const SCHEMA_VERSION: u32 = 1;

fn first_version() -> u32 {
    1
}

/// A migration. Times are in milliseconds since measuring began unless they are named for a length
/// of time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Migration {
    /// [`SCHEMA_VERSION`]; 1 where it is not given.
    #[serde(default = "first_version")]
    pub schema_version: u32,
    /// When the NIC left the guest.
    pub strategy: Strategy,
    /// The guest's marking policy.
    pub marking: Marking,
    /// The NICs' model.
    pub nic: String,
    /// Whether the NIC had a virtio-net standby.
    #[serde(default)]
    pub standby: bool,
    /// Where the machines ran.
    pub lab: LabKind,
    /// What ran in them.
    pub guest: GuestKind,
    /// And which application of it.
    #[serde(default)]
    pub application: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Where it was cancelled, as asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancel_at: Option<CancelAt>,
    /// What was driven at the guest.
    pub traffic: Traffic,
    /// Throughput by phase.
    pub phases: Vec<Phase>,
    /// QEMU's and the driver's figures.
    pub migration: Figures,
    /// The guest's DMA layer, from the migration's start to the end of measuring.
    pub dma: Dma,
    /// The flight recorder's check.
    pub integrity: Integrity,
    /// The longest time without new datagrams for the guest, on the source's clock. Over TCP, the
    /// longest time in which the source could send nothing, in steps of 100 ms: what buffers
    /// bridge is none.
    pub service_gap_ms: f64,
    /// Datagrams that did not arrive, in all and in that gap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub losses: Option<Losses>,
    /// Each of the guest's interfaces, where it has several. What is said elsewhere of traffic is
    /// the first one's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<Interface>,
    /// What went to the guest and back over one connection, from the first migration of a series
    /// to the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer: Option<Transfer>,
    /// How often the service's own client was run meanwhile, and succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientRuns>,
    /// What the guest takes when it is flooded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub saturated: Option<Saturated>,
    /// Moments for a plot, in their order.
    pub events: Vec<Event>,
    /// The figures of the first NIC's root port, by property.
    #[serde(skip_serializing_if = "Map::is_empty", default)]
    pub port: Map<String, Value>,
    /// The machine all this was measured on.
    pub facts: Facts,
    /// Start of each tenth of a second, and bits a second received in it at the IP layer.
    pub samples: Vec<(u64, f64)>,
    /// Start of each hundredth of a second around the gap, and bits a second received in it, where
    /// the guest says so exactly.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gap_samples: Vec<(u64, f64)>,
    /// Start of each tenth of a second, and datagrams lost in it; those without are left out. What
    /// the guest says only once it is back is spread over the time that it was away.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<(u64, f64)>,
    /// Start of each tenth of a second, and pages a second that the guest marked in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub marked: Vec<(u64, f64)>,
    /// How memory was copied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub copying: Vec<Copying>,
    /// How the machines were started, the lab's host included.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command_lines: Vec<CommandLine>,
    /// The same with the cold strategy, to compare with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Baseline>,
    /// Migrations with the other strategies at the same rate, to compare with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub comparisons: Vec<Migration>,
    /// The migration of the same guest that followed one, or several, that were cancelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub second: Option<Box<Migration>>,
    /// The migrations of the same guest that followed: to and fro, or to be cancelled as well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub series: Vec<Migration>,
}

/// What was driven at the guest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Traffic {
    /// Of what kind.
    pub kind: TrafficKind,
    /// Bits a second it was paced to at the IP layer; none when it was not.
    pub paced_bits_per_s: Option<f64>,
    /// Bytes of a datagram at the IP layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_length: Option<usize>,
}

/// A part of the time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// Which.
    pub name: PhaseName,
    /// Its start.
    pub start_ms: f64,
    /// Its end.
    pub end_ms: f64,
    /// Bits a second the guest received, at the IP layer.
    pub rx_bits_per_s: f64,
    /// Datagrams it received.
    pub rx_packets: u64,
    /// Bits a second sent to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offered_bits_per_s: Option<f64>,
    /// How long datagrams took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delays: Option<Delays>,
    /// The share of this machine's processors' time that others had meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_by_others: Option<f64>,
}

/// Names of phases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PhaseName {
    /// Before the migration.
    Before,
    /// From its start to the NIC's detach; with the cold strategy, which detaches at the start, to
    /// the switchover.
    Warmup,
    /// To the first packet on the destination.
    Gap,
    /// From there on.
    After,
}

impl PhaseName {
    /// For people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::Warmup => "warm-up",
            Self::Gap => "gap",
            Self::After => "after",
        }
    }
}

/// Figures of the migration itself; `null` for what did not happen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// How long it took.
    pub total_ms: Option<u64>,
    /// How long the guest was stopped.
    pub downtime_ms: Option<u64>,
    /// Bytes of memory sent.
    pub ram_bytes: u64,
    /// Passes over memory.
    pub passes: u64,
    /// Bytes a second that it was limited to in the warm-up.
    pub warmup_bandwidth: u64,
    /// How long the hypervisor was logging.
    pub logging_ms: Option<f64>,
    /// From logging to the guest's acknowledgement.
    pub ack_ms: Option<f64>,
    /// From asking the guest for the NIC to having it.
    pub detach_ms: Option<f64>,
    /// From the guest running on the destination to its having taken that NIC into use.
    pub attach_ms: Option<f64>,
}

/// The guest's DMA layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dma {
    /// Pages marked on reception.
    pub pages_marked: u64,
    /// Pages marked by catch-up.
    pub pages_caught_up: u64,
    /// Buffers received.
    pub buffers_received: u64,
    /// Pages marked before the migration began, while nobody logged; `null` where the guest
    /// reported nothing then.
    pub pages_marked_before: Option<u64>,
}

/// The flight recorder's check of what was received up to the switchover.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Integrity {
    /// Frames checked; `null` where nothing told the guest that it was moved, and to check.
    #[serde(default)]
    pub buffers_checked: Option<u64>,
    /// Those whose content is not what was received.
    #[serde(default)]
    pub stale: Option<u64>,
    /// Those received while the hypervisor was logging.
    pub while_logging: Option<u64>,
    /// Seen from outside: pages of memory, which are all compared while both machines stand still.
    /// Only where the lab can tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_pages: Option<u64>,
    /// Those of them that were not on the destination as they were on the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_differing: Option<u64>,
    /// Pages the source's NICs wrote in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pages_written: Option<u64>,
    /// Those of them that were not on the destination, when it began to run, as they were on the
    /// source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pages_stale: Option<u64>,
}

impl Integrity {
    /// How many frames were stale of how many that were checked, if any were.
    pub fn check(&self) -> Option<(u64, u64)> {
        self.stale.zip(self.buffers_checked)
    }

    /// How many frames were checked.
    pub fn checked(&self) -> u64 {
        self.buffers_checked.unwrap_or(0)
    }

    /// Whether a frame was found stale.
    pub fn is_stale(&self) -> bool {
        self.stale.is_some_and(|stale| stale > 0)
    }
}

/// One of several interfaces of the guest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interface {
    /// What the guest calls it.
    pub name: String,
    /// Datagrams sent to it since just before measuring began, where they are numbered.
    pub sent: Option<u64>,
    /// Those of them that it received.
    pub received: Option<u64>,
    /// Those that it did not.
    pub lost: Option<u64>,
    /// The longest time without new datagrams for it.
    pub service_gap_ms: f64,
    /// Datagrams it received when the migration was over and all NICs in use again.
    pub received_after: u64,
    /// Pages the source's NIC wrote. Only where the lab can tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pages_written: Option<u64>,
    /// Those of them that were not on the destination as they were on the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pages_stale: Option<u64>,
    /// The figures of the root port above its NIC, by property.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub port: Map<String, Value>,
}

/// Bits a second the guest receives, at the IP layer, when it is given as much as it takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Saturated {
    /// With no migration.
    pub before: f64,
    /// While a migration is warming up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmup: Option<f64>,
    /// How often a second the guest was left for the hypervisor with no migration. None where KVM
    /// did not run it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exits_per_s: Option<f64>,
    /// The same in that warm-up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warmup_exits_per_s: Option<f64>,
    /// Those of them for a page that was written for the first time since it was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warmup_faults_per_s: Option<f64>,
    /// And those for an interrupt of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warmup_interrupts_per_s: Option<f64>,
    /// Which part of that warm-up each of the lab host's processors was busy. None where they are
    /// not emulated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warmup_processors: Option<[f64; 2]>,
}

impl Saturated {
    /// The part that a warm-up leaves of it.
    pub fn kept(&self) -> Option<f64> {
        (self.before > 0.0).then_some(self.warmup? / self.before)
    }
}

/// A migration to compare with.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// When its NIC left the guest.
    pub strategy: Strategy,
    /// Bits a second before it.
    pub before_bits_per_s: f64,
    /// Bits a second in its warm-up.
    pub warmup_bits_per_s: f64,
    /// The longest time without new datagrams.
    pub service_gap_ms: f64,
}

/// A moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// What happened.
    pub name: String,
    /// When.
    pub ms: f64,
}

/// The middle one of values in ascending order, or the mean of the two in the middle.
pub fn median(sorted: &[f64]) -> Option<f64> {
    let lower = *sorted.get(sorted.len().checked_sub(1)? / 2)?;
    let upper = *sorted.get(sorted.len() / 2)?;
    // Not the mean of one infinite value and another, which would not be a number.
    Some(if lower == upper { lower } else { (lower + upper) / 2.0 })
}

impl Migration {
    /// The phase of that name.
    pub fn phase(&self, name: PhaseName) -> Option<&Phase> {
        self.phases.iter().find(|phase| phase.name == name)
    }

    /// This migration and those of its series.
    pub fn runs(&self) -> Vec<&Migration> {
        std::iter::once(self).chain(&self.series).collect()
    }

    /// Milliseconds that the service gaps of this migration and its series exceed QEMU's own
    /// downtime by, in the median of those that completed under numbered datagrams; `None` if none
    /// has.
    pub fn median_beyond_downtime(&self) -> Option<f64> {
        let beyond = |run: &&Migration| {
            let is_measured = run.outcome == Outcome::Completed && run.losses.is_some();
            let downtime = run.migration.downtime_ms.filter(|_| is_measured)?;
            Some(run.service_gap_ms - downtime as f64)
        };
        let mut beyond: Vec<f64> = self.runs().iter().filter_map(beyond).collect();
        beyond.sort_by(f64::total_cmp);
        median(&beyond)
    }

    /// Throughput of a phase as a part of that before the migration.
    pub fn relative(&self, name: PhaseName) -> Option<f64> {
        let before = self.phase(PhaseName::Before)?.rx_bits_per_s;
        (before > 0.0).then_some(self.phase(name)?.rx_bits_per_s / before)
    }

    /// The strategy, for people, and whose it is where that is not Godwit's.
    pub fn arrangement(&self) -> &'static str {
        match (self.guest, self.strategy, self.standby) {
            (GuestKind::Godwit, Strategy::Warm, false) => "warm",
            (GuestKind::Godwit, Strategy::Warm, true) => "warm with a standby",
            (GuestKind::Godwit, Strategy::Failover, _) => "failover",
            (GuestKind::Godwit, Strategy::Cold, _) => "cold",
            (GuestKind::Linux, Strategy::Warm, _) => "Linux, warm",
            (GuestKind::Linux, Strategy::Failover, _) => "Linux, failover",
            (GuestKind::Linux, Strategy::Cold, _) => "Linux, cold",
        }
    }

    /// What another migration is compared with, of this one.
    pub fn as_baseline(&self) -> Baseline {
        let rate = |name| self.phase(name).map_or(0.0, |phase| phase.rx_bits_per_s);
        Baseline {
            strategy: self.strategy,
            before_bits_per_s: rate(PhaseName::Before),
            warmup_bits_per_s: rate(PhaseName::Warmup),
            service_gap_ms: self.service_gap_ms,
        }
    }
}

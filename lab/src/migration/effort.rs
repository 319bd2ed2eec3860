//! What some time takes of those who carry a guest: exits to the hypervisor, and the time of the
//! processors of the lab's host.

use super::machine::Lab;
use crate::clock::Clock;
use crate::qmp::{Qmp, QueryStats};
use std::time::{Duration, Instant};

/// How often the guest was left for the hypervisor, as KVM counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exits {
    /// For whatever reason.
    pub all: u64,
    /// For a page that it may not reach yet: one that is written for the first time since it was
    /// sent.
    pub faults: u64,
    /// For an interrupt of the host.
    pub interrupts: u64,
}

/// What it took, for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// So long.
    pub time: Duration,
    /// None where KVM does not run the guest.
    pub exits: Option<Exits>,
    /// Processor time of the lab host's processors, where they are emulated.
    pub processors: Option<[Duration; 2]>,
}

impl Effort {
    /// Exits of a kind a second.
    pub fn exits_per_s(&self, of: impl Fn(Exits) -> u64) -> Option<f64> {
        Some(of(self.exits?) as f64 / self.time.as_secs_f64())
    }

    /// Which part of the time each of the host's processors was busy.
    pub fn busy(&self) -> Option<[f64; 2]> {
        Some(self.processors?.map(|used| used.as_secs_f64() / self.time.as_secs_f64()))
    }
}

/// What [`Effort`] is reckoned from.
#[derive(Clone, Copy)]
pub(super) struct Counts {
    at: Instant,
    exits: Option<Exits>,
    processors: Option<[Duration; 2]>,
}

impl Counts {
    /// So far.
    pub(super) fn now(monitor: &mut Qmp, lab: &dyn Lab, clock: &Clock) -> Self {
        Self { at: clock.now(), exits: count_exits(monitor), processors: lab.processors() }
    }

    /// From these to those.
    pub(super) fn effort_until(&self, now: &Self) -> Effort {
        let used = |[a, b]: [Duration; 2], [c, d]: [Duration; 2]| {
            [c.saturating_sub(a), d.saturating_sub(b)]
        };
        let exits = |before: Exits, now: Exits| Exits {
            all: now.all.saturating_sub(before.all),
            faults: now.faults.saturating_sub(before.faults),
            interrupts: now.interrupts.saturating_sub(before.interrupts),
        };
        Effort {
            time: now.at - self.at,
            exits: self.exits.zip(now.exits).map(|(before, now)| exits(before, now)),
            processors: self.processors.zip(now.processors).map(|(a, b)| used(a, b)),
        }
    }
}

/// How often the machine's processors have left the guest so far. `None` where KVM does not run it.
fn count_exits(monitor: &mut Qmp) -> Option<Exits> {
    const NAMES: [&str; 3] = ["exits", "pf_taken", "irq_exits"];
    let processors = monitor.execute(&QueryStats::of_processors(&NAMES)).ok()?;
    let sum = |name: &str| -> u64 {
        let counts = processors.iter().flat_map(|processor| &processor.stats);
        let counts = counts.filter(|count| count.name == name);
        counts.filter_map(|count| count.value.as_u64()).sum()
    };
    let [all, faults, interrupts] = NAMES.map(sum);
    (all > 0).then_some(Exits { all, faults, interrupts })
}

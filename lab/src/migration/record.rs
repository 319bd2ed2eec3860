//! What happened in a migration, and when.

use super::effort::Effort;
use super::machine::Comparison;
use crate::choices::{CancelAt, Strategy};
use crate::qmp::{MigrationInfo, RamStatistics};
use crate::source::DmaCounts;
use crate::system::processors::ProcessorTime;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The guest runs on the destination.
    Completed,
    /// As was asked for, it stayed on the source.
    Cancelled,
    /// It stayed on the source.
    Failed,
}

/// What to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// When the NIC leaves.
    pub strategy: Strategy,
    /// Traffic before the migration is measured for so long.
    pub before: Duration,
    /// QEMU is kept from switching over for so long, to have a warm-up worth measuring: a guest of
    /// this size would be copied in a moment. Of no effect on the cold strategy, whose gap it
    /// would lengthen.
    pub warmup: Duration,
    /// Traffic afterwards is measured for so long.
    pub after: Duration,
    /// Bytes a second that migration may use in the warm-up.
    pub bandwidth: u64,
    /// Cancel instead of completing.
    pub cancel_at: Option<CancelAt>,
}

/// An integrity check of the flight recorder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    /// Frames checked.
    pub checked: u64,
    /// Those that are not what was received.
    pub stale: u64,
    /// Those received while the hypervisor was logging, if the guest said.
    pub while_logging: Option<u64>,
}

/// The moments of a migration. What did not happen is `None`.
#[derive(Clone, Copy, Debug)]
pub struct Timeline {
    /// Measuring began.
    pub begin: Instant,
    /// The migration was started; with the cold strategy, the NIC was asked for.
    pub start: Instant,
    /// The guest had turned marking on and caught up.
    pub logging_on: Option<Instant>,
    /// The migration was cancelled.
    pub cancelled: Option<Instant>,
    /// The guest had let go of its NIC, the first one of several.
    pub detached: Option<Instant>,
    /// The guest ran on the destination.
    pub resumed: Option<Instant>,
    /// The guest had taken its NIC into use again, the last one of several.
    pub attached: Option<Instant>,
    /// The guest had turned marking off.
    pub logging_off: Option<Instant>,
    /// The migration was over: completed, cancelled or failed.
    pub over: Option<Instant>,
    /// Measuring ended.
    pub end: Instant,
}

/// Everything about one migration but the traffic.
#[derive(Clone, Debug)]
pub struct Record {
    /// What was to be done.
    pub plan: Plan,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it failed.
    pub error: Option<String>,
    /// When what happened.
    pub timeline: Timeline,
    /// QEMU's last word about it.
    pub info: MigrationInfo,
    /// The own figures of each NIC's root port, by property.
    pub ports: Vec<Map<String, Value>>,
    /// The check of what was received up to the migration.
    pub check: Option<Check>,
    /// The same from outside: the memory of both machines at the switchover, where the lab can
    /// tell.
    pub comparison: Option<Comparison>,
    /// The DMA layer's counts at that check, since the guest booted.
    pub dma: Option<DmaCounts>,
    /// What the warm-up took. None where it was not held.
    pub effort: Option<Effort>,
    /// How copying went on.
    pub copied: Vec<(Instant, RamStatistics)>,
    /// Looks at this machine's processors, whenever something began or ended.
    pub looks: Vec<Look>,
}

/// Bytes of memory that a migration which is under way has still to send, for others to look at.
#[derive(Clone, Debug)]
pub struct MemoryLeft(Arc<AtomicU64>);

impl MemoryLeft {
    const NONE: u64 = u64::MAX;

    /// None, where no migration is under way.
    #[must_use]
    pub fn bytes(&self) -> Option<u64> {
        Some(self.0.load(Relaxed)).filter(|bytes| *bytes != Self::NONE)
    }

    pub(super) fn set(&self, bytes: Option<u64>) {
        self.0.store(bytes.unwrap_or(Self::NONE), Relaxed);
    }
}

impl Default for MemoryLeft {
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(Self::NONE)))
    }
}

/// What this machine's processors had done so far at some moment.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// When, by the lab's clock.
    pub at: Instant,
    /// It.
    pub processors: ProcessorTime,
}

impl Look {
    /// At a moment that is now, where this machine says it.
    pub(super) fn now(at: Instant) -> Option<Self> {
        Some(Self { at, processors: ProcessorTime::now()? })
    }
}

//! What happened over time, and how long datagrams took.

use crate::source::Timing;
use crate::system::detail;
use serde::{Deserialize, Serialize};

/// How long the datagrams of a phase took. One in 64 is timed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delays {
    /// How much longer than the fastest one of the last second or two (RFC 5481).
    pub latency: Percentiles,
    /// By how much one differs from the next that was timed (RFC 3393).
    pub jitter: Percentiles,
}

/// Of lengths of time, each within an eighth of what it was.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    /// Microseconds that half of them do not exceed.
    pub p50_us: f64,
    /// That 99% do not exceed.
    pub p99_us: f64,
    /// That 99.9% do not exceed.
    pub p999_us: f64,
    /// How many were timed.
    pub count: u64,
}

impl Delays {
    pub(super) fn of(timing: Timing) -> Self {
        let percentiles = |histogram: godwit_probe::Histogram| {
            let us = |part| (histogram.percentile(part) * 10.0).round() / 10.0;
            Percentiles {
                p50_us: us(0.5),
                p99_us: us(0.99),
                p999_us: us(0.999),
                count: histogram.total(),
            }
        };
        Self { latency: percentiles(timing.latency), jitter: percentiles(timing.jitter) }
    }
}

/// What QEMU said of the copying of memory at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Copying {
    /// When, in milliseconds since measuring began.
    pub ms: f64,
    /// Bytes still to be sent.
    pub remaining_bytes: u64,
    /// Bytes sent so far.
    pub sent_bytes: u64,
    /// Bytes a second that the guest, or its NIC, changed before the last look at the log.
    pub dirty_bytes_per_s: u64,
    /// How many looks at the log there were.
    pub passes: u64,
}

/// How a machine, or the lab's host, was started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandLine {
    /// `host`, `source` or `destination`.
    pub machine: String,
    /// The program, and what it was told.
    pub arguments: Vec<String>,
}

impl CommandLine {
    /// As a shell takes it.
    #[must_use]
    pub fn for_shell(&self) -> String {
        detail::quoted(self.arguments.iter().map(|part| part.as_str().into()))
    }
}

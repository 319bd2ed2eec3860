//! What the guest reports.

use crate::histogram::Histogram;
use crate::{REPORT_MAGIC, VERSION};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// What the guest has seen so far.
///
/// `duplicates` and the fields from `packets` to `gap_length` count the current stream; those about
/// DMA and the recorder count from boot.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Report {
    /// [`REPORT_MAGIC`].
    pub magic: U32,
    /// [`VERSION`].
    pub version: U32,
    /// The stream these counts are for.
    pub stream: U32,
    /// [`LOGGING`](Self::LOGGING) and [`MARKING`](Self::MARKING).
    pub flags: U32,
    /// EPOCH of the capability as the guest last acknowledged it; 0 without a capability.
    pub epoch: U32,
    /// Datagrams that arrived once more ([`crate::Sequence::duplicates`]).
    pub duplicates: U32,
    /// The guest's clock when the report was made, in milliseconds since boot.
    pub guest_ms: U64,
    /// Datagrams received.
    pub packets: U64,
    /// Their size at the IP layer: UDP payload and [`crate::HEADERS`].
    pub bytes: U64,
    /// Highest sequence number received.
    pub highest_seq: U64,
    /// Numbers below `highest_seq` that have not arrived.
    pub missing: U64,
    /// Datagrams that arrived after one with a higher number, and for the first time.
    pub reordered: U64,
    /// First number of the longest run of numbers skipped ([`crate::Sequence::longest_gap`]).
    pub gap_first: U64,
    /// Length of that run; 0 when nothing was skipped.
    pub gap_length: U64,
    /// Pages marked as data was received.
    pub pages_marked: U64,
    /// Pages marked by catch-up.
    pub pages_caught_up: U64,
    /// Buffers received from devices.
    pub buffers_received: U64,
    /// Frames the flight recorder holds.
    pub recorder_held: U64,
    /// Those among them that were received while the hypervisor was logging.
    pub recorder_held_logged: U64,
    /// How much longer than the fastest of the last second datagrams took, of those that are timed
    /// ([`crate::Timing`]).
    pub latency: Histogram,
    /// By how much that differs from one to the next.
    pub jitter: Histogram,
    /// When how many had arrived, in steps of 10 ms, the latest last; zero where there is none.
    pub waypoints: [Waypoint; WAYPOINTS],
}

/// Of a [`Report`].
pub const WAYPOINTS: usize = 10;

/// How many datagrams had arrived at some moment.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[repr(C)]
pub struct Waypoint {
    /// By the guest's clock, in microseconds since boot.
    pub guest_us: U64,
    /// Datagrams of the stream.
    pub packets: U64,
}

impl Report {
    /// Flag: the capability says that the hypervisor is logging.
    pub const LOGGING: u32 = 1 << 0;
    /// Flag: the DMA layer is marking.
    pub const MARKING: u32 = 1 << 1;

    /// Reads a report from a UDP payload. `None` when it is too short, not a report, or of another
    /// version.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let (report, _) = Self::read_from_prefix(payload).ok()?;
        (report.magic == REPORT_MAGIC && report.version == VERSION).then_some(report)
    }
}

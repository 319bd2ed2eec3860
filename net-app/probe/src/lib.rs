//! The probe protocol: what the paced UDP source sends, and what the guest reports back.
//!
//! The source sends numbered datagrams to UDP port [`PORT`] of the guest. Each begins with a
//! [`Header`]; what follows is padding up to whatever size the source wants. While it hears of a
//! source, the guest sends a [`Report`] to it every [`REPORT_INTERVAL_MS`], but no more bytes than
//! came from it. Reports are cumulative, so a lost one costs nothing.
//!
//! All integers are little endian. Both structs are [`zerocopy`] views: parse with
//! [`Header::parse`] and [`Report::parse`], which look at length and magic; serialise with
//! [`zerocopy::IntoBytes`].
#![no_std]
#![forbid(unsafe_code)]

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

mod histogram;
mod report;
mod sequence;
mod timing;

pub use histogram::{BUCKETS, Histogram};
pub use report::{Report, WAYPOINTS, Waypoint};
pub use sequence::{Gap, Sequence, WINDOW};
pub use timing::{ONE_IN, Timing};

/// UDP port the guest receives datagrams on and sends reports from.
pub const PORT: u16 = 5202;
/// How often the guest reports, in milliseconds of its own clock.
pub const REPORT_INTERVAL_MS: u64 = 100;
/// Bytes of IPv4 header (no options) and UDP header, which [`Report::bytes`] counts on top of the
/// UDP payload.
pub const HEADERS: usize = 20 + 8;

/// First bytes of a datagram: `GDWp`.
pub const DATAGRAM_MAGIC: u32 = u32::from_le_bytes(*b"GDWp");
/// First bytes of a report: `GDWr`.
pub const REPORT_MAGIC: u32 = u32::from_le_bytes(*b"GDWr");
/// Version of [`Report`] described here.
pub const VERSION: u32 = 2;

/// Start of every datagram the source sends.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header {
    /// [`DATAGRAM_MAGIC`].
    pub magic: U32,
    /// Goes up with each run of the source, and has the guest count from zero again.
    pub stream: U32,
    /// Counts datagrams of this stream from 0.
    pub seq: U64,
    /// When the datagram was sent, in nanoseconds of the source's clock.
    pub sent_ns: U64,
}

impl Header {
    /// The header of datagram number `seq` of `stream`.
    pub fn new(stream: u32, seq: u64, sent_ns: u64) -> Self {
        Self {
            magic: DATAGRAM_MAGIC.into(),
            stream: stream.into(),
            seq: seq.into(),
            sent_ns: sent_ns.into(),
        }
    }

    /// Reads the header of a UDP payload. `None` when it is too short or not ours.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let (header, _) = Self::read_from_prefix(payload).ok()?;
        (header.magic == DATAGRAM_MAGIC).then_some(header)
    }

    /// Whether it comes late, of a run of the source before `stream`: a NIC that is started again
    /// may be handed frames that have waited since it was stopped.
    pub fn is_late(&self, stream: u32) -> bool {
        (self.stream.get().wrapping_sub(stream) as i32) < 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_is_as_documented() {
        let bytes =
            [b'G', b'D', b'W', b'p', 4, 3, 2, 1, 8, 7, 6, 5, 4, 3, 2, 1, 1, 0, 0, 0, 0, 0, 0, 0x80];
        let header = Header::new(0x0102_0304, 0x0102_0304_0506_0708, (1 << 63) + 1);
        assert_eq!(header.as_bytes(), bytes);
        let parsed = Header::parse(&bytes).expect("a whole header");
        assert_eq!(parsed.seq.get(), 0x0102_0304_0506_0708);
    }

    #[test]
    fn padding_is_ignored_and_short_or_foreign_refused() {
        let mut datagram = [0u8; 64];
        datagram[..24].copy_from_slice(Header::new(7, 9, 0).as_bytes());
        assert_eq!(Header::parse(&datagram).map(|h| h.seq.get()), Some(9));
        assert!(Header::parse(&datagram[..23]).is_none());
        datagram[0] ^= 1;
        assert!(Header::parse(&datagram).is_none());
    }

    #[test]
    fn what_is_late_is_of_an_earlier_stream() {
        let header = Header::new(7, 9, 0);
        assert_eq!([6, 7, 8].map(|stream| header.is_late(stream)), [false, false, true]);
        assert!(Header::new(u32::MAX, 0, 0).is_late(0), "numbers go around");
    }

    #[test]
    fn report_round_trip() {
        let report = Report {
            magic: REPORT_MAGIC.into(),
            version: VERSION.into(),
            highest_seq: 5.into(),
            recorder_held_logged: u64::MAX.into(),
            ..Report::default()
        };
        let bytes = report.as_bytes();
        assert_eq!(bytes.len(), 992);
        let parsed = Report::parse(bytes).expect("a whole report");
        assert_eq!(parsed.as_bytes(), bytes);
        assert!(Report::parse(&bytes[..991]).is_none());
        let mut other = report;
        other.version = (VERSION + 1).into();
        assert!(Report::parse(other.as_bytes()).is_none());
    }
}

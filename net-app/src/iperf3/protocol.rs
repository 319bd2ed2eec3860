//! The control connection's messages, as iperf 3.12 to 3.18 speak them (`src/iperf_api.c`,
//! `src/iperf_api.h`).
//!
//! ```text
//!   client                                   server
//!   connect, cookie ──────────────────────▶
//!                   ◀──────────────────────  PARAM_EXCHANGE
//!   parameters, JSON ─────────────────────▶
//!                   ◀──────────────────────  CREATE_STREAMS
//!   connect, cookie: once for each stream ▶
//!                   ◀──────────────────────  TEST_START, TEST_RUNNING
//!   … data …
//!   TEST_END ─────────────────────────────▶
//!                   ◀──────────────────────  EXCHANGE_RESULTS
//!   results, JSON ────────────────────────▶
//!                   ◀──────────────────────  results, JSON
//!                   ◀──────────────────────  DISPLAY_RESULTS
//!   IPERF_DONE ───────────────────────────▶
//! ```

use alloc::vec::Vec;
use core::time::Duration;

use serde::{Deserialize, Serialize};

/// TCP and UDP port.
pub const PORT: u16 = 5201;
/// 36 characters and a NUL, chosen by the client for each test.
pub(super) type Cookie = [u8; 37];

/// JSON messages longer than this are refused.
pub(super) const MAX_JSON: usize = 64 * 1024;
/// Most streams in one direction (`MAX_STREAMS`).
const MAX_STREAMS: u64 = 128;
/// Longest test in seconds (`MAX_TIME`).
const MAX_TIME: u64 = 86_400;
/// Longest warm-up left out of the results, in seconds (`MAX_OMIT_TIME`).
const MAX_OMIT: u64 = 600;
/// Largest UDP payload (`MAX_UDP_BLOCKSIZE`).
const MAX_DATAGRAM: u64 = 65_507;
/// Smallest UDP payload: the header of a datagram with 64-bit counters.
const MIN_DATAGRAM: u64 = 16;
/// UDP payload when the client names none (`DEFAULT_UDP_BLKSIZE`).
const DEFAULT_DATAGRAM: u64 = 1460;

/// State bytes on the control connection.
pub(super) mod state {
    pub(crate) const TEST_START: u8 = 1;
    pub(crate) const TEST_RUNNING: u8 = 2;
    pub(crate) const TEST_END: u8 = 4;
    pub(crate) const PARAM_EXCHANGE: u8 = 9;
    pub(crate) const CREATE_STREAMS: u8 = 10;
    pub(crate) const CLIENT_TERMINATE: u8 = 12;
    pub(crate) const EXCHANGE_RESULTS: u8 = 13;
    pub(crate) const DISPLAY_RESULTS: u8 = 14;
    pub(crate) const ACCESS_DENIED: u8 = -1i8 as u8;
    pub(crate) const SERVER_ERROR: u8 = -2i8 as u8;
}

/// Error numbers a client turns into text after `SERVER_ERROR` (`i_errno`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Refusal {
    /// Test duration too long.
    Duration = 5,
    /// Too many parallel streams.
    Streams = 6,
    /// Bogus value for `--omit`.
    Omit = 12,
    /// UDP block size invalid.
    Datagram = 20,
    /// Unable to receive parameters from the client.
    Parameters = 114,
    /// Protocol does not exist.
    Protocol = 131,
    /// Unable to accept a stream connection.
    Accept = 204,
}

/// The client's parameters as it sends them. Numbers arrive as JSON prints doubles.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Wire {
    tcp: bool,
    udp: bool,
    sctp: bool,
    omit: f64,
    time: f64,
    parallel: Option<f64>,
    reverse: bool,
    bidirectional: bool,
    len: f64,
    bandwidth: f64,
    nodelay: bool,
    udp_counters_64bit: u64,
}

/// TCP or UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Tcp,
    Udp,
}

/// A test as the client wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parameters {
    pub(super) protocol: Protocol,
    /// Streams the client sends on.
    pub(super) receiving: usize,
    /// Streams the client receives on.
    pub(super) sending: usize,
    /// How long the client means to run; `None` when it counts bytes or blocks.
    pub(super) duration: Option<Duration>,
    /// The first part of the test, which does not count.
    pub(super) omit: Duration,
    /// UDP payload of a datagram in bytes.
    pub(super) datagram: usize,
    /// Bits a second to send on each stream; `None` for as fast as possible.
    pub(super) rate: Option<u64>,
    pub(super) nodelay: bool,
    /// Whether datagrams carry 64-bit counters.
    pub(super) wide_counters: bool,
}

impl Parameters {
    /// Reads and checks the client's JSON.
    pub(super) fn parse(json: &[u8]) -> Result<Self, Refusal> {
        let wire: Wire = serde_json::from_slice(json).map_err(|_| Refusal::Parameters)?;
        let protocol = match (wire.tcp, wire.udp, wire.sctp) {
            (_, false, false) => Protocol::Tcp,
            (false, true, false) => Protocol::Udp,
            _ => return Err(Refusal::Protocol),
        };
        let omit = whole(wire.omit, MAX_OMIT).ok_or(Refusal::Omit)?;
        let time = whole(wire.time, MAX_TIME).ok_or(Refusal::Duration)?;
        let streams = match whole(wire.parallel.unwrap_or(1.0), MAX_STREAMS) {
            Some(0) | None => return Err(Refusal::Streams),
            Some(streams) => streams as usize,
        };
        let len = whole(wire.len, u32::MAX.into()).ok_or(Refusal::Parameters)?;
        let datagram = match (protocol, len) {
            (Protocol::Udp, 0) => DEFAULT_DATAGRAM,
            (Protocol::Udp, MIN_DATAGRAM..=MAX_DATAGRAM) => len,
            (Protocol::Udp, _) => return Err(Refusal::Datagram),
            (Protocol::Tcp, _) => 0,
        };
        let rate = whole(wire.bandwidth, u64::MAX).ok_or(Refusal::Parameters)?;
        let (receiving, sending) = match (wire.reverse, wire.bidirectional) {
            (false, false) => (streams, 0),
            (true, false) => (0, streams),
            (false, true) => (streams, streams),
            (true, true) => return Err(Refusal::Parameters),
        };
        Ok(Self {
            protocol,
            receiving,
            sending,
            duration: (time != 0).then_some(Duration::from_secs(time)),
            omit: Duration::from_secs(omit),
            datagram: datagram as usize,
            rate: (rate != 0).then_some(rate),
            nodelay: wire.nodelay,
            wide_counters: wire.udp_counters_64bit != 0,
        })
    }

    /// Streams in both directions.
    pub(super) fn streams(&self) -> usize {
        self.receiving + self.sending
    }
}

/// `value` as a whole number from 0 to `max`.
fn whole(value: f64, max: u64) -> Option<u64> {
    // The cast saturates and truncates; fractions are not worth refusing a test for.
    (value >= 0.0 && value <= max as f64).then_some(value as u64)
}

/// Identifier of the `index`th stream. iperf3 skips 2, and has to go on doing so
/// (`iperf_add_stream`).
pub(super) fn stream_id(index: usize) -> usize {
    if index == 0 { 1 } else { index + 2 }
}

/// What the server tells of one stream.
#[derive(Clone, Debug, Serialize)]
pub(super) struct StreamResult {
    pub(super) id: usize,
    pub(super) bytes: u64,
    /// Not counted by the stack.
    pub(super) retransmits: i32,
    /// In seconds.
    pub(super) jitter: f64,
    /// Datagrams that did not arrive.
    pub(super) errors: u64,
    pub(super) omitted_errors: u64,
    pub(super) packets: u64,
    pub(super) omitted_packets: u64,
    /// In seconds from the start of what counts.
    pub(super) start_time: f64,
    pub(super) end_time: f64,
}

/// What the server tells of a test.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Results {
    pub(super) cpu_util_total: f64,
    pub(super) cpu_util_user: f64,
    pub(super) cpu_util_system: f64,
    pub(super) sender_has_retransmits: i32,
    pub(super) congestion_used: &'static str,
    pub(super) streams: Vec<StreamResult>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sent by iperf 3.12 for `-c … -P 4 -R`.
    const REVERSE: &[u8] =
        br#"{"tcp":true,"omit":0,"time":10,"num":0,"blockcount":0,"parallel":4,"reverse":true,
        "len":131072,"pacing_timer":1000,"client_version":"3.12"}"#;

    #[test]
    fn parameters_of_the_stock_client() {
        let p = Parameters::parse(REVERSE).unwrap();
        assert_eq!((p.protocol, p.receiving, p.sending), (Protocol::Tcp, 0, 4));
        assert_eq!(p.duration, Some(Duration::from_secs(10)));
        let p = Parameters::parse(
            br#"{"udp":true,"omit":1,"time":0,"num":1e+15,"parallel":1,"len":1448,"bandwidth":1e+16,
                "udp_counters_64bit":1,"pacing_timer":1000,"bidirectional":true}"#,
        )
        .unwrap();
        assert_eq!((p.protocol, p.receiving, p.sending), (Protocol::Udp, 1, 1));
        assert_eq!((p.datagram, p.rate, p.duration), (1448, Some(10_000_000_000_000_000), None));
        assert!(p.wide_counters);
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        let refused = |json: &str| Parameters::parse(json.as_bytes()).unwrap_err();
        assert_eq!(refused(""), Refusal::Parameters);
        assert_eq!(refused("[1]"), Refusal::Parameters);
        assert_eq!(refused(r#"{"time":"ten"}"#), Refusal::Parameters);
        assert_eq!(refused(r#"{"time":-1}"#), Refusal::Duration);
        assert_eq!(refused(r#"{"time":86401}"#), Refusal::Duration);
        assert_eq!(refused(r#"{"omit":601}"#), Refusal::Omit);
        assert_eq!(refused(r#"{"parallel":0}"#), Refusal::Streams);
        assert_eq!(refused(r#"{"parallel":129}"#), Refusal::Streams);
        assert_eq!(refused(r#"{"udp":true,"len":15}"#), Refusal::Datagram);
        assert_eq!(refused(r#"{"udp":true,"len":65508}"#), Refusal::Datagram);
        assert_eq!(refused(r#"{"sctp":true}"#), Refusal::Protocol);
        assert_eq!(refused(r#"{"reverse":true,"bidirectional":true}"#), Refusal::Parameters);
    }

    #[test]
    fn stream_ids_skip_two() {
        assert_eq!([0, 1, 2].map(stream_id), [1, 3, 4]);
    }

    #[test]
    fn results_have_what_the_client_insists_on() {
        let results = Results {
            cpu_util_total: 0.0,
            cpu_util_user: 0.0,
            cpu_util_system: 0.0,
            sender_has_retransmits: 0,
            congestion_used: "reno",
            streams: alloc::vec![StreamResult {
                id: 1,
                bytes: 5,
                retransmits: 0,
                jitter: 0.00025,
                errors: 0,
                omitted_errors: 0,
                packets: 0,
                omitted_packets: 0,
                start_time: 0.0,
                end_time: 1.5,
            }],
        };
        let json: serde_json::Value =
            serde_json::from_slice(&serde_json::to_vec(&results).unwrap()).unwrap();
        for key in ["cpu_util_total", "cpu_util_user", "cpu_util_system", "sender_has_retransmits"]
        {
            assert!(json[key].is_number(), "{key}");
        }
        for key in ["id", "bytes", "retransmits", "jitter", "errors", "packets"] {
            assert!(json["streams"][0][key].is_number(), "{key}");
        }
        assert_eq!(json["streams"][0]["jitter"], 0.00025);
    }
}

//! UDP streams: the header of each datagram, loss, order and jitter.

use super::protocol::StreamResult;

/// Asks for a stream (`UDP_CONNECT_MSG` in `src/iperf.h`).
const CONNECT: [u8; 4] = *b"9876";
/// The same from clients before 3.12.
const LEGACY_CONNECT: [u8; 4] = 123_456_789_u32.to_le_bytes();
/// Grants it (`UDP_CONNECT_REPLY`).
pub(super) const CONNECT_REPLY: [u8; 4] = *b"6789";

/// Whether this payload asks for a stream.
pub(super) fn is_connect(payload: &[u8]) -> bool {
    payload == CONNECT || payload == LEGACY_CONNECT
}

/// The header of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// When it was sent, by the sender's clock, in microseconds.
    pub(super) sent_us: u64,
    /// Counts the stream's datagrams from 1.
    pub(super) number: u64,
}

impl Header {
    /// Reads the header. `None` if the payload is too short for one.
    pub(super) fn parse(payload: &[u8], wide: bool) -> Option<Self> {
        let word = |at: usize| {
            Some(u64::from(u32::from_be_bytes(payload.get(at..at + 4)?.try_into().ok()?)))
        };
        let sent_us = word(0)? * 1_000_000 + word(4)?;
        let number = if wide { word(8)? << 32 | word(12)? } else { word(8)? };
        Some(Self { sent_us, number })
    }

    /// Writes the header to the start of `payload`, which has at least 16 bytes.
    pub(super) fn emit(&self, payload: &mut [u8], wide: bool) {
        let seconds = (self.sent_us / 1_000_000) as u32;
        payload[..4].copy_from_slice(&seconds.to_be_bytes());
        payload[4..8].copy_from_slice(&((self.sent_us % 1_000_000) as u32).to_be_bytes());
        if wide {
            payload[8..16].copy_from_slice(&self.number.to_be_bytes());
        } else {
            payload[8..12].copy_from_slice(&(self.number as u32).to_be_bytes());
        }
    }
}

/// What was received of one UDP stream.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Receiver {
    bytes: u64,
    /// Highest number seen.
    highest: u64,
    lost: u64,
    /// `highest` and `lost` at the end of the part that does not count.
    omitted: (u64, u64),
    transit_us: Option<i64>,
    /// In 1/16 microseconds, as RFC 1889 appendix A.8 keeps it.
    jitter_16: i64,
}

impl Receiver {
    /// Takes note of a datagram that arrived at `now_us`.
    pub(super) fn receive(&mut self, payload: &[u8], wide: bool, now_us: u64) {
        let Some(header) = Header::parse(payload, wide) else { return };
        self.bytes += payload.len() as u64;
        if header.number > self.highest {
            self.lost += header.number - self.highest - 1;
            self.highest = header.number;
        } else {
            // Late: what had been counted as lost.
            self.lost = self.lost.saturating_sub(1);
        }
        let transit = now_us.wrapping_sub(header.sent_us) as i64;
        if let Some(previous) = self.transit_us.replace(transit) {
            let difference = transit.wrapping_sub(previous).saturating_abs().min(i64::MAX / 32);
            self.jitter_16 += difference - ((self.jitter_16 + 8) >> 4);
        }
    }

    /// Forgets what came so far, except for where the numbers are.
    pub(super) fn restart(&mut self) {
        self.bytes = 0;
        self.omitted = (self.highest, self.lost);
        self.jitter_16 = 0;
    }

    /// Fills in what the receiver knows.
    pub(super) fn report(&self, result: &mut StreamResult) {
        result.bytes = self.bytes;
        (result.packets, result.errors) = (self.highest, self.lost);
        (result.omitted_packets, result.omitted_errors) = self.omitted;
        result.jitter = self.jitter_16 as f64 / 16e6;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receive(receiver: &mut Receiver, number: u64, sent_us: u64, now_us: u64) {
        let mut payload = [0; 64];
        Header { sent_us, number }.emit(&mut payload, true);
        receiver.receive(&payload, true, now_us);
    }

    #[test]
    fn header_round_trip() {
        for (wide, number) in [(false, u32::MAX.into()), (true, 1 << 40)] {
            let header = Header { sent_us: 12_345_678, number };
            let mut payload = [0; 16];
            header.emit(&mut payload, wide);
            assert_eq!(payload[..8], [0, 0, 0, 12, 0, 5, 0x46, 0x4e]);
            assert_eq!(Header::parse(&payload, wide), Some(header));
        }
        assert_eq!(Header::parse(&[0; 15], true), None);
        assert_eq!(Header::parse(&[0; 11], false), None);
    }

    #[test]
    fn loss_and_order() {
        let mut receiver = Receiver::default();
        for number in [1, 2, 5, 3, 6] {
            receive(&mut receiver, number, 0, 0);
        }
        assert_eq!((receiver.highest, receiver.lost), (6, 1));
        receiver.restart();
        receive(&mut receiver, 8, 0, 0);
        assert_eq!((receiver.bytes, receiver.omitted, receiver.lost), (64, (6, 1), 2));
    }

    #[test]
    fn jitter_settles_at_the_mean_difference() {
        let mut receiver = Receiver::default();
        for number in 1..=1000 {
            // Transit alternates by 100 µs.
            receive(&mut receiver, number, number * 1000, number * 1000 + 100 * (number % 2));
        }
        let jitter = receiver.jitter_16 / 16;
        assert!((98..=102).contains(&jitter), "{jitter}");
    }

    #[test]
    fn hostile_times_do_not_overflow() {
        let mut receiver = Receiver::default();
        let most = u64::from(u32::MAX) * 1_000_000;
        for n in 1..100 {
            receive(&mut receiver, n, if n % 2 == 0 { most } else { 0 }, u64::MAX);
        }
        receive(&mut receiver, u64::MAX, 0, 0);
    }
}

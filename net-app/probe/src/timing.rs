//! How long datagrams take, and when they came, at the receiver.
//!
//! Source and receiver have clocks of their own. So what is told is how much longer than the
//! fastest one a datagram took (RFC 5481: packet delay variation), and how much one differs from
//! the next (RFC 3393). Which is the fastest is forgotten after a while, for clocks drift; and one
//! that a migration has put back makes all faster at once.

use crate::histogram::Histogram;
use crate::report::{WAYPOINTS, Waypoint};

/// One datagram in so many is timed: it costs some 800 instructions, and 13 a datagram in this way.
pub const ONE_IN: u64 = 64;
/// Datagrams that were timed longer ago than this, or twice this, do not tell which is the fastest.
const MEMORY_US: u64 = 1_000_000;
/// Between two waypoints.
const STEP_US: u64 = 10_000;

/// Timing of one stream.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timing {
    latency: Histogram,
    jitter: Histogram,
    waypoints: [Waypoint; WAYPOINTS],
    /// When the last waypoint was.
    step: u64,
    /// Receiver's clock less source's clock, of the datagram before.
    last: Option<i64>,
    /// The least of that, in this second and the one before.
    least: [i64; 2],
    /// When this second began.
    second: u64,
}

impl Timing {
    /// Whether the datagram of this number is timed.
    #[must_use]
    pub const fn is_timed(seq: u64) -> bool {
        seq.is_multiple_of(ONE_IN)
    }

    /// Takes note of a datagram: when it came, by the receiver's clock in microseconds; when it was
    /// sent, by the source's in nanoseconds; and how many have come with it.
    pub fn note(&mut self, now_us: u64, sent_ns: u64, packets: u64) {
        // A sender can claim any time.
        let transit = (now_us as i64).wrapping_sub((sent_ns / 1000) as i64);
        if self.last.is_none() {
            self.least = [transit; 2];
            self.second = now_us;
        } else if now_us.saturating_sub(self.second) >= MEMORY_US {
            self.least = [transit, self.least[0]];
            self.second = now_us;
        }
        self.least[0] = self.least[0].min(transit);
        let fastest = self.least[0].min(self.least[1]);
        self.latency.add(transit.abs_diff(fastest));
        if let Some(last) = self.last {
            self.jitter.add(transit.abs_diff(last));
        }
        self.last = Some(transit);
        if now_us / STEP_US != self.step {
            self.step = now_us / STEP_US;
            self.waypoints.rotate_left(1);
            self.waypoints[WAYPOINTS - 1] =
                Waypoint { guest_us: now_us.into(), packets: packets.into() };
        }
    }

    /// How much longer than the fastest they took.
    #[must_use]
    pub const fn latency(&self) -> Histogram {
        self.latency
    }

    /// How much longer or shorter than the one timed before they took.
    #[must_use]
    pub const fn jitter(&self) -> Histogram {
        self.jitter
    }

    /// When how many had come, the latest last. Those that there are not are zero.
    #[must_use]
    pub const fn waypoints(&self) -> [Waypoint; WAYPOINTS] {
        self.waypoints
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 100 datagrams a millisecond apart on the source's clock; the receiver's is `ahead` by so
    /// many microseconds, and each takes `delay(n)`.
    fn timed(ahead: impl Fn(u64) -> i64, delay: impl Fn(u64) -> u64) -> Timing {
        let mut timing = Timing::default();
        for n in 0..100 {
            let sent = 1_000_000 + 1000 * n;
            let now = (sent as i64 + ahead(n)) as u64 + delay(n);
            timing.note(now, sent * 1000, n + 1);
        }
        timing
    }

    #[test]
    fn latency_is_beyond_the_fastest_whatever_the_clocks_say() {
        let slow = |n| if n % 10 == 9 { 500 } else { 30 };
        for ahead in [-900_000, 0, 1 << 40] {
            let timing = timed(|_| ahead, slow);
            let latency = timing.latency();
            assert_eq!(latency.total(), 100);
            assert!(latency.percentile(0.89) < 1.0, "{ahead}");
            let high = latency.percentile(0.95);
            assert!((448.0..=512.0).contains(&high), "{high}");
            assert_eq!(timing.jitter().total(), 99);
            assert!(timing.jitter().percentile(0.79) < 1.0);
        }
    }

    /// As when a machine has stood still in between: its clock has lost that time.
    #[test]
    fn a_clock_that_is_put_back_makes_nothing_slow() {
        let timing = timed(|n| if n < 50 { 0 } else { -40_000 }, |_| 30);
        assert!(timing.latency().percentile(1.0) <= 1.0);
    }

    #[test]
    fn what_was_fastest_is_forgotten() {
        let mut timing = Timing::default();
        for n in 0..5000 {
            // A tenth of a second of drift.
            timing.note(1000 * n + n * 20, 1_000_000 * n, n);
        }
        let most = timing.latency().percentile(1.0);
        assert!(most < 57_344.0, "{most}");
    }

    #[test]
    fn waypoints_are_ten_milliseconds_apart() {
        let points = timed(|_| 0, |_| 0).waypoints();
        let [before, last] = [points[WAYPOINTS - 2], points[WAYPOINTS - 1]];
        assert_eq!((last.guest_us.get(), last.packets.get()), (1_090_000, 91));
        assert_eq!((before.guest_us.get(), before.packets.get()), (1_080_000, 81));
    }
}

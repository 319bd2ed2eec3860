//! A token bucket.

use std::time::{Duration, Instant};

/// How far the sender may catch up after it was kept from running. More, and a busy machine would
/// turn pacing into bursts that overrun the receiver's ring; less, and it would lower the rate.
const DEPTH: Duration = Duration::from_millis(20);

/// Says how many datagrams are due.
#[derive(Debug)]
pub(super) struct Bucket {
    bytes_per_s: f64,
    bytes: f64,
    filled: Instant,
}

impl Bucket {
    /// A bucket that lets `bits_per_s` through, empty at `now`.
    pub(super) fn new(bits_per_s: u64, now: Instant) -> Self {
        Self { bytes_per_s: bits_per_s as f64 / 8.0, bytes: 0.0, filled: now }
    }

    /// The number of datagrams of `size` bytes due at `now`, which count as sent.
    pub(super) fn take(&mut self, size: usize, now: Instant) -> usize {
        let depth = self.bytes_per_s * DEPTH.as_secs_f64() + size as f64;
        let elapsed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.filled = now;
        self.bytes = (self.bytes + elapsed * self.bytes_per_s).min(depth);
        let due = (self.bytes / size as f64).floor();
        self.bytes -= due * size as f64;
        due as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_met_exactly_whatever_the_rhythm() {
        let start = Instant::now();
        let mut bucket = Bucket::new(80_000_000, start);
        let mut now = start;
        let mut sent = 0;
        for step in 0..2000u64 {
            now += Duration::from_micros(300 + step % 400);
            sent += bucket.take(1400, now);
        }
        let expected = (now - start).as_secs_f64() * 10e6 / 1400.0;
        assert!((sent as f64 - expected).abs() <= 1.0, "{sent} for {expected}");
    }

    #[test]
    fn a_long_pause_is_not_made_up_for() {
        let start = Instant::now();
        let mut bucket = Bucket::new(8_000_000, start);
        let burst = bucket.take(1000, start + Duration::from_secs(10));
        assert_eq!(burst, 21);
    }

    #[test]
    fn slow_rates_still_send() {
        let start = Instant::now();
        let mut bucket = Bucket::new(8_000, start);
        let sent: usize =
            (1..=2000).map(|ms| bucket.take(1000, start + Duration::from_millis(ms))).sum();
        assert_eq!(sent, 2);
    }
}

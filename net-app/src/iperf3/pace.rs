//! Sending at a rate.

use godwit::time::{Duration, Instant};

/// How often a paced sender wakes up. iperf3's own `--pacing-timer` is the same unless told
/// otherwise.
pub(super) const PACING: Duration = Duration::from_millis(1);

/// How much may have been sent by now.
pub(super) struct Pace {
    start: Instant,
    bits_per_second: u64,
}

impl Pace {
    pub(super) fn new(bits_per_second: u64) -> Self {
        Self { start: Instant::now(), bits_per_second }
    }

    /// Bytes due since the start.
    pub(super) fn due(&self) -> u64 {
        let bits = u128::from(self.start.elapsed().as_micros()) * u128::from(self.bits_per_second)
            / 1_000_000;
        u64::try_from(bits / 8).unwrap_or(u64::MAX)
    }
}

//! Resets that are tried again.

use unikernel::time::now_ns;

/// When a reset that failed is tried again, and how long after the last time. It begins with
/// [`FIRST`](Self::FIRST), and each time is twice as long, up to [`LONGEST`](Self::LONGEST).
#[derive(Clone, Copy)]
pub(super) struct Retry {
    at_ns: u64,
    pause_ns: u64,
}

impl Retry {
    const FIRST: u64 = 100_000_000;
    const LONGEST: u64 = 30_000_000_000;

    pub(super) fn after(last: Option<Self>) -> Self {
        let pause_ns = last.map_or(Self::FIRST, |last| (2 * last.pause_ns).min(Self::LONGEST));
        Self { at_ns: now_ns() + pause_ns, pause_ns }
    }

    pub(super) fn is_due(&self) -> bool {
        now_ns() >= self.at_ns
    }
}

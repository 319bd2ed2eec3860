//! What the device waits for, and so when the engine has to attend to it.

use std::time::Instant;

/// What the device waits for. A read or write of a register may change it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// When an interrupt that waits for the end of its interval is due.
    pub(crate) at: Option<Instant>,
    /// Frames wait for the peer's socket to be writable.
    pub(crate) writable: bool,
    /// Frames from the peer are welcome.
    pub(crate) readable: bool,
}

impl Plan {
    /// Whether an engine that waits for `self` would be late for `other`.
    pub(crate) fn misses(&self, other: &Self) -> bool {
        let late = match (self.at, other.at) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(planned), Some(due)) => due < planned,
        };
        late || other.writable && !self.writable || other.readable && !self.readable
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_what_comes_sooner_or_anew_is_missed() {
        let soon = Instant::now();
        let later = soon + Duration::from_secs(1);
        let at = |at| Plan { at, ..Plan::default() };
        for (planned, due, is_late) in [
            (None, None, false),
            (None, Some(soon), true),
            (Some(soon), None, false),
            (Some(soon), Some(later), false),
            (Some(later), Some(soon), true),
        ] {
            assert_eq!(at(planned).misses(&at(due)), is_late, "{planned:?}, {due:?}");
        }
        let writable = Plan { writable: true, ..Plan::default() };
        let readable = Plan { readable: true, ..Plan::default() };
        assert!(writable.misses(&readable) && readable.misses(&writable));
        assert!(!writable.misses(&Plan::default()));
    }
}

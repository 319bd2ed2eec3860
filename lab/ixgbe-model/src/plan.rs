//! When somebody has to look at the device again, though nobody touches it.

use std::time::Instant;

/// What the device waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// An interrupt waits for its interval.
    pub(crate) at: Option<Instant>,
    /// Frames wait for the peer to take them.
    pub(crate) writable: bool,
    /// Frames of the peer are welcome.
    pub(crate) readable: bool,
}

impl Plan {
    /// Whether somebody who acts on `self` would be late for `other`.
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

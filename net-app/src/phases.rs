//! When the machine was in which phase of a migration, for captures.

use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;

use godwit::time::Instant;
use godwit::{Migration, State};

/// Changes that are remembered: those of three migrations.
const KEPT: usize = 12;

/// The last changes. A handle, cheap to clone.
#[derive(Clone, Default)]
pub struct Phases(Rc<RefCell<VecDeque<(Instant, State)>>>);

impl Phases {
    /// Takes note of each change, for ever.
    pub async fn follow(&self, migration: &Migration) {
        let mut watcher = migration.watcher();
        loop {
            let state = watcher.changed().await;
            self.note(Instant::now(), state);
        }
    }

    fn note(&self, at: Instant, state: State) {
        let mut phases = self.0.borrow_mut();
        if phases.len() == KEPT {
            phases.pop_front();
        }
        phases.push_back((at, state));
    }

    /// What began after one moment and up to another, in order. Without a first moment, the last
    /// that had begun by the other.
    #[must_use]
    pub fn begun(&self, after: Option<Instant>, until: Instant) -> Vec<&'static str> {
        let phases = self.0.borrow();
        let mut by_then = phases.iter().filter(|(at, _)| *at <= until);
        match after {
            Some(after) => {
                by_then.filter(|(at, _)| *at > after).map(|(_, state)| comment(*state)).collect()
            }
            None => by_then.next_back().map(|(_, state)| comment(*state)).into_iter().collect(),
        }
    }
}

/// What a capture says of the first frame of a phase.
const fn comment(state: State) -> &'static str {
    match state {
        State::Running => "migration: over, the machine goes on here",
        State::WarmUp => "migration: warm-up, memory is being copied",
        State::Leaving => "migration: the NIC is to be quiet",
        State::Arrived { .. } => "migration: arrived on the destination",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_phase_is_told_once_by_the_first_frame_since() {
        let at = Instant::from_millis;
        let phases = Phases::default();
        assert!(phases.begun(None, at(10)).is_empty());
        phases.note(at(100), State::WarmUp);
        phases.note(at(200), State::Leaving);
        phases.note(at(300), State::Arrived { moves: 1 });
        let begun = |after, until| phases.begun(after, at(until)).join(", ");
        assert_eq!(begun(None, 99), "");
        assert!(begun(Some(at(99)), 100).contains("warm-up"));
        assert_eq!(begun(Some(at(100)), 199), "");
        let several = begun(Some(at(99)), 400);
        assert!(several.contains("warm-up") && several.ends_with("arrived on the destination"));
        assert_eq!(begun(None, 250), "migration: the NIC is to be quiet");
        (0..100).for_each(|n| phases.note(at(1000 + n), State::Running));
        assert_eq!(phases.0.borrow().len(), KEPT);
    }
}

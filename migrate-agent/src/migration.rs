//! The state of live migration, for any number of tasks to watch.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};

use unikernel::watch::{Watch, Watcher};

/// Where the machine is in a live migration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Nobody migrates the machine, or a migration was cancelled.
    #[default]
    Running,
    /// The hypervisor copies memory while the machine runs, and logs what it writes.
    WarmUp,
    /// The NIC is asked to leave: the machine is about to stop here and go on elsewhere. Traffic
    /// goes by a standby from now on, or waits.
    Leaving,
    /// The machine has moved, and nobody migrates it again yet. Its NICs follow in a moment.
    Arrived {
        /// Migrations since it booted.
        moves: u32,
    },
}

/// What the bridges have told, for people and programs that look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// A bridge above a NIC has the migration capability.
    pub capability: bool,
    /// The hypervisor is logging.
    pub logging: bool,
    /// EPOCH acknowledged last.
    pub epoch: u32,
    /// Migrations since the machine booted.
    pub moves: u32,
}

/// The state of migration of the whole machine: what all its bridges tell, taken together. A
/// handle, cheap to clone.
#[derive(Clone)]
pub struct Migration(Rc<Shared>);

struct Shared {
    state: Watch<State>,
    /// Moves that have been told.
    moves: Cell<u32>,
    bridges: RefCell<Vec<Report>>,
}

/// What one bridge tells.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Report {
    pub(crate) logging: bool,
    pub(crate) leaving: bool,
    pub(crate) epoch: u32,
    pub(crate) moves: u32,
}

impl Default for Migration {
    fn default() -> Self {
        Self::new()
    }
}

impl Migration {
    /// Of a machine that nobody migrates.
    pub fn new() -> Self {
        let state = Watch::new(State::default());
        Self(Rc::new(Shared { state, moves: Cell::default(), bridges: RefCell::default() }))
    }

    /// The state now.
    pub fn state(&self) -> State {
        self.0.state.get()
    }

    /// A watcher of its own, which will see every change from now on, or the last of several.
    pub fn watcher(&self) -> Watcher<State> {
        self.0.state.watcher()
    }

    /// What the bridges have told.
    pub fn facts(&self) -> Facts {
        let bridges = self.0.bridges.borrow();
        Facts {
            capability: !bridges.is_empty(),
            logging: bridges.iter().any(|bridge| bridge.logging),
            epoch: bridges.iter().map(|bridge| bridge.epoch).max().unwrap_or(0),
            moves: moves(&bridges),
        }
    }

    /// A place for what one more bridge tells.
    pub(crate) fn join(&self) -> Membership {
        let mut bridges = self.0.bridges.borrow_mut();
        // One that comes later has not been through the moves of the others, but the machine has.
        let moves = moves(&bridges);
        bridges.push(Report { moves, ..Report::default() });
        Membership { migration: self.clone(), index: bridges.len() - 1 }
    }

    /// Takes what all bridges tell together.
    fn update(&self) {
        let facts = self.facts();
        let is_leaving = self.0.bridges.borrow().iter().any(|bridge| bridge.leaving);
        let before = self.0.state.get();
        let state = if is_leaving {
            State::Leaving
        } else if facts.logging {
            State::WarmUp
        } else if facts.moves > self.0.moves.replace(facts.moves) {
            State::Arrived { moves: facts.moves }
        } else if matches!(before, State::WarmUp | State::Leaving) {
            State::Running
        } else {
            before
        };
        if state != before {
            self.0.state.set(state);
        }
    }
}

/// Every bridge goes through every move of the machine.
fn moves(bridges: &[Report]) -> u32 {
    bridges.iter().map(|bridge| bridge.moves).max().unwrap_or(0)
}

/// The place of one bridge.
pub(crate) struct Membership {
    migration: Migration,
    index: usize,
}

impl Membership {
    /// Changes what the bridge tells.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Report)) {
        change(&mut self.migration.0.bridges.borrow_mut()[self.index]);
        self.migration.update();
    }
}

//! What there is: bridges, each with its capability, QEMU's record of it, and the guest's task;
//! and the steps that change it.

use migrate_agent::registers::Status;

use crate::poll::{Access, Poll, RealAgent, booted, probed};

/// What one side leaves out. [`Mistake::None`] leaves out nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mistake {
    /// The protocol as it is specified.
    None,
    /// The service says that its NICs are quiet, and they are not.
    QuietInWordsOnly,
    /// The service does not start its NICs again.
    NoRestart,
    /// The hypervisor opens devices that it closed without consent before the guest knows.
    OpensUnknown,
    /// It gives devices back without clearing QUIESCE.
    QuiesceStays,
    /// It clears QUIESCE before it opens the devices.
    OpensLate,
    /// It closes the devices when it asks, not when it is answered.
    ClosesAtOnce,
    /// It takes any ACK for one.
    AnyAck,
}

/// A bridge's NIC, as its driver has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Nic {
    InUse,
    /// Stopped, or not found when the guest booted.
    Quiet,
    /// Its driver started, and met a device that does not answer.
    Dead,
}

/// What the bridge's task is doing, as `BridgeService::poll_agent` has it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Task {
    /// Between two polls.
    Idle(RealAgent),
    /// In one.
    Polls(Poll),
    /// `Nics::release` is under way.
    Releases(RealAgent),
    /// `Bridge::attach` is.
    Attaches(RealAgent),
}

/// A bridge, its capability, and the NIC below.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Bridge {
    // The capability.
    pub(super) epoch: u32,
    pub(super) status: Status,
    pub(super) ack: u32,
    pub(super) marking: bool,
    // QEMU's: see struct PCIBridgeDirtyLog.
    pub(super) failed: bool,
    pub(super) closed: bool,
    pub(super) forced: bool,
    /// The device is as after a reset.
    pub(super) fresh: bool,
    // The guest's.
    pub(super) task: Task,
    pub(super) nic: Nic,
}

/// What the migration thread is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    /// There is no migration.
    None,
    /// The log goes on, bridge by bridge: this one is next.
    LogGoesOn(usize),
    /// Memory is copied.
    Copies,
    /// The migration failed or was cancelled; this bridge is told next.
    GivesBack(usize),
    /// The log goes off.
    LogGoesOff(usize),
    /// The machine is on the destination, about to run; this bridge is next.
    Arrives(usize),
}

/// Everything there is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub(super) bridges: Vec<Bridge>,
    pub(super) phase: Phase,
    pub(super) migrations: u8,
    pub(super) resets: u8,
    /// Agents that have marking on.
    pub(super) marking: u8,
    // What happened, for the properties.
    pub(super) moved: u8,
    pub(super) failures: u8,
    pub(super) reset_in_use: bool,
}

/// One small step of somebody; a number is a bridge's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is described where it is carried out")]
pub enum Action {
    // Hypervisor.
    Begin,
    LogOn(usize),
    Ask(usize),
    TimeOut(usize),
    Fail,
    GiveBack(usize),
    LogOff(usize),
    SwitchOver,
    Run(usize),
    Reset,
    // Guest.
    Poll(usize),
    Agent(usize, Access),
    Quiet(usize),
    Attach(usize),
}

/// The conversation, with one mistake or none.
#[derive(Clone, Copy, Debug)]
pub struct Conversation {
    /// What is left out.
    pub mistake: Mistake,
    /// How many bridges there are, with a NIC each.
    pub bridges: usize,
    /// How many migrations are tried.
    pub migrations: u8,
    /// How often the guest is reset.
    pub resets: u8,
    /// `x-dirty-log-force`: who does not answer in time has its devices closed all the same.
    pub force: bool,
}

impl State {
    /// A guest that has booted, with all its NICs in use.
    pub(super) fn booted(bridges: usize) -> Self {
        let bridge = Bridge {
            epoch: 1,
            status: Status::empty(),
            ack: 1,
            marking: true,
            failed: false,
            closed: false,
            forced: false,
            fresh: false,
            task: Task::Idle(booted()),
            nic: Nic::InUse,
        };
        Self {
            bridges: vec![bridge; bridges],
            phase: Phase::None,
            migrations: 0,
            resets: 0,
            marking: 0,
            moved: 0,
            failures: 0,
            reset_in_use: false,
        }
    }

    /// Nobody waits for anybody, and everything works.
    pub(super) fn is_well(&self) -> bool {
        let well = |bridge: &Bridge| {
            bridge.nic == Nic::InUse
                && !bridge.closed
                && bridge.ack == bridge.epoch
                && !bridge.status.contains(Status::QUIESCE)
        };
        self.phase == Phase::None && self.marking == 0 && self.bridges.iter().all(well)
    }
}

impl Bridge {
    /// The guest is started anew: it enumerates, its agent makes the promise, and will poll.
    pub(super) fn boots(&mut self) {
        self.task = Task::Idle(probed());
        self.marking = true;
        self.nic = if self.closed { Nic::Quiet } else { Nic::InUse };
    }

    pub(super) fn is_used_while_closed(&self) -> bool {
        self.closed && !self.forced && self.nic == Nic::InUse
    }

    pub(super) fn is_dead(&self) -> bool {
        self.nic == Nic::Dead
    }

    /// STATUS changes, and EPOCH with it. MOVED goes with the next change after it came.
    pub(super) fn change(&mut self, change: impl FnOnce(&mut Status)) {
        let mut status = self.status.difference(Status::MOVED);
        change(&mut status);
        self.status = status;
        self.epoch += 1;
    }

    pub(super) fn is_acknowledged(&self) -> bool {
        self.ack == self.epoch
    }
}

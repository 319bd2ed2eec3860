//! What there is: memory, processors, capability, hypervisor; and the steps that change it.

use migrate_agent::registers::Status;

use crate::poll::{Access, Poll, RealAgent, booted};

/// How many pages the guest has, a buffer in each.
pub(crate) const PAGES: usize = 2;

/// What the argument rests on, left out. [`Mistake::None`] leaves out nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mistake {
    /// The protocol as it is specified.
    None,
    /// Nothing is ever marked (`marking=never`).
    NoMarking,
    /// The agent turns marking on and acknowledges.
    NoCatchUp,
    /// The agent catches up, then turns marking on.
    CatchUpBeforeFlag,
    /// Catch-up covers what was received, not what a device may be writing.
    CatchUpReceivedOnly,
    /// The agent's flag may still be in its store buffer while it catches up.
    NoFence,
    /// The receive path marks a buffer before its done bit is set.
    MarkBeforeDone,
    /// The receive path looks at the flag before it looks at the done bit.
    FlagBeforeDone,
    /// The hypervisor does not wait for the acknowledgement.
    NoGate,
    /// It takes any acknowledgement for one.
    AnyAck,
    /// It does not wait for the device to be closed.
    DeviceStays,
    /// The agent acknowledges that the device is quiet before it is.
    AckBeforeQuiet,
    /// It stops the machine without reading the log once more.
    NoLastRead,
}

/// Where a buffer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Buffer {
    /// In the pool.
    #[default]
    Free,
    /// In the ring, the device not told yet.
    Posted,
    /// The device may write it.
    Armed,
    /// It has; the done bit is set.
    Done,
    /// The receive path has it under way.
    UnderWay,
    /// An application has it.
    Held,
}

/// What the pool's books say of a buffer, for catch-up to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Noted {
    /// `Use::Free`.
    #[default]
    Free,
    /// `Use::FromDevice`.
    FromDevice,
    /// `Use::Received`.
    Received,
}

/// A page, in which there is one buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Page {
    /// The buffer, as it is.
    pub(crate) buffer: Buffer,
    /// The buffer, as memory has it in the books.
    pub(crate) noted: Noted,
    /// The hypervisor's log has it.
    pub(crate) dirty: bool,
    /// It is to be sent in this pass.
    pub(crate) to_send: bool,
    /// The destination has what memory has.
    pub(crate) current: bool,
    /// It was marked too early ([`Mistake::MarkBeforeDone`]).
    pub(crate) marked_early: bool,
}

/// What the processor that receives is doing: one buffer at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Receiver {
    /// Between two buffers.
    #[default]
    Idle,
    /// It has looked at the flag already ([`Mistake::FlagBeforeDone`]).
    Looked(bool),
    /// It has seen the done bit of this page's buffer.
    SeenDone(usize),
    /// And has looked at the flag: to be marked, or not.
    Knows(usize, bool),
    /// Ready to be handed on.
    Marked(usize),
}

/// What the agent's task is doing, as `BridgeService::poll_agent` has it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Task {
    /// Between two polls.
    Idle(RealAgent),
    /// In one.
    Polls(Poll),
    /// It waits for the driver to stop the device.
    Quiesces(RealAgent),
}

/// The receiving processor's store buffer: changes to the books in the order they were made, which
/// other processors do not see yet. Real ones hold more; here it is enough that one store is in it
/// while the next is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Stores([Option<(usize, Noted)>; 2]);

impl Stores {
    pub(crate) fn is_empty(&self) -> bool {
        self.0[0].is_none()
    }

    pub(crate) fn has_room(&self) -> bool {
        self.0[1].is_none()
    }

    pub(crate) fn push(&mut self, page: usize, noted: Noted) {
        let at = usize::from(self.0[0].is_some());
        self.0[at] = Some((page, noted));
    }

    pub(crate) fn pop(&mut self) -> Option<(usize, Noted)> {
        let first = self.0[0].take();
        self.0.swap(0, 1);
        first
    }
}

/// Everything there is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// Guest memory, and what the hypervisor knows of it.
    pub(crate) pages: [Page; PAGES],
    // The receiving processor.
    pub(crate) receiver: Receiver,
    /// Its store buffer.
    pub(crate) receiver_stores: Stores,
    // The agent's processor.
    pub(crate) agent: Task,
    /// Its store buffer: the flag that other processors do not see yet.
    pub(crate) agent_stores: Option<bool>,
    /// The driver has stopped the device, as the agent asked it to.
    pub(crate) stopped: bool,
    /// The flag, as memory has it.
    pub(crate) flag: bool,
    // The capability.
    pub(crate) epoch: u32,
    pub(crate) status: Status,
    pub(crate) ack: u32,
    // The hypervisor.
    pub(crate) log: bool,
    pub(crate) announced: bool,
    pub(crate) migrations: u8,
    /// The device does nothing any more, whatever the guest does.
    pub(crate) closed: bool,
    /// The migration was given up, and the log will go off.
    pub(crate) given_up: bool,
    // What happened, for the properties.
    pub(crate) lost: bool,
    pub(crate) moved: u8,
    pub(crate) cancelled: bool,
    /// A buffer was received unmarked while the log was on.
    pub(crate) unmarked: bool,
    /// And was held at a switchover.
    pub(crate) caught_up: bool,
}

impl State {
    /// A guest that has booted, and nothing else has happened yet.
    pub(crate) fn booted() -> Self {
        Self {
            pages: Default::default(),
            receiver: Receiver::Idle,
            receiver_stores: Stores::default(),
            agent: Task::Idle(booted()),
            agent_stores: None,
            stopped: false,
            flag: false,
            epoch: 1,
            status: Status::empty(),
            ack: 1,
            log: false,
            announced: false,
            migrations: 0,
            closed: false,
            given_up: false,
            lost: false,
            moved: 0,
            cancelled: false,
            unmarked: false,
            caught_up: false,
        }
    }
}

/// One small step of somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is described where it is carried out")]
pub enum Action {
    // Hypervisor and device.
    LogOn,
    Announce,
    Send(usize),
    ReadLog,
    Quiesce,
    Close,
    SwitchOver,
    Open,
    Cancel,
    Write(usize),
    // Receiving processor.
    Post(usize),
    Doorbell,
    ReceiverStoreDrains,
    LookEarly,
    MarkEarly(usize),
    SeeDone(usize),
    Look,
    Mark,
    HandOn,
    Drop(usize),
    Stop,
    // Agent's processor.
    Poll,
    Agent(Access),
    AgentStoreDrains,
    Quiet,
}

/// The protocol, with one mistake or none.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// What is left out.
    pub mistake: Mistake,
    /// How many migrations are tried, cancelled ones included.
    pub migrations: u8,
}

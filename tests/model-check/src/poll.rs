//! The agent itself, [`migrate_agent::Agent`], an access at a time: what others do between two of
//! its accesses is what a model is about.
//!
//! A poll is one call, which cannot be left in the middle. But the agent is deterministic: what it
//! does next depends on what it was, and on what it met so far. So a [`Poll`] is the agent as it
//! was when the call began, and the answers to the accesses it has made since. To learn what comes
//! next the call is made anew on a copy, which is given these answers; the first access there is
//! none for is the next one.

use std::cell::RefCell;

use migrate_agent::registers::{
    ACK, CAPABILITY_ID, CAPABILITY_TYPE, CAPABILITY_VERSION, DEFINED_BY, DEFINER, EPOCH, FEATURES,
    Features, ID, LEN, LENGTH, STATUS, TYPE, VERSION,
};
use migrate_agent::{Agent, Event, Marker, Registers, Slice};

/// The agent of the product.
pub(crate) type RealAgent = Agent<Scripted>;

/// An access that others take notice of, or whose outcome they have a say in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Reads EPOCH.
    Epoch,
    /// Reads STATUS.
    Status,
    /// [`Marker::start`].
    Start,
    /// [`Marker::catch_up`], from there on.
    CatchUp(u32),
    /// [`Marker::stop`].
    Stop,
    /// Writes ACK.
    Acknowledge(u32),
}

/// What an access came to: what was read, or where catch-up goes on. 0 where there is nothing to
/// say.
type Answer = u32;

/// The answer of a slice of catch-up that was the last.
pub(crate) const ALL: Answer = 0;

/// A poll under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Poll {
    agent: RealAgent,
    answers: Vec<Answer>,
}

/// What a poll does next.
#[derive(Debug)]
pub(crate) enum Next {
    /// This access.
    Access(Access),
    /// It returns, and this is the agent then.
    Returns(RealAgent, Event),
}

impl Poll {
    pub(crate) fn begin(agent: RealAgent) -> Self {
        Self { agent, answers: Vec::new() }
    }

    pub(crate) fn next(&self) -> Next {
        SCRIPT.with_borrow_mut(|script| {
            script.answers.clone_from(&self.answers);
            script.at = 0;
            script.next = None;
        });
        let mut agent = self.agent.clone();
        let event = agent.poll(&mut Scripted);
        match SCRIPT.with_borrow(|script| script.next) {
            // What the copy did after that, it did to nobody.
            Some(access) => Next::Access(access),
            None => Next::Returns(agent, event),
        }
    }

    pub(crate) fn answer(&mut self, answer: Answer) {
        self.answers.push(answer);
    }
}

/// An agent that has made its promise, and has yet to poll.
pub(crate) fn probed() -> RealAgent {
    let mut agent = Agent::probe(Scripted).expect("it is scripted to be a capability");
    agent.promise(true, true);
    agent
}

/// An agent as a guest has it after boot, with EPOCH 1 acknowledged.
pub(crate) fn booted() -> RealAgent {
    let mut poll = Poll::begin(probed());
    [1, 0, 0].into_iter().for_each(|answer| poll.answer(answer));
    match poll.next() {
        Next::Returns(agent, Event::None) if agent.epoch() == 1 => agent,
        other => panic!("an agent that has booted acknowledges EPOCH 1, and no more: {other:?}"),
    }
}

#[derive(Debug, Default)]
struct Script {
    answers: Vec<Answer>,
    /// Answers given.
    at: usize,
    /// The first access without one.
    next: Option<Access>,
}

thread_local! {
    static SCRIPT: RefCell<Script> = RefCell::default();
}

/// Registers and marker of an agent in a [`Poll`]. One script a thread serves all: a poll is begun
/// and left without another in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Scripted;

fn meet(access: Access) -> Answer {
    SCRIPT.with_borrow_mut(|script| {
        let answer = script.answers.get(script.at).copied();
        script.at += 1;
        if answer.is_none() && script.next.is_none() {
            script.next = Some(access);
        }
        answer.unwrap_or_default()
    })
}

impl Registers for Scripted {
    fn read8(&self, offset: u8) -> u8 {
        match offset {
            ID => CAPABILITY_ID,
            LEN => LENGTH,
            TYPE => CAPABILITY_TYPE,
            VERSION => CAPABILITY_VERSION,
            FEATURES => (Features::LOGGING | Features::QUIESCE).bits(),
            _ => panic!("no byte at {offset}"),
        }
    }

    fn read16(&self, offset: u8) -> u16 {
        match offset {
            DEFINED_BY => DEFINER,
            STATUS => meet(Access::Status) as u16,
            _ => panic!("no 16 bits at {offset}"),
        }
    }

    fn read32(&self, offset: u8) -> u32 {
        assert_eq!(offset, EPOCH, "nothing else is read");
        meet(Access::Epoch)
    }

    // CONTROL, by the promise.
    fn write16(&mut self, _: u8, _: u16) {}

    fn write32(&mut self, offset: u8, value: u32) {
        // MARKED is for statistics.
        if offset == ACK {
            meet(Access::Acknowledge(value));
        }
    }
}

impl Marker for Scripted {
    fn start(&mut self) {
        meet(Access::Start);
    }

    fn catch_up(&mut self, from: u32) -> Slice {
        let next = meet(Access::CatchUp(from));
        Slice { pages: 0, next: (next != ALL).then_some(next) }
    }

    fn stop(&mut self) {
        meet(Access::Stop);
    }

    fn marked(&self) -> u64 {
        0
    }
}

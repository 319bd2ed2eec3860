//! The agent's processor: the product's own agent, and the service around it.

use migrate_agent::Event;

use super::state::{Action, Migration, Mistake, Noted, PAGES, State, Task};
use crate::poll::{ALL, Access, Next, Poll};

pub(crate) fn actions(model: &Migration, state: &State, actions: &mut Vec<Action>) {
    if state.agent_stores.is_some() {
        actions.push(Action::AgentStoreDrains);
    }
    match &state.agent {
        // A poll that finds nothing new changes nothing.
        Task::Idle(agent) if state.epoch != agent.epoch() => actions.push(Action::Poll),
        Task::Idle(_) => {}
        Task::Polls(poll) => {
            if let Next::Access(access) = poll.next() {
                actions.push(Action::Agent(access));
            }
        }
        Task::Quiesces(_) if !state.stopped && model.mistake != Mistake::AckBeforeQuiet => {}
        Task::Quiesces(_) => actions.push(Action::Quiet),
    }
}

pub(crate) fn apply(model: &Migration, state: &mut State, action: Action) {
    match action {
        Action::AgentStoreDrains => fence(state),
        Action::Poll => {
            if let Task::Idle(agent) = &state.agent {
                let mut poll = Poll::begin(agent.clone());
                poll.answer(state.epoch);
                state.agent = Task::Polls(poll);
                go_on(state);
            }
        }
        Action::Agent(access) => {
            let answer = meet(model, state, access);
            if let Task::Polls(poll) = &mut state.agent {
                poll.answer(answer);
                go_on(state);
            }
        }
        // `Nics::release` has returned.
        Action::Quiet => {
            if let Task::Quiesces(agent) = &state.agent {
                let mut agent = agent.clone();
                agent.quiesced();
                state.agent = Task::Idle(agent);
            }
        }
        _ => {}
    }
}

/// If the poll has returned, the service does what `BridgeService::poll_agent` does.
fn go_on(state: &mut State) {
    let Task::Polls(poll) = &state.agent else { return };
    if let Next::Returns(mut agent, event) = poll.next() {
        if agent.take_release() {
            state.stopped = false;
        }
        state.agent = match event {
            Event::QuiesceRequested => Task::Quiesces(agent),
            _ => Task::Idle(agent),
        };
    }
}

fn meet(model: &Migration, state: &mut State, access: Access) -> u32 {
    match access {
        Access::Epoch => return state.epoch,
        Access::Status => return state.status.bits().into(),
        // Marking::start and Marking::stop. Plain stores here, which is less than they are.
        Access::Start if model.mistake == Mistake::CatchUpBeforeFlag => {}
        Access::Start => state.agent_stores = Some(true),
        Access::Stop => state.agent_stores = Some(false),
        Access::CatchUp(page) => return catch_up(model, state, page as usize),
        // An uncached store, after all others.
        Access::Acknowledge(epoch) => {
            fence(state);
            state.ack = epoch;
        }
    }
    0
}

/// Pool::catch_up, a page a slice.
fn catch_up(model: &Migration, state: &mut State, page: usize) -> u32 {
    if matches!(model.mistake, Mistake::NoCatchUp | Mistake::NoMarking) {
        return ALL;
    }
    // The fence that each slice begins with.
    if model.mistake != Mistake::NoFence {
        fence(state);
    }
    let covered = match state.pages[page].noted {
        Noted::Free => false,
        Noted::FromDevice => model.mistake != Mistake::CatchUpReceivedOnly,
        Noted::Received => true,
    };
    if covered {
        // A locked instruction, which drains the store buffer too.
        fence(state);
        state.pages[page].dirty |= state.log;
    }
    if page + 1 < PAGES {
        return page as u32 + 1;
    }
    if model.mistake == Mistake::CatchUpBeforeFlag {
        state.agent_stores = Some(true);
    }
    ALL
}

fn fence(state: &mut State) {
    if let Some(flag) = state.agent_stores.take() {
        state.flag = flag;
    }
}

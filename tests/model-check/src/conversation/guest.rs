//! The guest's half: one executor, on which the bridges' tasks take turns. A poll is not left in
//! the middle by other tasks, but the hypervisor does not stand still for it.

use migrate_agent::Event;

use super::hypervisor::acknowledged;
use super::state::{Action, Conversation, Mistake, Nic, Phase, State, Task};
use crate::poll::{ALL, Access, Next, Poll, RealAgent};

pub(super) fn actions(model: &Conversation, state: &State, actions: &mut Vec<Action>) {
    if matches!(state.phase, Phase::Arrives(_)) {
        // The machine is stopped.
        return;
    }
    for (i, bridge) in state.bridges.iter().enumerate() {
        if let Task::Polls(poll) = &bridge.task {
            if let Next::Access(access) = poll.next() {
                actions.push(Action::Agent(i, access));
            }
            return;
        }
    }
    for (i, bridge) in state.bridges.iter().enumerate() {
        match &bridge.task {
            // A poll that finds nothing new changes nothing.
            Task::Idle(agent) if bridge.epoch != agent.epoch() => actions.push(Action::Poll(i)),
            Task::Idle(_) | Task::Polls(_) => {}
            Task::Releases(_) => actions.push(Action::Quiet(i)),
            Task::Attaches(_) if model.mistake == Mistake::NoRestart => {}
            Task::Attaches(_) => actions.push(Action::Attach(i)),
        }
    }
}

/// Returns what the agent says, should its poll return.
pub(super) fn apply(model: &Conversation, state: &mut State, action: Action) -> Option<Event> {
    match action {
        Action::Poll(i) => {
            let bridge = &mut state.bridges[i];
            if let Task::Idle(agent) = &bridge.task {
                let mut poll = Poll::begin(agent.clone());
                poll.answer(bridge.epoch);
                bridge.task = Task::Polls(poll);
                return go_on(state, i);
            }
        }
        Action::Agent(i, access) => {
            let answer = meet(model, state, i, access);
            if let Task::Polls(poll) = &mut state.bridges[i].task {
                poll.answer(answer);
                return go_on(state, i);
            }
        }
        // `Nics::release` has returned.
        Action::Quiet(i) => {
            let bridge = &mut state.bridges[i];
            if let Task::Releases(agent) = &bridge.task {
                let mut agent = agent.clone();
                agent.quiesced();
                bridge.task = Task::Idle(agent);
                if model.mistake != Mistake::QuietInWordsOnly {
                    bridge.nic = Nic::Quiet;
                }
            }
        }
        // `Bridge::attach` finds what answers; what is in use already is left alone.
        Action::Attach(i) => {
            let bridge = &mut state.bridges[i];
            if let Task::Attaches(agent) = &bridge.task {
                bridge.task = Task::Idle(agent.clone());
                if bridge.nic != Nic::InUse {
                    bridge.nic = if bridge.closed { Nic::Dead } else { Nic::InUse };
                }
            }
        }
        _ => {}
    }
    None
}

/// If the poll has returned, the service does what `BridgeService::poll_agent` does.
fn go_on(state: &mut State, i: usize) -> Option<Event> {
    let Task::Polls(poll) = &state.bridges[i].task else { return None };
    let Next::Returns(agent, event) = poll.next() else { return None };
    state.bridges[i].task = after(agent, event);
    Some(event)
}

fn after(mut agent: RealAgent, event: Event) -> Task {
    if event == Event::QuiesceRequested {
        Task::Releases(agent)
    } else if agent.take_release() {
        Task::Attaches(agent)
    } else {
        Task::Idle(agent)
    }
}

fn meet(model: &Conversation, state: &mut State, i: usize, access: Access) -> u32 {
    let bridge = &mut state.bridges[i];
    match access {
        Access::Epoch => return bridge.epoch,
        Access::Status => return bridge.status.bits().into(),
        Access::Start => state.marking += 1,
        Access::Stop => state.marking -= 1,
        Access::CatchUp(_) => return ALL,
        Access::Acknowledge(epoch) => {
            bridge.ack = epoch;
            if bridge.is_acknowledged() || model.mistake == Mistake::AnyAck {
                acknowledged(model, state, i);
            }
        }
    }
    0
}

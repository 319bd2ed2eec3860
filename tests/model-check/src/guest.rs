//! The guest's two processors. The code each step stands for is named.

use crate::state::{Action, Agent, Buffer, Migration, Mistake, Noted, PAGES, Receiver, State};

pub(crate) fn receiver_actions(model: &Migration, state: &State, actions: &mut Vec<Action>) {
    if !state.receiver_stores.is_empty() {
        actions.push(Action::ReceiverStoreDrains);
    }
    let room = state.receiver_stores.has_room();
    let pages = |wanted: Buffer| (0..PAGES).filter(move |&p| state.pages[p].buffer == wanted);
    match state.receiver {
        Receiver::Idle => {
            if room && !state.stopped {
                actions.extend(pages(Buffer::Free).map(Action::Post));
            }
            if pages(Buffer::Posted).next().is_some() && !state.stopped {
                actions.push(Action::Doorbell);
            }
            if room {
                actions.extend(pages(Buffer::Held).map(Action::Drop));
            }
            if matches!(state.agent, Agent::Quiesces(_)) && !state.stopped {
                actions.push(Action::Stop);
            }
            if model.mistake == Mistake::FlagBeforeDone {
                actions.push(Action::LookEarly);
            } else {
                actions.extend(pages(Buffer::Done).map(Action::SeeDone));
            }
            if model.mistake == Mistake::MarkBeforeDone && state.flag {
                let early = pages(Buffer::Armed).filter(|&p| !state.pages[p].marked_early);
                actions.extend(early.map(Action::MarkEarly));
            }
        }
        Receiver::Looked(_) => actions.extend(pages(Buffer::Done).map(Action::SeeDone)),
        Receiver::SeenDone(_) => actions.push(Action::Look),
        Receiver::Knows(_, true) => actions.push(Action::Mark),
        Receiver::Knows(_, false) | Receiver::Marked(_) if room => actions.push(Action::HandOn),
        Receiver::Knows(_, false) | Receiver::Marked(_) => {}
    }
}

pub(crate) fn apply_receiver(model: &Migration, state: &mut State, action: Action) {
    match action {
        // Pool::receive_stream: `Slots::set`, a plain store.
        Action::Post(p) => {
            state.pages[p].buffer = Buffer::Posted;
            state.receiver_stores.push(p, Noted::FromDevice);
        }
        // The tail register: the device acts on it only after all earlier stores are in memory.
        Action::Doorbell => {
            while !state.receiver_stores.is_empty() {
                drain(state);
            }
            for page in &mut state.pages {
                if page.buffer == Buffer::Posted {
                    page.buffer = Buffer::Armed;
                }
            }
        }
        Action::ReceiverStoreDrains => drain(state),
        Action::LookEarly => state.receiver = Receiver::Looked(state.flag),
        Action::MarkEarly(p) => {
            state.pages[p].marked_early = true;
            state.pages[p].dirty |= state.log;
        }
        // Coherent::completed. The loads that follow are not made earlier.
        Action::SeeDone(p) => {
            state.pages[p].buffer = Buffer::UnderWay;
            state.receiver = match state.receiver {
                Receiver::Looked(flag) => Receiver::Knows(p, flag),
                _ if state.pages[p].marked_early => Receiver::Knows(p, false),
                _ => Receiver::SeenDone(p),
            };
        }
        // Pool::completed: one relaxed load.
        Action::Look => {
            if let Receiver::SeenDone(p) = state.receiver {
                let mark = state.flag && model.mistake != Mistake::NoMarking;
                state.unmarked |= !mark && state.log;
                state.receiver = Receiver::Knows(p, mark);
            }
        }
        // Pool::mark: a locked instruction, which drains the store buffer too.
        Action::Mark => {
            if let Receiver::Knows(p, true) = state.receiver {
                while !state.receiver_stores.is_empty() {
                    drain(state);
                }
                state.pages[p].dirty |= state.log;
                state.receiver = Receiver::Marked(p);
            }
        }
        // Stream::receive returns the buffer.
        Action::HandOn => {
            if let Receiver::Knows(p, false) | Receiver::Marked(p) = state.receiver {
                state.pages[p].buffer = Buffer::Held;
                state.pages[p].marked_early = false;
                state.receiver_stores.push(p, Noted::Received);
                state.receiver = Receiver::Idle;
            }
        }
        // RxBuffer::drop.
        Action::Drop(p) => {
            state.pages[p].buffer = Buffer::Free;
            state.receiver_stores.push(p, Noted::Free);
        }
        // Nic::stop, bus mastering off: what was not received goes back to the pool.
        Action::Stop => {
            while !state.receiver_stores.is_empty() {
                drain(state);
            }
            for page in &mut state.pages {
                if matches!(page.buffer, Buffer::Posted | Buffer::Armed | Buffer::Done) {
                    page.buffer = Buffer::Free;
                    page.noted = Noted::Free;
                    page.marked_early = false;
                }
            }
            state.stopped = true;
        }
        _ => {}
    }
}

fn drain(state: &mut State) {
    if let Some((p, noted)) = state.receiver_stores.pop() {
        state.pages[p].noted = noted;
    }
}

pub(crate) fn agent_actions(model: &Migration, state: &State, actions: &mut Vec<Action>) {
    if state.agent_stores.is_some() {
        actions.push(Action::AgentStoreDrains);
    }
    match state.agent {
        Agent::Idle if state.epoch != state.agent_epoch => actions.push(Action::Poll),
        Agent::Idle => {}
        Agent::ReadEpoch(_) => actions.push(Action::ReadStatus),
        Agent::ReadBoth(..) | Agent::FlagLast(_) => actions.push(Action::SetFlag),
        Agent::CatchesUp(..) => actions.push(Action::CatchUp),
        Agent::Quiesces(_) if !state.stopped && model.mistake != Mistake::AckBeforeQuiet => {}
        Agent::Quiesces(_) | Agent::Acknowledges(_) => actions.push(Action::Acknowledge),
    }
}

pub(crate) fn apply_agent(model: &Migration, state: &mut State, action: Action) {
    match action {
        Action::Poll => state.agent = Agent::ReadEpoch(state.epoch),
        Action::ReadStatus => {
            if let Agent::ReadEpoch(epoch) = state.agent {
                state.agent = Agent::ReadBoth(epoch, state.status);
            }
        }
        // Marker::start and Marker::stop: plain stores, where the flag changes.
        Action::SetFlag => set_flag(model, state),
        Action::AgentStoreDrains => agent_fence(state),
        // Pool::catch_up, page by page.
        Action::CatchUp => catch_up(model, state),
        // The register: an uncached store, after all others.
        Action::Acknowledge => {
            if let Agent::Acknowledges(epoch) | Agent::Quiesces(epoch) = state.agent {
                agent_fence(state);
                // The driver starts again, here or there.
                state.stopped &= state.agent_status.quiesce;
                state.ack = epoch;
                state.agent = Agent::Idle;
            }
        }
        _ => {}
    }
}

fn set_flag(model: &Migration, state: &mut State) {
    match state.agent {
        Agent::ReadBoth(epoch, status) => {
            let (was, logging) = (state.agent_status.logging, status.logging);
            // Agent::is_same_log
            let same = was && logging && epoch == state.agent_epoch + 1;
            (state.agent_epoch, state.agent_status) = (epoch, status);
            let skip = model.mistake == Mistake::NoCatchUp;
            if logging && !same && model.mistake == Mistake::CatchUpBeforeFlag {
                state.agent = Agent::CatchesUp(epoch, 0);
                return;
            }
            if logging != was {
                state.agent_stores = Some(logging);
            }
            if logging && !same && !skip && model.mistake != Mistake::NoMarking {
                // The fence at the head of catch_up.
                if model.mistake != Mistake::NoFence {
                    agent_fence(state);
                }
                state.agent = Agent::CatchesUp(epoch, 0);
            } else {
                state.agent = acknowledge(state, epoch);
            }
        }
        Agent::FlagLast(epoch) => {
            state.agent_stores = Some(true);
            state.agent = acknowledge(state, epoch);
        }
        _ => {}
    }
}

/// What comes before the acknowledgement.
fn acknowledge(state: &State, epoch: u8) -> Agent {
    if state.agent_status.quiesce { Agent::Quiesces(epoch) } else { Agent::Acknowledges(epoch) }
}

fn catch_up(model: &Migration, state: &mut State) {
    let Agent::CatchesUp(_, p) = state.agent else { return };
    let covered = match state.pages[p].noted {
        Noted::Free => false,
        Noted::FromDevice => model.mistake != Mistake::CatchUpReceivedOnly,
        Noted::Received => true,
    };
    if covered {
        // A locked instruction again; with NoFence it is what drains the flag at last.
        agent_fence(state);
        state.pages[p].dirty |= state.log;
    }
    state.agent = match state.agent {
        Agent::CatchesUp(epoch, p) if p + 1 < PAGES => Agent::CatchesUp(epoch, p + 1),
        Agent::CatchesUp(epoch, _) if model.mistake == Mistake::CatchUpBeforeFlag => {
            Agent::FlagLast(epoch)
        }
        Agent::CatchesUp(epoch, _) => acknowledge(state, epoch),
        _ => Agent::Idle,
    };
}

fn agent_fence(state: &mut State) {
    if let Some(flag) = state.agent_stores.take() {
        state.flag = flag;
    }
}

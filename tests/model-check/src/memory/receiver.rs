//! The processor that receives. The code each step stands for is named.

use super::state::{Action, Buffer, Migration, Mistake, Noted, PAGES, Receiver, State, Task};

pub(crate) fn actions(model: &Migration, state: &State, actions: &mut Vec<Action>) {
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
            if matches!(state.agent, Task::Quiesces(_)) && !state.stopped {
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

pub(crate) fn apply(model: &Migration, state: &mut State, action: Action) {
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

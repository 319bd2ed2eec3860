//! The hypervisor and the device.

use migrate_agent::registers::Status;

use super::state::{Action, Buffer, Migration, Mistake, PAGES, Page, State};

pub(crate) fn actions(model: &Migration, state: &State, actions: &mut Vec<Action>) {
    let asked = state.status.contains(Status::QUIESCE);
    if !state.log {
        if state.migrations < model.migrations {
            actions.push(Action::LogOn);
        }
    } else {
        if !state.announced {
            actions.push(Action::Announce);
        }
        actions.extend((0..PAGES).filter(|&p| state.pages[p].to_send).map(Action::Send));
        if state.pages.iter().any(|page| page.dirty) {
            actions.push(Action::ReadLog);
        }
        if !asked && may_ask(model, state) {
            actions.push(Action::Quiesce);
        }
        if asked && !state.closed && acknowledged(model, state) {
            actions.push(Action::Close);
        }
        if asked {
            actions.push(Action::Open);
        }
        if may_switch_over(model, state) {
            actions.push(Action::SwitchOver);
        }
        actions.push(Action::Cancel);
    }
    if !state.closed && !state.stopped {
        let armed = |&p: &usize| state.pages[p].buffer == Buffer::Armed;
        actions.extend((0..PAGES).filter(armed).map(Action::Write));
    }
}

fn acknowledged(model: &Migration, state: &State) -> bool {
    match model.mistake {
        Mistake::NoGate => true,
        Mistake::AnyAck => state.ack > 1,
        _ => state.announced && state.ack == state.epoch,
    }
}

fn may_ask(model: &Migration, state: &State) -> bool {
    acknowledged(model, state) && !state.given_up && state.pages.iter().all(|page| !page.to_send)
}

fn may_switch_over(model: &Migration, state: &State) -> bool {
    let closed = state.closed || model.mistake == Mistake::DeviceStays;
    closed && acknowledged(model, state)
}

pub(crate) fn apply(model: &Migration, state: &mut State, action: Action) {
    match action {
        // The dirty log is on, and every page is to be sent.
        Action::LogOn => {
            state.log = true;
            state.migrations += 1;
            for page in &mut state.pages {
                (page.to_send, page.dirty, page.current) = (true, false, false);
            }
        }
        // STATUS and EPOCH change as one. Pages may have been sent by then: the model does not need
        // the order that the specification asks for.
        Action::Announce => {
            state.announced = true;
            state.status.insert(Status::LOGGING);
            state.epoch += 1;
        }
        Action::Send(p) => {
            state.pages[p].to_send = false;
            state.pages[p].current = true;
        }
        // Fetches the log and clears it, before any of it is sent.
        Action::ReadLog => read_log(state),
        Action::Quiesce => {
            state.status.insert(Status::QUIESCE);
            state.epoch += 1;
        }
        // No DMA from here on, whatever the guest does.
        Action::Close => state.closed = true,
        // The machine stops; what is left is sent.
        Action::SwitchOver => {
            if model.mistake != Mistake::NoLastRead {
                read_log(state);
            }
            for page in &mut state.pages {
                page.current |= page.to_send;
            }
            // What the guest goes on to read there. Nothing is under way if the device is quiet.
            let read = |page: &Page| matches!(page.buffer, Buffer::Held | Buffer::UnderWay);
            state.lost = state.pages.iter().any(|page| read(page) && !page.current);
            state.caught_up |= state.unmarked && state.pages.iter().any(read);
            state.moved += 1;
            log_off(state);
        }
        Action::Cancel => {
            state.cancelled = true;
            log_off(state);
        }
        // Given up: the device is the guest's again, while there is still a log.
        Action::Open => {
            (state.closed, state.given_up) = (false, true);
            state.status.remove(Status::QUIESCE);
            state.epoch += 1;
        }
        // DMA: memory changes, the log does not, the done bit follows.
        Action::Write(p) => {
            state.pages[p].buffer = Buffer::Done;
            state.pages[p].current = false;
        }
        _ => {}
    }
}

fn read_log(state: &mut State) {
    for page in &mut state.pages {
        page.to_send |= page.dirty;
        page.dirty = false;
    }
}

fn log_off(state: &mut State) {
    state.log = false;
    state.unmarked = false;
    if state.announced {
        state.announced = false;
        state.status = Status::empty();
        state.epoch += 1;
    }
    (state.closed, state.given_up) = (false, false);
    for page in &mut state.pages {
        (page.to_send, page.dirty, page.current) = (false, false, false);
    }
}

//! QEMU's half, function by function of `pci_bridge_quiesce.c`.

use migrate_agent::registers::Status;

use super::state::{Action, Bridge, Conversation, Mistake, Nic, Phase, State};

pub(super) fn actions(model: &Conversation, state: &State, actions: &mut Vec<Action>) {
    match state.phase {
        // gate_blocked: a guest that does not mark has migration refused.
        Phase::None => {
            let willing = state.bridges.iter().all(|bridge| bridge.marking);
            if state.migrations < model.migrations && willing {
                actions.push(Action::Begin);
            }
        }
        Phase::LogGoesOn(i) => actions.extend([Action::LogOn(i), Action::Fail]),
        Phase::Copies => {
            for (i, bridge) in state.bridges.iter().enumerate() {
                if may_ask(bridge) {
                    actions.push(Action::Ask(i));
                }
                let waits = !bridge.closed || !bridge.forced;
                if waits && !bridge.failed {
                    actions.push(Action::TimeOut(i));
                }
            }
            // gate_ready, of all of them.
            if state.bridges.iter().all(|bridge| bridge.closed && !bridge.failed) {
                actions.push(Action::SwitchOver);
            }
            // For this reason, or any other.
            actions.push(Action::Fail);
        }
        Phase::GivesBack(i) => actions.push(Action::GiveBack(i)),
        Phase::LogGoesOff(i) => actions.push(Action::LogOff(i)),
        Phase::Arrives(i) => actions.push(Action::Run(i)),
    }
    if state.resets < model.resets && !matches!(state.phase, Phase::Arrives(_)) {
        actions.push(Action::Reset);
    }
}

fn may_ask(bridge: &Bridge) -> bool {
    let asked = bridge.status.contains(Status::QUIESCE);
    bridge.is_acknowledged() && !asked && !bridge.closed && !bridge.failed
}

pub(super) fn apply(model: &Conversation, state: &mut State, action: Action) {
    match action {
        // MIG_EVENT_SETUP, and the log is on.
        Action::Begin => {
            state.migrations += 1;
            state.phase = Phase::LogGoesOn(0);
            state.bridges.iter_mut().for_each(|bridge| bridge.failed = false);
        }
        Action::LogOn(i) => {
            state.bridges[i].change(|status| status.insert(Status::LOGGING));
            state.phase = next(state, i).map_or(Phase::Copies, Phase::LogGoesOn);
        }
        // gate_ready: memory has converged, and the guest knows of the log.
        Action::Ask(i) => {
            let bridge = &mut state.bridges[i];
            bridge.change(|status| status.insert(Status::QUIESCE));
            if model.mistake == Mistake::ClosesAtOnce {
                close(bridge);
            }
        }
        Action::TimeOut(i) => timed_out(model, state, i),
        // MIG_EVENT_FAILED, before the log goes off.
        Action::Fail => {
            state.failures += 1;
            state.phase = Phase::GivesBack(0);
        }
        Action::GiveBack(i) => {
            give_back(model, state, i);
            state.phase = next(state, i).map_or(Phase::LogGoesOff(0), Phase::GivesBack);
        }
        Action::LogOff(i) => {
            // The log may have failed to go on at this bridge.
            if state.bridges[i].status.contains(Status::LOGGING) {
                state.bridges[i].change(|status| status.remove(Status::LOGGING));
            }
            state.phase = next(state, i).map_or(Phase::None, Phase::LogGoesOff);
        }
        Action::SwitchOver => {
            state.moved += 1;
            state.bridges.iter_mut().for_each(moved);
            state.phase = Phase::Arrives(0);
        }
        // pci_bridge_quiesce_vm_change: each bridge before the guest runs.
        Action::Run(i) => {
            give_back(model, state, i);
            state.phase = next(state, i).map_or(Phase::None, Phase::Arrives);
        }
        Action::Reset => {
            state.resets += 1;
            // No agent of before has marking on any more.
            state.marking = 0;
            (0..state.bridges.len()).for_each(|i| reset(model, state, i));
        }
        _ => {}
    }
}

fn next(state: &State, i: usize) -> Option<usize> {
    (i + 1 < state.bridges.len()).then_some(i + 1)
}

fn close(bridge: &mut Bridge) {
    (bridge.closed, bridge.fresh) = (true, false);
}

/// The bridge has heard of the migration, and not of its end.
fn is_migrating(state: &State, i: usize) -> bool {
    match state.phase {
        Phase::LogGoesOn(_) | Phase::Copies => true,
        Phase::GivesBack(next) => next <= i,
        Phase::None | Phase::LogGoesOff(_) | Phase::Arrives(_) => false,
    }
}

fn timed_out(model: &Conversation, state: &mut State, i: usize) {
    if state.bridges[i].closed {
        // Memory does not converge.
        state.bridges[i].failed = true;
    } else {
        guest_failed(model, &mut state.bridges[i]);
    }
}

fn guest_failed(model: &Conversation, bridge: &mut Bridge) {
    if !model.force {
        bridge.failed = true;
        return;
    }
    bridge.forced = true;
    if !bridge.status.contains(Status::QUIESCE) {
        bridge.change(|status| status.insert(Status::QUIESCE));
    }
    close(bridge);
}

fn give_back(model: &Conversation, state: &mut State, i: usize) {
    let bridge = &mut state.bridges[i];
    if bridge.forced && model.mistake != Mistake::OpensUnknown {
        return;
    }
    if bridge.closed && model.mistake != Mistake::OpensLate {
        state.reset_in_use |= !bridge.fresh && bridge.nic == Nic::InUse;
        (bridge.closed, bridge.fresh) = (false, false);
    }
    if bridge.status.contains(Status::QUIESCE) && model.mistake != Mistake::QuiesceStays {
        bridge.change(|status| status.remove(Status::QUIESCE));
    }
}

/// pci_bridge_quiesce_acknowledged: the guest has written ACK = EPOCH.
pub(super) fn acknowledged(model: &Conversation, state: &mut State, i: usize) {
    let migrating = is_migrating(state, i);
    let bridge = &mut state.bridges[i];
    if !bridge.status.contains(Status::QUIESCE) {
        return;
    }
    bridge.forced = false;
    if !migrating {
        give_back(model, state, i);
    } else if !bridge.failed && !bridge.closed {
        close(bridge);
    }
}

/// pci_bridge_quiesce_moved, on the destination: the device is another one, closed and fresh.
fn moved(bridge: &mut Bridge) {
    // A bridge reset since is as good as ACK.
    let reset = !bridge.marking && bridge.ack == 0;
    let quiesced = bridge.status.contains(Status::QUIESCE);
    bridge.forced = quiesced && !bridge.is_acknowledged() && !reset;
    let status = if bridge.forced { Status::MOVED | Status::QUIESCE } else { Status::MOVED };
    bridge.change(|now| *now = status);
    (bridge.closed, bridge.fresh, bridge.failed) = (true, true, false);
}

/// pci_bridge_quiesce_reset, and the guest boots.
fn reset(model: &Conversation, state: &mut State, i: usize) {
    let migrating = is_migrating(state, i);
    let bridge = &mut state.bridges[i];
    (bridge.marking, bridge.ack) = (false, 0);
    if migrating && !bridge.failed && !bridge.closed {
        guest_failed(model, bridge);
    }
    bridge.boots();
    if bridge.forced {
        bridge.forced = false;
        if !migrating {
            bridge.fresh = true;
            give_back(model, state, i);
        }
    }
}

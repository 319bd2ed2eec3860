//! The conversation: bridges with a NIC each, the guest's service, and QEMU's half as the series
//! has it (`qemu/patches`, `pci_bridge_quiesce.c`, whose names are used). Which steps there are in
//! a state, and what must hold in all of them. Memory is left out.

mod guest;
mod hypervisor;
mod replay;
mod state;

use migrate_agent::Event;
use stateright::{Model, Property};

pub use replay::{Said, replay};
pub use state::{Action, Conversation, Mistake, State};

impl Conversation {
    /// The state after `action`, and what the agent says in it.
    fn step(&self, state: &State, action: Action) -> (State, Option<Event>) {
        let mut next = state.clone();
        hypervisor::apply(self, &mut next, action);
        let event = guest::apply(self, &mut next, action);
        (next, event)
    }
}

impl Model for Conversation {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::booted(self.bridges)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        hypervisor::actions(self, state, actions);
        guest::actions(self, state, actions);
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        Some(self.step(state, action).0)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("what is closed by consent is not used", |_, state: &State| {
                !state.bridges.iter().any(|bridge| bridge.is_used_while_closed())
            }),
            Property::always("no device is reset under its driver", |_, state: &State| {
                !state.reset_in_use
            }),
            Property::always(
                "no driver meets a closed device, unless that was forced",
                |model: &Self, state: &State| {
                    model.force || state.bridges.iter().all(|bridge| !bridge.is_dead())
                },
            ),
            Property::always(
                "it ends with all in use, and marking off",
                |model: &Self, state: &State| {
                    let mut actions = Vec::new();
                    model.actions(state, &mut actions);
                    !actions.is_empty() || state.is_well()
                },
            ),
            Property::sometimes("moved each time", |model: &Self, state: &State| {
                state.moved == model.migrations
            }),
            Property::sometimes("moved after a try that failed", |model: &Self, state: &State| {
                model.migrations < 2 || (state.failures == 1 && state.moved == 1)
            }),
            Property::sometimes("moved without consent", |model: &Self, state: &State| {
                !model.force || (state.moved == 1 && state.bridges[0].forced)
            }),
        ]
    }
}

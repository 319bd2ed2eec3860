//! Memory: one bridge, and a device that writes, from log on to switchover. Which steps there are
//! in a state, and what must hold in all of them.

mod agent;
mod hypervisor;
mod receiver;
mod state;

use stateright::{Model, Property};

pub use state::{Action, Migration, Mistake, State};

impl Model for Migration {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::booted()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if !state.lost {
            hypervisor::actions(self, state, actions);
            receiver::actions(self, state, actions);
            agent::actions(self, state, actions);
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        hypervisor::apply(self, &mut next, action);
        receiver::apply(self, &mut next, action);
        agent::apply(self, &mut next, action);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("nothing is lost", |_, state: &State| !state.lost),
            Property::sometimes("moved twice", |_, state: &State| state.moved == 2),
            Property::sometimes("moved after a cancelled try", |_, state: &State| {
                state.cancelled && state.moved == 1
            }),
            Property::sometimes("catch-up was needed", |_, state: &State| state.caught_up),
        ]
    }
}

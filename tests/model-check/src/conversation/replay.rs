//! Real runs against the model: what a guest said on its console must be what some run of the model
//! says, so that the two cannot drift apart.

use std::collections::HashSet;

use migrate_agent::Event;
use stateright::Model;

use super::{Conversation, State};

/// A line of a guest's console that says which EPOCH its agent acted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the lines are quoted in `Said::of`")]
pub enum Said {
    LoggingOn(u32),
    LoggingOff(u32),
    Quiet(u32),
    Moved(u32),
}

impl Said {
    /// The line's; `None` of a line that says nothing of that kind.
    pub fn of(line: &str) -> Option<Self> {
        let (_, said) = line.split_once("agent: ")?;
        let (what, rest) = said.split_once(" epoch=")?;
        let epoch = rest.split_whitespace().next()?.parse().ok()?;
        Some(match what {
            "logging on" => Self::LoggingOn(epoch),
            "logging off" => Self::LoggingOff(epoch),
            "quiet" => Self::Quiet(epoch),
            "moved" => Self::Moved(epoch),
            _ => return None,
        })
    }

    /// The EPOCH: what one bridge's agent says is in the order of these, on whichever machine.
    pub fn epoch(self) -> u32 {
        match self {
            Self::LoggingOn(epoch)
            | Self::LoggingOff(epoch)
            | Self::Quiet(epoch)
            | Self::Moved(epoch) => epoch,
        }
    }

    /// What `BridgeService::poll_agent` prints of an event.
    fn by(event: Event) -> Option<Self> {
        Some(match event {
            Event::LoggingStarted { epoch, .. } => Self::LoggingOn(epoch),
            Event::LoggingStopped { epoch } => Self::LoggingOff(epoch),
            Event::Quiesced { epoch } => Self::Quiet(epoch),
            Event::Moved { epoch } => Self::Moved(epoch),
            Event::None | Event::CatchingUp | Event::QuiesceRequested | Event::Other { .. } => {
                return None;
            }
        })
    }
}

/// Whether some run of the model says just that, and then has nothing more to say.
///
/// # Errors
/// How many of the lines some run says, if none says them all.
pub fn replay(model: &Conversation, said: &[Said]) -> Result<(), usize> {
    let mut states: HashSet<State> = model.init_states().into_iter().collect();
    for (number, &line) in said.iter().enumerate() {
        states = after(model, states, line).ok_or(number)?;
    }
    // Whoever is well need not say anything more.
    let quiet = silently(model, states);
    if quiet.iter().any(State::is_well) { Ok(()) } else { Err(said.len()) }
}

/// Where the model may be when it has said that.
fn after(model: &Conversation, states: HashSet<State>, line: Said) -> Option<HashSet<State>> {
    let mut next = HashSet::new();
    for state in silently(model, states) {
        let mut actions = Vec::new();
        model.actions(&state, &mut actions);
        for action in actions {
            let (state, event) = model.step(&state, action);
            if event.and_then(Said::by) == Some(line) {
                next.insert(state);
            }
        }
    }
    (!next.is_empty()).then_some(next)
}

/// Where it may be without having said anything more.
fn silently(model: &Conversation, states: HashSet<State>) -> HashSet<State> {
    let mut seen = states.clone();
    let mut new: Vec<State> = states.into_iter().collect();
    while let Some(state) = new.pop() {
        let mut actions = Vec::new();
        model.actions(&state, &mut actions);
        for action in actions {
            let (state, event) = model.step(&state, action);
            if event.and_then(Said::by).is_none() && seen.insert(state.clone()) {
                new.push(state);
            }
        }
    }
    seen
}

//! Every interleaving of the conversation, and of the conversation with one mistake.

use std::collections::HashMap;

use model_check::conversation::{Conversation, Mistake, Said, State, replay};
use stateright::{Checker, Model};

fn conversation(mistake: Mistake, force: bool) -> Conversation {
    Conversation { mistake, bridges: 2, migrations: 2, resets: 0, force }
}

fn holds(model: Conversation) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let checker = model.checker().threads(threads).spawn_bfs().join();
    eprintln!("{} states", checker.unique_state_count());
    checker.assert_properties();
    assert!(checker.is_done(), "every state was visited");
}

#[test]
fn all_is_well_after_two_migrations() {
    holds(conversation(Mistake::None, false));
}

#[test]
fn all_is_well_after_two_migrations_that_do_not_wait_for_consent() {
    holds(conversation(Mistake::None, true));
}

#[test]
fn all_is_well_after_a_reset_at_any_moment() {
    holds(Conversation { resets: 1, migrations: 1, ..conversation(Mistake::None, false) });
    holds(Conversation { resets: 1, migrations: 1, ..conversation(Mistake::None, true) });
}

/// No step can be repeated for ever: there is no way back to a state. So whoever is not kept from
/// going on comes to an end, and the property about the end is one about every run.
#[test]
fn it_ends() {
    for force in [false, true] {
        let model = Conversation { resets: 1, migrations: 1, ..conversation(Mistake::None, force) };
        let mut seen: HashMap<State, bool> = HashMap::new();
        let mut path: Vec<(State, Vec<State>)> = Vec::new();
        let mut enter = model.init_states().pop();
        loop {
            if let Some(state) = enter.take() {
                seen.insert(state.clone(), true);
                let next = model.next_states(&state);
                path.push((state, next));
            }
            let Some((state, next)) = path.last_mut() else { break };
            match next.pop() {
                Some(state) => match seen.get(&state) {
                    Some(on_path) => assert!(!on_path, "a circle through {state:?}"),
                    None => enter = Some(state),
                },
                None => {
                    seen.insert(state.clone(), false);
                    path.pop();
                }
            }
        }
    }
}

fn fails(mistake: Mistake, force: bool, property: &'static str) {
    let model = Conversation { migrations: 1, ..conversation(mistake, force) };
    let checker = model.checker().spawn_bfs().join();
    let path = checker.discovery(property);
    let path = path.unwrap_or_else(|| panic!("the checker does not see what {mistake:?} does"));
    eprintln!("{mistake:?}: {:?}", path.into_actions());
}

/// One test for each, so that a report names it.
macro_rules! each_fails {
    ($($name:ident: $mistake:ident, $force:literal, $property:literal;)*) => {
        $(#[test] fn $name() { fails(Mistake::$mistake, $force, $property) })*
    };
}

each_fails! {
    acknowledging_without_being_quiet: QuietInWordsOnly, false,
        "what is closed by consent is not used";
    not_starting_again: NoRestart, false, "it ends with all in use, and marking off";
    opening_what_the_guest_does_not_know_to_be_closed: OpensUnknown, true,
        "no device is reset under its driver";
    giving_back_with_quiesce_set: QuiesceStays, false, "it ends with all in use, and marking off";
    giving_back_before_the_device_is_open: OpensLate, false,
        "no driver meets a closed device, unless that was forced";
    closing_before_the_answer: ClosesAtOnce, false, "what is closed by consent is not used";
    taking_any_acknowledgement: AnyAck, true, "no device is reset under its driver";
}

/// What guests have said in the lab, and what none says.
#[test]
fn consoles_are_understood() {
    use Said::{LoggingOff, LoggingOn, Moved, Quiet};
    let model = Conversation { bridges: 1, ..conversation(Mistake::None, false) };
    let read = |text: &str| text.lines().filter_map(Said::of).collect::<Vec<_>>();
    let moved = read(
        "agent: logging on epoch=2 caught-up=1044\n\
         [  12.031 INFO ] agent: quiet epoch=3\nnic: quiesced\nagent: moved epoch=4\n",
    );
    assert_eq!(moved, [LoggingOn(2), Quiet(3), Moved(4)]);
    assert_eq!(replay(&model, &moved), Ok(()));
    let given_up = [LoggingOn(2), Quiet(3), LoggingOff(5), LoggingOn(6), Quiet(7), Moved(8)];
    assert_eq!(replay(&model, &given_up), Ok(()));

    assert_eq!(replay(&model, &[LoggingOn(2), Moved(3)]), Err(1), "it moves without being asked");
    assert_eq!(replay(&model, &[LoggingOn(2), Quiet(3)]), Err(2), "nobody tells how it went on");
    assert_eq!(replay(&model, &[Moved(2)]), Err(0), "no log had been on");
}

//! Every interleaving of the protocol, and of the protocol with one mistake.

use model_check::memory::{Migration, Mistake};
use stateright::{Checker, Model};

#[test]
fn nothing_is_lost() {
    let model = Migration { mistake: Mistake::None, migrations: 2 };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let checker = model.checker().threads(threads).spawn_bfs().join();
    eprintln!("{} states", checker.unique_state_count());
    checker.assert_properties();
    assert!(checker.is_done(), "every state was visited");
}

fn loses(mistake: Mistake) {
    let checker = Migration { mistake, migrations: 2 }.checker().spawn_bfs().join();
    let path = checker.discovery("nothing is lost");
    let path = path.unwrap_or_else(|| panic!("the checker does not see what {mistake:?} loses"));
    eprintln!(
        "{mistake:?} loses a frame in {} steps: {:?}",
        path.clone().into_vec().len(),
        path.into_actions()
    );
}

/// One test for each, so that a report names it.
macro_rules! each_loses {
    ($($name:ident: $mistake:ident),* $(,)?) => {
        $(#[test] fn $name() { loses(Mistake::$mistake) })*
    };
}

each_loses! {
    without_marking: NoMarking,
    without_catch_up: NoCatchUp,
    catching_up_before_marking: CatchUpBeforeFlag,
    catching_up_received_buffers_only: CatchUpReceivedOnly,
    catching_up_without_a_fence: NoFence,
    marking_before_the_done_bit: MarkBeforeDone,
    looking_at_the_flag_before_the_done_bit: FlagBeforeDone,
    switching_over_without_an_acknowledgement: NoGate,
    switching_over_on_an_old_acknowledgement: AnyAck,
    switching_over_with_the_device_in_use: DeviceStays,
    acknowledging_before_the_device_is_quiet: AckBeforeQuiet,
    switching_over_without_a_last_look_at_the_log: NoLastRead,
}

//! What several bridges tell, taken together.

use crate::{Migration, State};

#[test]
fn a_machine_with_two_bridges_moves_once() {
    let migration = Migration::new();
    let bridges = [migration.join(), migration.join()];
    for bridge in &bridges {
        bridge.update(|bridge| bridge.logging = true);
    }
    assert_eq!(migration.state(), State::WarmUp);
    bridges[1].update(|bridge| bridge.leaving = true);
    assert_eq!(migration.state(), State::Leaving);
    let arrive = |bridge: usize| {
        bridges[bridge].update(|bridge| {
            (bridge.logging, bridge.leaving) = (false, false);
            bridge.moves += 1;
        });
    };
    arrive(0);
    assert_eq!(migration.state(), State::Leaving, "the other one has not been looked at yet");
    arrive(1);
    assert_eq!(migration.state(), State::Arrived { moves: 1 });
    assert_eq!(migration.facts().moves, 1);
}

#[test]
fn a_bridge_that_comes_later_has_been_through_no_move() {
    let migration = Migration::new();
    let first = migration.join();
    first.update(|bridge| bridge.moves = 2);
    let second = migration.join();
    second.update(|bridge| bridge.moves += 1);
    assert_eq!(migration.state(), State::Arrived { moves: 3 });
    first.update(|bridge| bridge.moves += 1);
    assert_eq!(migration.facts().moves, 3);
}

#[test]
fn a_cancelled_migration_is_over_without_a_move() {
    let migration = Migration::new();
    let bridge = migration.join();
    let mut watcher = migration.watcher();
    let mut next = || embassy_futures::block_on(watcher.changed());
    bridge.update(|bridge| bridge.logging = true);
    assert_eq!(next(), State::WarmUp);
    bridge.update(|bridge| bridge.logging = false);
    assert_eq!(next(), State::Running);
    bridge.update(|bridge| bridge.moves = 1);
    assert_eq!(next(), State::Arrived { moves: 1 });
    bridge.update(|bridge| bridge.logging = true);
    assert_eq!(next(), State::WarmUp);
    bridge.update(|bridge| bridge.logging = false);
    assert_eq!(next(), State::Running);
}

//! Resets of the NIC, which take their time.

use core::cell::Cell;

use embassy_futures::join::{join, join3};
use embassy_futures::select::{Either, select};
use embassy_futures::{block_on, yield_now};
use smoltcp::time::Duration;
use std::boxed::Box;
use std::rc::Rc;
use std::vec;

use super::network::{Host, RESET_TURNS, World, pair};
use super::pair::turns;
use crate::net::Role;
use crate::nic::ResetError;

/// Runs the stack until `work` is done.
fn with_running<T>(host: &Host, work: impl Future<Output = T>) -> T {
    match block_on(select(host.stack.run(), work)) {
        Either::First(never) => never,
        Either::Second(result) => result,
    }
}

#[test]
fn other_tasks_run_while_a_nic_is_reset() {
    let (a, _b) = pair();
    let turns = Cell::new(0);
    let count = async {
        loop {
            yield_now().await;
            turns.set(turns.get() + 1);
        }
    };
    let reset = async { select(a.stack.reset_nic(), count).await };
    let Either::First(result) = with_running(&a, reset);
    assert_eq!(result, Some(Ok(())));
    assert!(turns.get() >= RESET_TURNS, "{} turns", turns.get());
}

#[test]
fn a_nic_that_is_being_reset_is_there_for_who_waits_and_has_no_rival() {
    let (a, _b) = pair();
    let other = a.nic();
    let take = async {
        // In the middle of it.
        for _ in 0..RESET_TURNS / 2 {
            yield_now().await;
        }
        assert!(a.stack.detach(Role::Primary).is_none(), "it is on the way");
        assert!(a.stack.attach(Box::new(other)).is_err(), "its place is taken");
        a.stack.settled().await;
        a.stack.detach(Role::Primary).is_some()
    };
    let (first, second, taken) =
        with_running(&a, join3(a.stack.reset_nic(), a.stack.reset_nic(), take));
    assert_eq!((first, second), (Some(Ok(())), Some(Ok(()))));
    assert!(taken);
    assert_eq!(with_running(&a, a.stack.reset_nic()), None, "there is none");
}

#[test]
fn a_reset_that_nobody_waits_for_any_more_ends_all_the_same() {
    let (a, _b) = pair();
    let given_up = async {
        let some_turns = async {
            for _ in 0..RESET_TURNS / 2 {
                yield_now().await;
            }
        };
        select(a.stack.reset_nic(), some_turns).await;
        a.stack.settled().await;
    };
    with_running(&a, given_up);
    assert!(a.stack.with_nic(|nic| nic.link().up).is_some_and(|up| up));
}

#[test]
fn a_reset_that_fails_says_why() {
    let (a, b) = pair();
    drop(a.stack.detach(Role::Primary));
    let link = a.attach();
    link.set(false);
    let (failed, good) =
        (with_running(&a, a.stack.reset_nic()), with_running(&b, b.stack.reset_nic()));
    assert_eq!((failed, good), (Some(Err(ResetError::Stuck)), Some(Ok(()))));
    let both = join(a.stack.settled(), b.stack.settled());
    block_on(both);
}

/// Of a NIC.
struct Switches {
    link: Rc<Cell<bool>>,
    forgotten: Rc<Cell<bool>>,
    arms: Rc<Cell<usize>>,
}

/// Two hosts, the first with a primary and a standby.
fn two_nics() -> (Host, Host, [Switches; 2]) {
    let (a, b) = pair();
    drop(a.stack.detach(Role::Primary));
    let nics = [false, true].map(|standby| {
        let mut nic = a.nic();
        nic.standby = standby;
        let (forgotten, arms) = (nic.forgotten.clone(), nic.arms.clone());
        let switches = Switches { link: nic.link_switch(), forgotten, arms };
        assert!(a.stack.attach(Box::new(nic)).is_ok());
        switches
    });
    (a, b, nics)
}

#[test]
fn who_asks_for_a_reset_hears_of_that_of_the_nic_in_use() {
    let (a, _b, [primary, standby]) = two_nics();
    primary.link.set(false);
    with_running(&a, async {
        while a.stack.with_nic(|nic| nic.is_standby()) != Some(true) {
            yield_now().await;
        }
    });
    // Its reset fails while it has no link, and both are due.
    primary.forgotten.set(true);
    assert_eq!(with_running(&a, a.stack.reset_nic()), Some(Ok(())));
    assert!(standby.link.get());
    with_running(&a, async {
        while primary.forgotten.get() {
            yield_now().await;
        }
        a.stack.settled().await;
    });
    standby.link.set(false);
    assert_eq!(with_running(&a, a.stack.reset_nic()), Some(Err(ResetError::Stuck)));
}

#[test]
fn a_nic_that_needs_a_reset_is_not_armed_again_and_again() {
    let (a, _b, [primary, standby]) = two_nics();
    let mut world = World::new(&[&a]);
    world.idle(Duration::from_millis(10));
    standby.forgotten.set(true);
    standby.arms.set(0);
    world.idle(Duration::from_millis(250));
    assert!((1..=3).contains(&standby.arms.get()), "{} times", standby.arms.get());
    standby.arms.set(0);
    drop(a.stack.detach(Role::Primary));
    assert!((1..=3).contains(&standby.arms.get()), "{} times", standby.arms.get());
    assert!(primary.link.get());
}

#[test]
fn the_one_that_is_being_reset_is_in_use_afterwards_if_the_other_is_taken_meanwhile() {
    let (a, _b, [_primary, standby]) = two_nics();
    standby.forgotten.set(true);
    a.stack.wake();
    with_running(&a, async {
        turns(RESET_TURNS / 2).await;
        drop(a.stack.detach(Role::Primary).expect("it is there"));
        a.stack.settled().await;
        assert!(!standby.forgotten.get());
        while !a.stack.link().up {
            a.stack.wake();
            yield_now().await;
        }
    });
    assert_eq!(a.stack.with_nic(|nic| nic.is_standby()), Some(true));
    assert_eq!(with_running(&a, a.stack.reset_nic()), Some(Ok(())));
}

#[test]
fn a_nic_that_needs_a_reset_is_reset_be_it_in_use_or_not() {
    let (a, b, [primary, standby]) = two_nics();
    let reset = |nic: &Switches| {
        let forgotten = &nic.forgotten;
        forgotten.set(true);
        a.stack.wake();
        with_running(&a, async {
            turns(RESET_TURNS / 2).await;
            let before = a.stack.traffic().rx_frames;
            b.tx.send(vec![0; 60]);
            a.stack.wake();
            turns(RESET_TURNS / 4).await;
            assert!(forgotten.get(), "in the middle of it");
            let moved = a.stack.traffic().rx_frames != before;
            while forgotten.get() {
                yield_now().await;
            }
            a.stack.settled().await;
            moved
        })
    };
    let uses_standby = || a.stack.with_nic(|nic| nic.is_standby());
    assert!(!reset(&primary), "it is the one in use");
    assert_eq!(uses_standby(), Some(false));
    // Its link goes for as long as that takes.
    primary.link.set(false);
    with_running(&a, async {
        while uses_standby() != Some(true) {
            yield_now().await;
        }
    });
    assert!(reset(&primary), "the other goes on being used");
    assert_eq!(uses_standby(), Some(true));
    assert!(!reset(&standby));
    assert_eq!(uses_standby(), Some(true));
    primary.link.set(true);
    with_running(&a, async {
        while uses_standby() != Some(false) {
            a.stack.wake();
            yield_now().await;
        }
    });
}

//! Resets of the NIC, which take their time.

use core::cell::Cell;

use embassy_futures::join::{join, join3};
use embassy_futures::select::{Either, select};
use embassy_futures::{block_on, yield_now};
use std::boxed::Box;

use super::network::{Host, RESET_TURNS, pair};
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

#[test]
fn a_nic_that_needs_a_reset_is_reset_be_it_in_use_or_not() {
    let (a, _b) = pair();
    drop(a.stack.detach(Role::Primary));
    let [primary, standby] = [false, true].map(|standby| {
        let mut nic = a.nic();
        nic.standby = standby;
        let (link, forgotten) = (nic.link_switch(), nic.forgotten.clone());
        assert!(a.stack.attach(Box::new(nic)).is_ok());
        (link, forgotten)
    });
    let reset = |forgotten: &Cell<bool>| {
        forgotten.set(true);
        a.stack.wake();
        with_running(&a, async {
            while forgotten.get() {
                yield_now().await;
            }
            a.stack.settled().await;
        });
    };
    let uses_standby = || a.stack.with_nic(|nic| nic.is_standby());
    reset(&primary.1);
    assert_eq!(uses_standby(), Some(false));
    // Its link goes for as long as that takes.
    primary.0.set(false);
    with_running(&a, async {
        while uses_standby() != Some(true) {
            yield_now().await;
        }
    });
    reset(&primary.1);
    assert_eq!(uses_standby(), Some(true), "the other goes on being used");
    reset(&standby.1);
    assert_eq!(uses_standby(), Some(true));
    primary.0.set(true);
    with_running(&a, async {
        while uses_standby() != Some(false) {
            a.stack.wake();
            yield_now().await;
        }
    });
}

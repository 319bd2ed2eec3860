use super::super::{Error, SlotEvent};
use super::*;
use embassy_futures::block_on;

#[test]
fn a_bridge_without_a_slot_has_none() {
    let machine = Machine::new();
    machine.add(1, 0, Card::new(0x1b36, 1, 0x0604).poke(0x0e, 1).poke(0x19, 1).poke(0x1a, 1));
    assert!(Slot::new(&bridge(&machine)).unwrap().is_none());
}

#[test]
fn a_card_found_at_boot_is_in_use_and_leaves_when_asked() {
    let (machine, port) = machine_with_port();
    machine.cold_plug(port, nic(), 0xfe80_0000);
    let mut slot = slot(&machine);
    assert!(slot.is_in_use());
    assert_eq!(slot.poll(), None);

    machine.press(port);
    assert_eq!(slot.poll(), Some(SlotEvent::EjectRequested));
    assert_eq!(slot.poll(), None);
    assert!(machine.is_populated(port), "nothing happens before the power goes");
    block_on(slot.power_off());
    assert!(!machine.is_populated(port));
    assert!(!slot.is_in_use());
    assert_eq!(slot.poll(), None, "what the power-off changed is not news");
}

#[test]
fn an_eject_requested_before_the_guest_looked_is_not_lost() {
    let (machine, port) = machine_with_port();
    machine.cold_plug(port, nic(), 0xfe80_0000);
    machine.press(port);
    let mut slot = slot(&machine);
    assert_eq!(slot.poll(), Some(SlotEvent::EjectRequested));
}

#[test]
fn a_card_plugged_before_the_guest_looked_is_announced_once() {
    let (machine, port) = machine_with_port();
    machine.hot_plug(port, nic());
    let mut slot = slot(&machine);
    assert!(!slot.is_in_use());
    assert_eq!(slot.poll(), Some(SlotEvent::Inserted));
    block_on(slot.power_on()).unwrap();
    assert_eq!(slot.poll(), None, "the press that came with it is not an eject request");
}

#[test]
fn plug_eject_and_plug_again() {
    let (machine, port) = machine_with_port();
    let mut slot = slot(&machine);
    assert_eq!(slot.poll(), None);
    for _ in 0..3 {
        machine.hot_plug(port, nic());
        assert_eq!(slot.poll(), Some(SlotEvent::Inserted));
        assert_eq!(slot.poll(), None);
        assert!(slot.bridge().attach([]).is_empty(), "no power, no answer");
        block_on(slot.power_on()).unwrap();
        assert!(slot.is_in_use());
        assert_eq!(slot.bridge().attach([]).len(), 1);
        machine.press(port);
        assert_eq!(slot.poll(), Some(SlotEvent::EjectRequested));
        block_on(slot.power_off());
    }
}

#[test]
fn a_card_given_back_at_once_is_seen_although_events_coalesce() {
    let (machine, port) = machine_with_port();
    machine.cold_plug(port, nic(), 0xfe80_0000);
    let mut slot = slot(&machine);
    machine.press(port);
    assert_eq!(slot.poll(), Some(SlotEvent::EjectRequested));
    block_on(slot.power_off());
    // A cancelled migration gives the card back before anybody polled for its leaving.
    machine.hot_plug(port, nic());
    assert_eq!(slot.poll(), Some(SlotEvent::Inserted));
    block_on(slot.power_on()).unwrap();
    assert_eq!(slot.poll(), None);
    assert!(slot.is_in_use());
}

#[test]
fn surprise_removal_is_reported_also_while_leaving() {
    for ask_first in [false, true] {
        let (machine, port) = machine_with_port();
        machine.cold_plug(port, nic(), 0xfe80_0000);
        let mut slot = slot(&machine);
        if ask_first {
            machine.press(port);
            assert_eq!(slot.poll(), Some(SlotEvent::EjectRequested));
        }
        machine.pull(port);
        assert_eq!(slot.poll(), Some(SlotEvent::Removed));
        assert_eq!(slot.poll(), None);
        block_on(slot.power_off());
        machine.hot_plug(port, nic());
        assert_eq!(slot.poll(), Some(SlotEvent::Inserted));
    }
}

#[test]
fn a_card_swapped_between_two_polls_is_a_removal_and_an_insertion() {
    let (machine, port) = machine_with_port();
    machine.cold_plug(port, nic(), 0xfe80_0000);
    let mut slot = slot(&machine);
    machine.pull(port);
    machine.hot_plug(port, nic());
    assert_eq!(slot.poll(), Some(SlotEvent::Removed));
    assert_eq!(slot.poll(), Some(SlotEvent::Inserted));
}

#[test]
fn a_handle_waits_for_what_comes_after_the_last_poll() {
    let (machine, port) = machine_with_port();
    let mut slot = slot(&machine);
    slot.interrupt().trigger();
    machine.hot_plug(port, nic());
    assert_eq!(slot.poll(), Some(SlotEvent::Inserted));
    assert!(!slot.interrupt().take());
    slot.interrupt().trigger();
    assert!(slot.interrupt().take());
}

#[test]
fn an_ejected_card_that_stays_in_its_slot_is_left_alone_until_the_button_is_pressed() {
    let (machine, port) = machine_with_port();
    machine.make_physical(port);
    machine.cold_plug(port, nic(), 0xfe80_0000);
    let mut slot = slot(&machine);
    machine.press(port);
    assert_eq!(slot.poll(), Some(SlotEvent::EjectRequested));
    block_on(slot.power_off());
    assert!(machine.is_populated(port));
    assert_eq!(slot.poll(), None);
    machine.press(port);
    assert_eq!(slot.poll(), Some(SlotEvent::Inserted));
}

#[test]
fn a_swapped_card_is_announced_after_the_power_cycle() {
    let (machine, port) = machine_with_port();
    machine.make_physical(port);
    machine.cold_plug(port, nic(), 0xfe80_0000);
    let mut slot = slot(&machine);
    machine.pull(port);
    machine.hot_plug(port, nic());
    assert_eq!(slot.poll(), Some(SlotEvent::Removed));
    block_on(slot.power_off());
    assert_eq!(slot.poll(), Some(SlotEvent::Inserted));
    block_on(slot.power_on()).unwrap();
    assert_eq!(slot.bridge().attach([]).len(), 1);
}

#[test]
fn a_second_press_changes_nothing() {
    let (machine, port) = machine_with_port();
    machine.cold_plug(port, nic(), 0xfe80_0000);
    let mut slot = slot(&machine);
    machine.press(port);
    assert_eq!(slot.poll(), Some(SlotEvent::EjectRequested));
    machine.press(port);
    assert_eq!(slot.poll(), None);
}

#[test]
fn a_card_that_does_not_come_up_is_switched_off_and_not_announced_again() {
    let (machine, port) = machine_with_port();
    let mut slot = slot(&machine);
    machine.hot_plug(port, nic());
    assert_eq!(slot.poll(), Some(SlotEvent::Inserted));
    machine.fail(port);
    assert!(matches!(block_on(slot.power_on()), Err(Error::PowerFailed(_))));
    assert!(!slot.is_in_use());
    assert_eq!(slot.poll(), None);
    assert_eq!(slot.bridge().attach([]).len(), 0);
}

#[test]
fn a_card_that_asks_to_be_asked_later_for_ever_does_not_come_up() {
    let (machine, port) = machine_with_port();
    let mut slot = slot(&machine);
    machine.hot_plug(port, Card::new(0x0001, 0xffff, 0x0200));
    assert_eq!(slot.poll(), Some(SlotEvent::Inserted));
    assert!(matches!(block_on(slot.power_on()), Err(Error::PowerFailed(_))));
    assert!(!slot.is_in_use());
}

#[test]
fn a_port_that_vanishes_takes_its_card_along_and_goes_quiet() {
    let (machine, port) = machine_with_port();
    machine.cold_plug(port, nic(), 0xfe80_0000);
    let mut slot = slot(&machine);
    machine.remove(port);
    assert_eq!(slot.poll(), Some(SlotEvent::Removed));
    assert_eq!(slot.poll(), None);
}

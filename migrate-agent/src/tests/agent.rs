//! The agent against a bridge that plays every trick it can.

use core::cell::{Cell, RefCell};

use crate::registers::*;
use crate::{Agent, Event, Marker, Registers, Slice, Unusable};

/// A bridge's capability, and a journal of what the guest did and in which order.
struct Bridge {
    bytes: RefCell<[u8; 24]>,
    journal: RefCell<Vec<Did>>,
    /// Runs once, right after the guest has read EPOCH.
    after_epoch: Cell<Option<fn(&Bridge)>>,
    gone: Cell<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Did {
    Start,
    CatchUp,
    Stop,
    Control(u16),
    Ack(u32),
    Marked(u32),
}
use Did::{Ack, CatchUp, Control as WroteControl, Marked, Start, Stop};

impl Bridge {
    fn new() -> Self {
        let mut bytes = [0; 24];
        bytes[..6].copy_from_slice(&[0x09, 0x40, 24, 2, 2, 3]);
        bytes[DEFINED_BY as usize..][..2].copy_from_slice(&DEFINER.to_le_bytes());
        bytes[EPOCH as usize] = 1;
        Self {
            bytes: RefCell::new(bytes),
            journal: RefCell::default(),
            after_epoch: Cell::new(None),
            gone: Cell::new(false),
        }
    }

    fn with(offset: u8, value: u8) -> Self {
        let bridge = Self::new();
        bridge.bytes.borrow_mut()[offset as usize] = value;
        bridge
    }

    fn get<const N: usize>(&self, offset: u8) -> [u8; N] {
        if self.gone.get() {
            return [0xff; N];
        }
        assert!(usize::from(offset).is_multiple_of(N), "access to {offset} is unaligned");
        self.bytes.borrow()[offset as usize..][..N].try_into().unwrap()
    }

    fn put(&self, offset: u8, value: &[u8]) {
        self.bytes.borrow_mut()[offset as usize..][..value.len()].copy_from_slice(value);
    }

    fn epoch(&self) -> u32 {
        u32::from_le_bytes(self.get(EPOCH))
    }

    fn ack(&self) -> u32 {
        u32::from_le_bytes(self.get(ACK))
    }

    /// The hypervisor changes STATUS.
    fn change(&self, status: u16) {
        let next = self.epoch().wrapping_add(1).max(1);
        self.put(STATUS, &status.to_le_bytes());
        self.put(EPOCH, &next.to_le_bytes());
    }

    fn journal(&self) -> Vec<Did> {
        core::mem::take(&mut *self.journal.borrow_mut())
    }

    fn note(&self, what: Did) {
        self.journal.borrow_mut().push(what);
    }
}

impl Registers for &Bridge {
    fn read8(&self, offset: u8) -> u8 {
        self.get::<1>(offset)[0]
    }
    fn read16(&self, offset: u8) -> u16 {
        u16::from_le_bytes(self.get(offset))
    }
    fn read32(&self, offset: u8) -> u32 {
        let value = u32::from_le_bytes(self.get(offset));
        if let (EPOCH, Some(happens)) = (offset, self.after_epoch.take()) {
            happens(self);
        }
        value
    }
    fn write16(&mut self, offset: u8, value: u16) {
        assert_eq!(offset, CONTROL, "16-bit write");
        self.put(offset, &value.to_le_bytes());
        self.note(WroteControl(value));
    }
    fn write32(&mut self, offset: u8, value: u32) {
        self.put(offset, &value.to_le_bytes());
        self.note(match offset {
            ACK => Ack(value),
            MARKED => Marked(value),
            _ => panic!("write to {offset}"),
        });
    }
}

/// The DMA layer: how many agents hold marking on, and the pages counted.
struct Layer<'a> {
    bridge: &'a Bridge,
    holders: u32,
    marked: u64,
    in_use: u64,
    /// Slices it takes to catch up.
    slices: u32,
}

impl<'a> Layer<'a> {
    fn new(bridge: &'a Bridge) -> Self {
        Self { bridge, holders: 0, marked: 0, in_use: 7, slices: 1 }
    }
}

impl Marker for Layer<'_> {
    fn start(&mut self) {
        self.holders += 1;
        self.bridge.note(Start);
    }
    fn catch_up(&mut self, from: u32) -> Slice {
        assert_ne!(self.holders, 0, "catching up before marking is on");
        assert!(from < self.slices, "nothing is left there");
        self.marked += self.in_use;
        self.bridge.note(CatchUp);
        let next = Some(from + 1).filter(|&next| next < self.slices);
        Slice { pages: self.in_use, next }
    }
    fn stop(&mut self) {
        self.holders = self.holders.checked_sub(1).expect("stop without start");
        self.bridge.note(Stop);
    }
    fn marked(&self) -> u64 {
        self.marked
    }
}

/// An agent that has promised and seen the state it was started in.
fn booted(bridge: &Bridge) -> (Agent<&Bridge>, Layer<'_>) {
    let mut agent = Agent::probe(bridge).unwrap();
    let mut layer = Layer::new(bridge);
    agent.promise(true, true);
    assert_eq!(agent.poll(&mut layer), Event::None);
    bridge.journal();
    (agent, layer)
}

const OFF: u16 = 0;
const LOGGING: u16 = 1;
const MOVED: u16 = 2;
const QUIESCE: u16 = 4;

#[test]
fn boot_promises_then_acknowledges() {
    let bridge = Bridge::new();
    let mut agent = Agent::probe(&bridge).unwrap();
    assert_eq!(bridge.journal(), [], "looking promises nothing");
    assert_eq!(agent.features(), Features::LOGGING | Features::QUIESCE);
    agent.promise(true, true);
    assert_eq!(agent.poll(&mut Layer::new(&bridge)), Event::None);
    assert_eq!(bridge.journal(), [WroteControl(3), Ack(1)]);
}

/// The guest was reset during a migration that was then given up: the hypervisor had closed the
/// devices when the machine was enumerated, and opened them before the agent's first look.
#[test]
fn what_was_closed_while_the_machine_was_enumerated_is_looked_for() {
    let bridge = Bridge::new();
    let (mut agent, _) = booted(&bridge);
    assert!(!agent.take_release(), "STATUS has never changed: nothing was closed");
    bridge.change(LOGGING);
    bridge.change(LOGGING | QUIESCE);
    bridge.change(OFF);
    let (mut agent, _) = booted(&bridge);
    assert!(agent.take_release());
}

#[test]
fn only_what_is_true_is_promised() {
    let bridge = Bridge::new();
    let mut agent = Agent::probe(&bridge).unwrap();
    agent.promise(false, true);
    agent.promise(true, false);
    agent.promise(false, false);
    assert_eq!(bridge.journal(), [WroteControl(2), WroteControl(1), WroteControl(0)]);
}

#[test]
fn a_migration_from_log_on_to_the_destination() {
    let bridge = Bridge::new();
    let (mut agent, mut layer) = booted(&bridge);
    bridge.change(LOGGING);
    assert_eq!(agent.poll(&mut layer), Event::LoggingStarted { epoch: 2, caught_up: 7 });
    assert_eq!(bridge.journal(), [Start, CatchUp, Marked(7), Ack(2)], "in this order");
    assert!(agent.logging());
    assert_eq!(agent.poll(&mut layer), Event::None);
    assert_eq!(bridge.journal(), []);

    layer.marked += 100;
    assert_eq!(agent.poll(&mut layer), Event::None);
    assert_eq!(bridge.journal(), [Marked(107)], "lazily, when it changed");

    layer.marked += 1;
    bridge.change(MOVED);
    assert_eq!(agent.poll(&mut layer), Event::Moved { epoch: 3 });
    assert_eq!(bridge.journal(), [Marked(108), Stop, Ack(3)]);
    assert_eq!(layer.holders, 0);
    assert_eq!((agent.logging(), agent.epoch()), (false, 3));
}

#[test]
fn quiet_is_acknowledged_when_the_devices_are_and_the_log_is_the_same() {
    let bridge = Bridge::new();
    let (mut agent, mut layer) = booted(&bridge);
    bridge.change(LOGGING);
    agent.poll(&mut layer);
    bridge.journal();
    bridge.change(LOGGING | QUIESCE);
    for _ in 0..2 {
        assert_eq!(agent.poll(&mut layer), Event::QuiesceRequested);
        assert_eq!(bridge.journal(), [], "the devices are not quiet yet");
    }
    agent.quiesced();
    assert_eq!(agent.poll(&mut layer), Event::Quiesced { epoch: 3 });
    assert_eq!(bridge.journal(), [Ack(3)], "nothing need be caught up again");
    assert!(agent.is_quiet() && !agent.take_release());
    assert_eq!(agent.poll(&mut layer), Event::None);

    bridge.change(MOVED);
    assert_eq!(agent.poll(&mut layer), Event::Moved { epoch: 4 });
    assert_eq!(bridge.journal(), [Stop, Ack(4)]);
    assert!(agent.take_release() && !agent.is_quiet() && !agent.take_release());
}

#[test]
fn a_cancelled_migration_releases_the_devices_before_or_with_the_log() {
    let bridge = Bridge::new();
    let (mut agent, mut layer) = booted(&bridge);
    let quiesce = |agent: &mut Agent<&Bridge>, layer: &mut Layer<'_>| {
        bridge.change(LOGGING);
        agent.poll(layer);
        bridge.change(LOGGING | QUIESCE);
        assert_eq!(agent.poll(layer), Event::QuiesceRequested);
        agent.quiesced();
        assert!(matches!(agent.poll(layer), Event::Quiesced { .. }));
    };
    quiesce(&mut agent, &mut layer);
    bridge.change(LOGGING);
    assert_eq!(agent.poll(&mut layer), Event::Other { epoch: 4 });
    assert!(agent.take_release() && agent.logging());
    bridge.change(OFF);
    assert_eq!(agent.poll(&mut layer), Event::LoggingStopped { epoch: 5 });
    assert!(!agent.take_release());

    quiesce(&mut agent, &mut layer);
    bridge.change(OFF);
    assert_eq!(agent.poll(&mut layer), Event::LoggingStopped { epoch: 8 });
    assert!(agent.take_release());
}

#[test]
fn a_request_that_is_withdrawn_meanwhile_still_releases_what_was_quiesced() {
    let bridge = Bridge::new();
    let (mut agent, mut layer) = booted(&bridge);
    bridge.change(LOGGING);
    agent.poll(&mut layer);
    bridge.change(LOGGING | QUIESCE);
    assert_eq!(agent.poll(&mut layer), Event::QuiesceRequested);
    bridge.change(LOGGING);
    agent.quiesced();
    agent.poll(&mut layer);
    assert!(agent.take_release());
    assert_eq!(bridge.ack(), bridge.epoch());

    // And one that nobody has seen has quiesced nothing.
    bridge.change(LOGGING | QUIESCE);
    bridge.change(LOGGING);
    agent.poll(&mut layer);
    assert!(!agent.take_release());
}

#[test]
fn a_guest_started_while_quiet_is_asked_for_waits_for_its_devices() {
    let bridge = Bridge::new();
    bridge.change(LOGGING | QUIESCE);
    let mut agent = Agent::probe(&bridge).unwrap();
    let mut layer = Layer::new(&bridge);
    agent.promise(true, true);
    assert_eq!(agent.poll(&mut layer), Event::QuiesceRequested);
    agent.quiesced();
    assert_eq!(agent.poll(&mut layer), Event::LoggingStarted { epoch: 2, caught_up: 7 });
    assert!(agent.is_quiet());
    bridge.change(MOVED | QUIESCE);
    assert_eq!(agent.poll(&mut layer), Event::Moved { epoch: 3 });
    assert!(agent.is_quiet() && !agent.take_release(), "not before the hypervisor says so");
    bridge.change(OFF);
    assert_eq!(agent.poll(&mut layer), Event::Other { epoch: 4 });
    assert!(agent.take_release());
}

#[test]
fn a_new_log_that_asks_for_quiet_at_once_is_caught_up_once() {
    let bridge = Bridge::new();
    let (mut agent, mut layer) = booted(&bridge);
    layer.slices = 2;
    bridge.change(LOGGING | QUIESCE);
    assert_eq!(agent.poll(&mut layer), Event::CatchingUp);
    assert_eq!(agent.poll(&mut layer), Event::QuiesceRequested);
    agent.quiesced();
    assert_eq!(agent.poll(&mut layer), Event::LoggingStarted { epoch: 2, caught_up: 14 });
    assert_eq!(bridge.journal(), [Start, CatchUp, CatchUp, Marked(14), Ack(2)]);
}

#[test]
fn what_the_log_sees_anyway_is_not_marked() {
    let bridge = Bridge::with(FEATURES, 7);
    let (mut agent, mut layer) = booted(&bridge);
    bridge.change(LOGGING);
    assert_eq!(agent.poll(&mut layer), Event::LoggingStarted { epoch: 2, caught_up: 0 });
    assert!(agent.logging());
    bridge.change(OFF);
    agent.poll(&mut layer);
    assert_eq!(bridge.journal(), [Ack(2), Ack(3)], "neither started nor stopped");
    // The destination's devices may be others.
    bridge.put(FEATURES, &[3]);
    bridge.change(LOGGING);
    assert_eq!(agent.poll(&mut layer), Event::LoggingStarted { epoch: 4, caught_up: 7 });
}

#[test]
fn a_log_that_follows_unseen_may_see_less_or_more() {
    let bridge = Bridge::with(FEATURES, 7);
    let (mut agent, mut layer) = booted(&bridge);
    bridge.change(LOGGING);
    agent.poll(&mut layer);
    // A device that the IOMMU does not log has been plugged in: off and on again.
    bridge.put(FEATURES, &[3]);
    bridge.change(OFF);
    bridge.change(LOGGING);
    assert_eq!(agent.poll(&mut layer), Event::LoggingStarted { epoch: 4, caught_up: 7 });
    assert_eq!(bridge.journal(), [Ack(2), Start, CatchUp, Marked(7), Ack(4)]);
    // And it has left.
    bridge.put(FEATURES, &[7]);
    bridge.change(OFF);
    bridge.change(LOGGING);
    assert_eq!(agent.poll(&mut layer), Event::LoggingStarted { epoch: 6, caught_up: 0 });
    assert_eq!(bridge.journal(), [Stop, Ack(6)]);
}

#[test]
fn a_cancelled_migration_and_a_second_one_count_from_zero() {
    let bridge = Bridge::new();
    let (mut agent, mut layer) = booted(&bridge);
    bridge.change(LOGGING);
    agent.poll(&mut layer);
    bridge.change(OFF);
    assert_eq!(agent.poll(&mut layer), Event::LoggingStopped { epoch: 3 });
    assert_eq!(layer.holders, 0);
    layer.marked += 1000;
    bridge.journal();
    bridge.change(LOGGING);
    assert_eq!(agent.poll(&mut layer), Event::LoggingStarted { epoch: 4, caught_up: 7 });
    assert_eq!(bridge.journal(), [Start, CatchUp, Ack(4)], "MARKED is 7 already");
    layer.marked += 3;
    agent.poll(&mut layer);
    assert_eq!(bridge.journal(), [Marked(10)]);
}

#[test]
fn catching_up_is_acknowledged_at_its_end() {
    let bridge = Bridge::new();
    let (mut agent, mut layer) = booted(&bridge);
    layer.slices = 3;
    bridge.change(LOGGING);
    assert_eq!(agent.poll(&mut layer), Event::CatchingUp);
    assert_eq!(agent.poll(&mut layer), Event::CatchingUp);
    assert_eq!(bridge.journal(), [Start, CatchUp, CatchUp]);
    assert_eq!(agent.poll(&mut layer), Event::LoggingStarted { epoch: 2, caught_up: 21 });
    assert_eq!(bridge.journal(), [CatchUp, Marked(21), Ack(2)]);
    assert_eq!(agent.poll(&mut layer), Event::None);
}

#[test]
fn a_log_that_goes_off_ends_the_catch_up() {
    let bridge = Bridge::new();
    let (mut agent, mut layer) = booted(&bridge);
    layer.slices = 2;
    bridge.change(LOGGING);
    assert_eq!(agent.poll(&mut layer), Event::CatchingUp);
    bridge.change(OFF);
    assert_eq!(agent.poll(&mut layer), Event::LoggingStopped { epoch: 3 });
    assert_eq!(layer.holders, 0);
    bridge.change(LOGGING);
    assert_eq!(agent.poll(&mut layer), Event::CatchingUp);
    assert_eq!(agent.poll(&mut layer), Event::LoggingStarted { epoch: 4, caught_up: 14 });
}

#[test]
fn a_new_log_is_caught_up_from_the_beginning() {
    let bridge = Bridge::new();
    let (mut agent, mut layer) = booted(&bridge);
    layer.slices = 2;
    bridge.change(LOGGING);
    assert_eq!(agent.poll(&mut layer), Event::CatchingUp);
    bridge.change(OFF);
    bridge.change(LOGGING);
    assert_eq!(agent.poll(&mut layer), Event::CatchingUp);
    assert_eq!(agent.poll(&mut layer), Event::LoggingStarted { epoch: 4, caught_up: 14 });
    assert_eq!(layer.holders, 1);
}

#[test]
fn one_interrupt_for_off_and_on_again_is_a_new_log() {
    let bridge = Bridge::new();
    let (mut agent, mut layer) = booted(&bridge);
    bridge.change(LOGGING);
    agent.poll(&mut layer);
    bridge.journal();
    bridge.change(OFF);
    bridge.change(LOGGING);
    assert_eq!(agent.poll(&mut layer), Event::LoggingStarted { epoch: 4, caught_up: 7 });
    assert_eq!(bridge.journal(), [CatchUp, Ack(4)], "marking never stopped");
    bridge.change(OFF);
    agent.poll(&mut layer);
    assert_eq!(layer.holders, 0, "one start, one stop");
}

#[test]
fn a_log_that_came_and_went_unseen_is_only_acknowledged() {
    let bridge = Bridge::new();
    let (mut agent, mut layer) = booted(&bridge);
    bridge.change(LOGGING);
    bridge.change(OFF);
    assert_eq!(agent.poll(&mut layer), Event::LoggingStopped { epoch: 3 });
    assert_eq!(bridge.journal(), [Ack(3)]);
}

#[test]
fn a_guest_started_while_the_log_is_on_marks_from_the_start() {
    let bridge = Bridge::new();
    bridge.change(LOGGING);
    let mut agent = Agent::probe(&bridge).unwrap();
    let mut layer = Layer::new(&bridge);
    agent.promise(true, true);
    assert_eq!(agent.poll(&mut layer), Event::LoggingStarted { epoch: 2, caught_up: 7 });
    assert_eq!(bridge.journal(), [WroteControl(3), Start, CatchUp, Marked(7), Ack(2)]);
}

#[test]
fn a_guest_restarted_on_the_destination_has_not_just_moved() {
    let bridge = Bridge::new();
    bridge.change(MOVED);
    let (agent, _) = booted(&bridge);
    assert_eq!(agent.epoch(), 2);
    assert_eq!(bridge.ack(), 2);
}

/// The change falls between the guest's two reads: it must not be acknowledged unseen.
#[test]
fn a_change_in_the_middle_of_a_poll_is_not_acknowledged_unseen() {
    let bridge = Bridge::new();
    let (mut agent, mut layer) = booted(&bridge);

    bridge.after_epoch.set(Some(|bridge| bridge.change(LOGGING)));
    while agent.poll(&mut layer) != Event::None {}
    assert!(bridge.ack() != bridge.epoch() || layer.holders == 1);

    bridge.change(OFF);
    bridge.after_epoch.set(Some(|bridge| bridge.change(LOGGING)));
    agent.poll(&mut layer);
    assert_ne!(bridge.ack(), bridge.epoch(), "what came in between is still to be seen");
    while agent.poll(&mut layer) != Event::None {}
    assert_eq!((bridge.ack(), layer.holders), (bridge.epoch(), 1));
}

#[test]
fn the_epoch_may_wrap() {
    let bridge = Bridge::new();
    bridge.put(EPOCH, &(u32::MAX - 1).to_le_bytes());
    let (mut agent, mut layer) = booted(&bridge);
    bridge.change(LOGGING);
    assert_eq!(agent.poll(&mut layer), Event::LoggingStarted { epoch: u32::MAX, caught_up: 7 });
    bridge.change(OFF);
    assert_eq!(agent.poll(&mut layer), Event::LoggingStopped { epoch: 1 });
    bridge.change(LOGGING);
    assert_eq!(agent.poll(&mut layer), Event::LoggingStarted { epoch: 2, caught_up: 7 });
}

#[test]
fn a_hypervisor_that_counts_from_zero_is_understood() {
    let bridge = Bridge::with(EPOCH, 0);
    bridge.put(STATUS, &LOGGING.to_le_bytes());
    let mut agent = Agent::probe(&bridge).unwrap();
    let mut layer = Layer::new(&bridge);
    assert_eq!(agent.poll(&mut layer), Event::LoggingStarted { epoch: 0, caught_up: 7 });
}

#[test]
fn reserved_status_bits_are_ignored() {
    let bridge = Bridge::new();
    let (mut agent, mut layer) = booted(&bridge);
    bridge.change(0xfff8);
    assert_eq!(agent.poll(&mut layer), Event::LoggingStopped { epoch: 2 });
    bridge.change(0xfff9);
    assert_eq!(agent.poll(&mut layer), Event::LoggingStarted { epoch: 3, caught_up: 7 });
}

#[test]
fn a_bridge_that_is_gone_changes_nothing() {
    let bridge = Bridge::new();
    let (mut agent, mut layer) = booted(&bridge);
    bridge.change(LOGGING);
    agent.poll(&mut layer);
    bridge.journal();
    bridge.gone.set(true);
    assert_eq!(agent.poll(&mut layer), Event::None);
    assert_eq!(bridge.journal(), []);
    assert_eq!(layer.holders, 1, "marking too much is safe");
    bridge.gone.set(false);
    bridge.change(OFF);
    assert_eq!(agent.poll(&mut layer), Event::LoggingStopped { epoch: 3 });
}

#[test]
fn more_pages_than_the_register_holds_saturate() {
    let bridge = Bridge::new();
    let (mut agent, mut layer) = booted(&bridge);
    bridge.change(LOGGING);
    agent.poll(&mut layer);
    layer.marked = u64::MAX;
    agent.poll(&mut layer);
    assert_eq!(bridge.journal().last(), Some(&Marked(u32::MAX)));
}

#[test]
fn two_bridges_hold_marking_until_both_have_seen_the_log_go_off() {
    let (one, two) = (Bridge::new(), Bridge::new());
    let (mut first, mut layer) = booted(&one);
    let (mut second, _) = booted(&two);
    one.change(LOGGING);
    two.change(LOGGING);
    first.poll(&mut layer);
    second.poll(&mut layer);
    one.change(OFF);
    two.change(OFF);
    first.poll(&mut layer);
    one.change(LOGGING);
    first.poll(&mut layer);
    two.change(LOGGING);
    second.poll(&mut layer);
    assert_eq!(layer.holders, 2);
}

#[test]
fn what_is_not_the_capability_is_none() {
    let refused = |offset, value| Agent::probe(&Bridge::with(offset, value)).err().unwrap();
    assert_eq!(refused(ID, 0x05), Unusable::OtherKind);
    assert_eq!(refused(TYPE, 1), Unusable::OtherKind);
    assert_eq!(refused(VERSION, 0), Unusable::Version { version: 0 });
    assert_eq!(refused(VERSION, 1), Unusable::Version { version: 1 });
    assert_eq!(refused(VERSION, 3), Unusable::Version { version: 3 });
    assert_eq!(refused(DEFINED_BY, 0), Unusable::OtherKind);
    assert_eq!(refused(FEATURES, 0xfe), Unusable::Lacks(Features::LOGGING));
    assert_eq!(refused(FEATURES, 1), Unusable::Lacks(Features::QUIESCE));
    for length in [0, 3, 4] {
        assert_eq!(refused(LEN, length), Unusable::Short { length }, "no version to read");
    }
    assert_eq!(refused(LEN, 23), Unusable::Short { length: 23 });
    assert!(Agent::probe(&Bridge::with(LEN, 255)).is_ok(), "longer is fine: later additions");
    assert!(Agent::probe(&Bridge::with(FEATURES, 0xff)).is_ok());
    let gone = Bridge::new();
    gone.gone.set(true);
    assert_eq!(Agent::probe(&gone).err(), Some(Unusable::OtherKind));
    let lacks = Unusable::Lacks(Features::QUIESCE);
    for reason in [Unusable::OtherKind, Unusable::Short { length: 3 }, lacks] {
        assert!(reason.to_string().contains("migration capability"));
    }
}

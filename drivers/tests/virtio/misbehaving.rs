use super::*;
use embassy_futures::block_on;
use model::{RECEIVE, TRANSMIT};
use unikernel::pci::PciAddress;

pub(crate) fn in_mid_traffic() -> (Rig, Vec<unikernel::dma::RxBuffer>) {
    let mut rig = Rig::with(Traits { stalls_transmit: true, ..Traits::default() });
    let mut kept = Vec::new();
    for number in 0..50 {
        rig.model.receive(&frame(number, 60));
        kept.extend(rig.nic.receive());
        rig.queue(&frame(number, 60));
    }
    rig.nic.flush();
    rig.model.receive(&frame(0, 60));
    (rig, kept)
}

#[test]
fn stopping_gives_everything_back_at_any_moment() {
    let (mut rig, kept) = in_mid_traffic();
    block_on(rig.nic.stop());
    assert_eq!(rig.model.status(), 0);
    assert!(!rig.machine.is_bus_master(PciAddress::new(0, 1, 0, 0)));
    assert!(rig.nic.receive().is_none() && !rig.nic.transmit_ready() && rig.nic.arm());
    rig.queue(&frame(0, 60));
    rig.nic.flush();
    block_on(rig.nic.stop());
    drop(kept);
    assert_eq!(rig.taken(), 0);
}

#[test]
fn used_buffers_that_cannot_be_true_are_dropped_and_counted() {
    let mut rig = Rig::new();
    for len in [0, 11, 12, 25, 12 + 1515, 2048, 2049, u32::MAX] {
        assert!(rig.model.write_back(&frame(0, 60), len));
        assert!(rig.nic.receive().is_none(), "{len}");
        // The next frame is not affected.
        assert!(rig.model.receive(&frame(1, 61)));
        assert_eq!(*rig.nic.receive().unwrap(), frame(1, 61));
        rig.nic.flush();
    }
    assert_eq!(rig.nic.statistics().bad_frame, 8);
    let mut merged = [0; 12];
    merged[1] = 1;
    for (header, frame) in [(merged, &frame(0, 60)[..]), ([0; 12], &[]), ([0; 12], &[0; 13])] {
        rig.model.receive_with(header, frame);
        assert!(rig.nic.receive().is_none());
    }
    assert_eq!(rig.nic.statistics().bad_frame, 11);
    for id in [QUEUE as u32, 0x1_0000, u32::MAX] {
        rig.model.claim(RECEIVE, id, 72);
        assert!(rig.nic.receive().is_none());
    }
    assert_eq!(rig.nic.statistics().bad_frame, 14);
    assert_eq!(rig.taken(), TAKEN);
}

#[test]
fn a_used_index_that_jumps_is_not_followed() {
    let mut rig = Rig::new();
    rig.model.jump(RECEIVE, QUEUE as u16 + 1);
    assert!(rig.nic.receive().is_none());
    assert!(rig.nic.arm());
    rig.model.jump(TRANSMIT, 0x8000);
    rig.queue(&frame(0, 60));
    rig.nic.flush();
    block_on(rig.nic.stop());
    assert_eq!(rig.taken(), 0);
}

#[test]
fn a_device_that_uses_buffers_for_nothing_but_garbage_does_not_hold_the_caller() {
    let mut rig = Rig::new();
    for _ in 0..QUEUE {
        assert!(rig.model.write_back(&[], 0));
    }
    let mut calls = 0;
    while !rig.nic.arm() {
        assert!(rig.nic.receive().is_none());
        calls += 1;
    }
    assert_eq!(calls, QUEUE / 64);
}

#[test]
fn frames_come_back_only_once() {
    let mut rig = Rig::with(Traits { stalls_transmit: true, ..Traits::default() });
    for number in 0..4 {
        rig.queue(&frame(number, 60));
    }
    rig.nic.flush();
    // What it never had, the second half of a chain, and a chain twice.
    for id in [200, 1, u32::MAX, 2, 2, 2] {
        rig.model.claim(TRANSMIT, id, 0);
    }
    rig.nic.flush();
    assert_eq!(rig.taken(), TAKEN + 3);
    let mut queued = 3;
    while rig.nic.transmit_ready() && queued < QUEUE {
        rig.queue(&frame(9, 60));
        queued += 1;
    }
    assert_eq!(queued, QUEUE / 2);
    assert_eq!(rig.taken(), TAKEN + QUEUE as u32 / 2);
}

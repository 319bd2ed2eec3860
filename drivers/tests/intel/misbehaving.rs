use super::*;
use embassy_futures::block_on;
use family::{ENABLE, RCTL, RDT, TCTL};
use model::{Family, WHOLE};

/// Frames on their way in both directions, some completed, some not, some kept.
pub(crate) fn in_mid_traffic() -> (Rig, Vec<unikernel::dma::RxBuffer>) {
    let mut rig = Rig::new();
    rig.model.set_faults(Faults { stalls_transmit: true, ..Faults::default() });
    let mut kept = Vec::new();
    for number in 0..700 {
        assert!(rig.model.receive(&frame(number, 200)));
        kept.extend(rig.nic.receive().filter(|_| number % 3 == 0));
        if number % 5 == 0 {
            rig.nic.flush();
        }
        if number % 7 == 0 {
            rig.queue(&frame(number, 100));
        }
    }
    for number in 0..50 {
        assert!(rig.model.receive(&frame(number, 200)));
    }
    assert!(!rig.nic.arm());
    (rig, kept)
}

#[test]
fn stopping_in_mid_traffic_gives_every_buffer_back() {
    let (mut rig, kept) = in_mid_traffic();
    let slots = rig.pool.statistics().slots;
    block_on(rig.nic.stop());
    assert_eq!(slots - rig.free(), kept.len() as u32, "only what the application keeps");
    assert_eq!(rig.model.register(RCTL) & ENABLE, 0);
    assert_eq!(rig.model.register(TCTL) & ENABLE, 0);
    assert!(!rig.machine.is_bus_master(PciAddress::new(0, 1, 0, 0)));
    assert!(!rig.model.receive(&frame(0, 60)));
    drop(kept);
    assert_eq!(rig.free(), slots);

    // Stopped is stopped.
    block_on(rig.nic.stop());
    assert!(rig.nic.receive().is_none());
    assert!(!rig.nic.transmit_ready());
    rig.queue(&frame(0, 60));
    rig.nic.flush();
    assert!(rig.nic.arm());
    assert!(!rig.nic.link().up);
    assert_eq!(rig.free(), slots);
}

#[test]
fn dropping_the_driver_stops_it_and_the_device_starts_again() {
    let (rig, kept) = in_mid_traffic();
    let Rig { machine, model, pool, nic, port: _port, .. } = rig;
    drop((nic, kept));
    assert_eq!(pool.statistics().slots_free, pool.statistics().slots);
    model.set_faults(Faults::default());
    let device = machine.root().enumerate().devices.remove(0);
    let mut nic = block_on(drivers::probe(device, pool, &Settings::default())).unwrap();
    assert!(model.receive(&frame(9, 60)));
    assert_eq!(*nic.receive().unwrap(), frame(9, 60));
}

#[test]
fn a_device_that_keeps_mastering_the_bus_is_cut_off() {
    let mut rig = Rig::new();
    rig.model.set_faults(Faults { keeps_mastering: true, ..Faults::default() });
    block_on(rig.nic.stop());
    assert!(!rig.machine.is_bus_master(PciAddress::new(0, 1, 0, 0)));
    assert_eq!(rig.free(), rig.pool.statistics().slots);
}

#[test]
fn write_backs_that_cannot_be_true_are_dropped_and_counted() {
    const DONE: u32 = 1;
    const CRC_ERROR: u32 = 1 << 24;
    const RECEIVE_ERROR: u32 = 1 << 31;
    let mut rig = Rig::new();
    let lies: &[&[(u16, u32)]] = &[
        &[(0, WHOLE)],
        &[(13, WHOLE)],
        &[(1515, WHOLE)],
        &[(2049, WHOLE)],
        &[(u16::MAX, WHOLE)],
        &[(60, WHOLE | CRC_ERROR)],
        &[(60, WHOLE | RECEIVE_ERROR)],
        &[(2048, DONE), (60, WHOLE)],
        &[(60, DONE), (60, DONE), (60, WHOLE)],
        &[(u16::MAX, u32::MAX)],
    ];
    for round in 0..40 {
        for lie in lies {
            for &(len, status) in *lie {
                assert!(rig.model.write_back(&frame(round, 60), len, status));
            }
            assert!(rig.nic.receive().is_none(), "{lie:x?}");
            // The next frame is not affected.
            assert!(rig.model.receive(&frame(round, 61)));
            assert_eq!(*rig.nic.receive().unwrap(), frame(round, 61));
            rig.nic.flush();
        }
    }
    let statistics = rig.nic.statistics();
    assert_eq!(statistics.bad_frame, 40 * lies.len() as u64);
    assert_eq!(statistics.received, 40 * lies.len() as u64);
    assert_eq!(rig.taken(), TAKEN);
}

#[test]
fn a_device_that_completes_nothing_but_garbage_does_not_hold_the_caller() {
    let mut rig = Rig::new();
    for descriptor in 0..RING as u32 {
        rig.model.scribble(descriptor, 0, WHOLE);
    }
    let mut calls = 0;
    while !rig.nic.arm() {
        assert!(rig.nic.receive().is_none());
        rig.nic.flush();
        calls += 1;
    }
    assert_eq!(rig.nic.statistics().bad_frame, RING as u64);
    assert_eq!(calls, 2, "a call ends before the tail that the device was last told");
    assert!((rig.model.register(RDT) as usize) < RING);

    // Also once around the ring between two flushes: the device is told the tail all the same.
    for descriptor in 0..RING as u32 {
        rig.model.scribble(descriptor, 0, WHOLE);
    }
    assert!(rig.nic.receive().is_none());
    assert_eq!(rig.nic.statistics().bad_frame, 2 * RING as u64 - 1, "one was not the device's");
    let before = rig.model.register(RDT);
    rig.nic.flush();
    assert_ne!(rig.model.register(RDT), before);
}

#[test]
fn what_the_device_missed_is_counted_once() {
    if model::State::MISSED.is_empty() {
        return;
    }
    for keeps_counts in [false, true] {
        let mut rig = Rig::new();
        rig.model.set_faults(Faults { keeps_counts, ..Faults::default() });
        rig.model.count_missed(7);
        assert_eq!(rig.nic.statistics().missed, 7);
        assert_eq!(rig.nic.statistics().missed, 7);
        rig.model.count_missed(3);
        block_on(rig.nic.stop());
        assert_eq!(rig.nic.statistics().missed, 10, "the last count is taken when it stops");
    }
}

//! Resets, at every moment.

use super::*;
use family::{ENABLE, IMS, RCTL, TELLS_WHEN_DMA_ENDS};
use model::Family;
use unikernel::nic::{Link, ResetError};

/// Frames both ways, some completed and not looked at, some queued and not sent, some kept.
fn in_mid_traffic(rig: &mut Rig, kept: &mut Vec<unikernel::dma::RxBuffer>) {
    rig.model.set_faults(Faults { stalls_transmit: true, ..Faults::default() });
    for number in 0..120 {
        assert!(rig.model.receive(&frame(number, 200)));
        kept.extend(rig.nic.receive().filter(|_| number % 9 == 0));
        if number % 4 == 0 {
            rig.queue(&frame(number, 100));
            rig.nic.flush();
        }
    }
    for number in 0..40 {
        assert!(rig.model.receive(&frame(number, 200)));
        rig.queue(&frame(number, 100));
    }
    rig.model.set_faults(Faults::default());
}

#[test]
fn twenty_resets_in_mid_traffic_lose_no_buffer_and_every_one_ends_in_service() {
    let mut rig = Rig::new();
    let mut kept = Vec::new();
    for round in 0..20 {
        in_mid_traffic(&mut rig, &mut kept);
        if round % 2 == 0 {
            assert!(!rig.nic.arm(), "there is work");
        }
        block_on(rig.nic.reset()).unwrap();
        rig.model.take_sent();
        assert_eq!(rig.taken(), TAKEN + kept.len() as u32);
        assert!(rig.nic.receive().is_none(), "what was on the way is lost");
        assert!(rig.nic.link().up);
        // Sleeping, waking and every descriptor work as after a start.
        while !rig.nic.arm() {}
        let interrupt = rig.nic.interrupt();
        interrupt.take();
        let whole = if round == 0 { RING - 1 } else { 20 };
        for number in 0..whole {
            assert!(rig.model.receive(&frame(number, 60)), "round {round} frame {number}");
        }
        assert!(interrupt.take());
        for number in 0..whole {
            assert_eq!(*rig.nic.receive().unwrap(), frame(number, 60));
        }
        rig.queue(&frame(round, 60));
        // The same each time: a device that was reset has forgotten its context.
        let (packet, headers) = segments::packet(true, 3000);
        rig.queue_segmented(&packet, 1448);
        rig.nic.flush();
        let sent = rig.model.take_sent();
        assert_eq!(sent[0], frame(round, 60));
        segments::verify(&packet, headers, 1448, &sent[1..]);
        rig.nic.flush();
    }
    for (number, frame) in kept.iter().enumerate() {
        let number = number % 14 * 9;
        assert_eq!(**frame, super::frame(number, 200), "what is kept stays what it was");
    }
    kept.clear();
    assert_eq!(rig.taken(), TAKEN);
}

#[test]
fn counters_survive_a_reset() {
    let mut rig = Rig::new();
    rig.model.count_missed(5);
    assert!(rig.model.receive(&frame(0, 60)));
    rig.nic.receive();
    block_on(rig.nic.reset()).unwrap();
    let statistics = rig.nic.statistics();
    let missed = if model::State::MISSED.is_empty() { 0 } else { 5 };
    assert_eq!((statistics.missed, statistics.received), (missed, 1));
}

#[test]
fn a_device_that_keeps_mastering_the_bus_is_cut_off_and_reset() {
    if !TELLS_WHEN_DMA_ENDS {
        return;
    }
    let mut rig = Rig::new();
    rig.model.set_faults(Faults { keeps_mastering: true, ..Faults::default() });
    block_on(rig.nic.reset()).unwrap();
    rig.model.set_faults(Faults::default());
    assert!(rig.model.receive(&frame(0, 60)));
    assert!(rig.nic.receive().is_some());
}

#[test]
fn a_device_that_stays_in_reset_is_stopped_for_good_unless_that_may_be_its_hosts_doing() {
    let mut rig = Rig::new();
    rig.model.set_faults(Faults { stays_in_reset: true, ..Faults::default() });
    let [first, second] = family::STAYS_IN_RESET;
    assert_eq!(block_on(rig.nic.reset()), Err(first));
    assert_eq!(rig.free(), rig.pool.statistics().slots);
    assert!(!rig.machine.is_bus_master(PciAddress::new(0, 1, 0, 0)));
    assert_eq!(rig.nic.link(), Link::default());
    assert_eq!(block_on(rig.nic.reset()), Err(second));
}

#[test]
fn a_device_that_is_gone_is_not_waited_for() {
    let mut rig = Rig::new();
    rig.machine.pull(rig.port);
    assert_eq!(block_on(rig.nic.reset()), Err(ResetError::Gone));
    assert_eq!(rig.free(), rig.pool.statistics().slots);
}

#[test]
fn a_link_that_went_away_meanwhile_is_seen_when_it_comes_back() {
    let mut rig = Rig::new();
    assert!(rig.nic.arm());
    rig.model.set_link(false);
    block_on(rig.nic.reset()).unwrap();
    assert!(!rig.nic.link().up);
    assert_eq!(rig.model.register(IMS), 0, "nobody has asked for interrupts yet");
    assert_ne!(rig.model.register(RCTL) & ENABLE, 0);
    while !rig.nic.arm() {}
    rig.model.set_link(true);
    assert!(rig.nic.interrupt().take());
    assert!(rig.nic.arm());
    assert!(rig.nic.link().up);
}

#[test]
fn the_device_obeys_pauses_and_asks_for_none() {
    let mut rig = Rig::new();
    for _ in 0..2 {
        for &(register, mask, value) in model::State::PAUSE {
            assert_eq!(rig.model.register(register) & mask, value, "{register:#x}");
        }
        block_on(rig.nic.reset()).unwrap();
    }
}

//! Several receive queues.

use crate::family::{RETA, SRRCTL};
use crate::intel::{Faults, Offers, Rig, card, frame, model::QUEUE};
use embassy_futures::block_on;
use unikernel::nic::{Queues, Settings, VlanId};

const QUEUES: usize = 4;

fn settings() -> Settings {
    Settings { queues: Queues::new(QUEUES as u16).unwrap(), ..Settings::default() }
}

#[test]
fn frames_of_all_queues_arrive_and_a_flooded_one_does_not_keep_the_others_waiting() {
    let mut rig = Rig::of(settings());
    // Every queue is in the table as often as the others.
    for word in 0..32 {
        assert_eq!(rig.model.register(RETA + 4 * word), 0x0302_0100);
    }
    for number in 0..100 {
        assert!(rig.model.deliver(2, &frame(number, 60), None));
    }
    for queue in [0, 1, 3] {
        assert!(rig.model.deliver(queue, &frame(1000 + queue, 60), None));
    }
    let mut seen = Vec::new();
    for _ in 0..4 {
        for _ in 0..16 {
            seen.extend(rig.nic.receive().map(|frame| frame.to_vec()));
        }
        rig.nic.flush();
    }
    for queue in [0, 1, 3] {
        assert!(seen.contains(&frame(1000 + queue, 60)), "queue {queue}");
    }
    while let Some(frame) = rig.nic.receive() {
        seen.push(frame.to_vec());
    }
    let number = |frame: &Vec<u8>| u64::from_le_bytes(frame[14..22].try_into().unwrap());
    let flooded: Vec<_> = seen.into_iter().filter(|frame| number(frame) < 1000).collect();
    assert_eq!(flooded, (0..100).map(|n| frame(n, 60)).collect::<Vec<_>>(), "in their order");
    assert_eq!(rig.nic.statistics().received, 103);
}

#[test]
fn every_queue_interrupts_with_any_number_of_vectors() {
    for offers in [Offers::MsiX, Offers::Msi, Offers::Pin] {
        let mut rig = Rig::of_card(card(offers), settings());
        for queue in 0..4 {
            assert!(rig.nic.arm());
            assert!(rig.model.deliver(queue, &frame(queue, 60), None));
            assert!(rig.nic.interrupt().take(), "queue {queue}");
            assert!(rig.nic.receive().is_some());
        }
    }
}

#[test]
fn a_full_queue_drops_and_does_not_block() {
    let rig = Rig::of(settings());
    for queue in 0..QUEUES {
        assert_ne!(rig.model.register(SRRCTL + QUEUE * queue) & 1 << 28, 0);
    }
}

#[test]
fn every_queue_takes_tags_out() {
    let mut rig = Rig::of(Settings { vlan: VlanId::new(0x123), ..settings() });
    for queue in 0..QUEUES {
        assert!(rig.model.state().strips(queue));
        // Of another VLAN, should the device let them through, and of ours.
        assert!(rig.model.deliver(queue, &frame(1, 60), Some(0x0124)));
        assert!(rig.model.deliver(queue, &frame(2, 60), Some(0xe123)));
    }
    for _ in 0..QUEUES {
        assert_eq!(*rig.nic.receive().unwrap(), frame(2, 60));
    }
    assert!(rig.nic.receive().is_none());
}

#[test]
fn a_reset_in_mid_traffic_loses_no_buffer() {
    let mut rig = Rig::of(settings());
    let taken = rig.taken();
    for round in 0..20 {
        rig.model.set_faults(Faults { stalls_transmit: true, ..Faults::default() });
        for number in 0..60 {
            assert!(rig.model.deliver(number % 4, &frame(number, 60), None));
            rig.queue(&frame(number, 60));
        }
        for _ in 0..round {
            rig.nic.receive();
        }
        rig.nic.flush();
        block_on(rig.nic.reset()).unwrap();
        assert_eq!(rig.taken(), taken);
        rig.model.set_faults(Faults::default());
        rig.model.take_sent();
        assert!(rig.model.deliver(3, &frame(round, 61), None));
        assert_eq!(*rig.nic.receive().unwrap(), frame(round, 61));
        rig.queue(&frame(round, 62));
        rig.nic.flush();
        assert_eq!(rig.model.take_sent(), [frame(round, 62)]);
        rig.nic.flush();
    }
}

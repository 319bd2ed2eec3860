//! What the settings ask for, in registers and descriptors.

use super::*;
use model::*;
use std::num::NonZeroU16;
use unikernel::nic::{Mtu, Queues, VlanId};

fn queues(count: u16) -> Settings {
    Settings { queues: Queues::new(count).unwrap(), ..Settings::default() }
}

#[test]
fn frames_of_all_queues_arrive_and_a_flooded_one_does_not_keep_the_others_waiting() {
    let mut rig = Rig::set(&queues(4));
    // Every queue is in the table as often as the others.
    for word in 0..32 {
        assert_eq!(rig.model.register(RETA + 4 * word), 0x0302_0100);
    }
    for number in 0..100 {
        assert!(rig.model.write_back_in(2, &frame(number, 60), 0, WHOLE));
    }
    for queue in [0, 1, 3] {
        assert!(rig.model.write_back_in(queue, &frame(1000 + queue, 60), 0, WHOLE));
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
        let mut rig = Rig::start(8 << 20, Policy::Never, offers, &queues(4));
        for queue in 0..4 {
            assert!(rig.nic.arm());
            assert!(rig.model.write_back_in(queue, &frame(queue, 60), 0, WHOLE));
            assert!(rig.nic.interrupt().take(), "queue {queue}");
            assert!(rig.nic.receive().is_some());
        }
    }
}

#[test]
fn a_full_queue_drops_and_does_not_block() {
    let rig = Rig::set(&queues(4));
    for queue in 0..4 {
        assert_ne!(rig.model.register(SRRCTL + 0x40 * queue) & 1 << 28, 0);
    }
}

#[test]
fn pause_frames_are_obeyed_also_after_a_reset() {
    let mut rig = Rig::new();
    assert_eq!(rig.model.register(MFLCN), 0b1010);
    rig.nic.reset().unwrap();
    assert_eq!(rig.model.register(MFLCN), 0b1010);
}

#[test]
fn tags_are_taken_out_put_in_and_filtered() {
    let vlan = VlanId::new(0x123);
    let mut rig = Rig::set(&Settings { vlan, ..queues(2) });
    assert_eq!(rig.model.register(VFTA + 4 * (0x123 / 32)), 1 << (0x123 % 32));
    assert_ne!(rig.model.register(VLNCTRL) & 1 << 30, 0, "the table is looked at");
    for queue in [0, 1] {
        assert_ne!(rig.model.register(RXDCTL + 0x40 * queue) & 1 << 30, 0, "stripped");
    }
    // Of our VLAN, of another, and untagged, should the device let them through.
    assert!(rig.model.receive_tagged(0, &frame(1, 60), 0xe123));
    assert!(rig.model.receive_tagged(1, &frame(2, 60), 0x0124));
    assert!(rig.model.receive(&frame(3, 60)));
    assert_eq!(*rig.nic.receive().unwrap(), frame(1, 60));
    assert!(rig.nic.receive().is_none());
    rig.queue(&frame(4, 60));
    rig.nic.flush();
    let plain = frame(4, 60);
    assert_eq!(
        rig.model.take_sent(),
        [[&plain[..12], &[0x81, 0, 0x01, 0x23], &plain[12..]].concat()]
    );
}

#[test]
fn jumbo_frames_have_buffers_and_pass_in_both_directions() {
    let mtu = Mtu::new(9000).unwrap();
    let mut rig = Rig::set(&Settings { mtu, ..Settings::default() });
    assert_eq!(rig.model.register(MAXFRS) >> 16, 9000 + 14 + 4);
    assert_ne!(rig.model.register(HLREG0) & 1 << 2, 0);
    assert_eq!(rig.model.register(SRRCTL) & 0x1f, 16, "KiB a buffer");
    assert!(rig.model.receive(&frame(7, 9014)));
    assert_eq!(*rig.nic.receive().unwrap(), frame(7, 9014));
    let mut buffer = rig.pool.transmit_buffer_of(9014).unwrap();
    buffer[..9014].copy_from_slice(&frame(8, 9014));
    rig.nic.transmit(buffer, 9014, None);
    rig.nic.flush();
    assert_eq!(rig.model.take_sent(), [frame(8, 9014)]);

    let rig = Rig::new();
    assert_eq!(rig.model.register(MAXFRS) >> 16, 1518);
    assert_eq!(rig.model.register(HLREG0) & 1 << 2, 0);
}

#[test]
fn filters_open_as_asked_and_stay_so_over_a_reset() {
    let mut rig = Rig::set(&Settings { promiscuous: true, ..Settings::default() });
    assert_eq!(rig.model.register(FCTRL) >> 8 & 0b11, 0b11);
    // 33:33:ff:67:6f:01: bits 47 to 36 are 0x016.
    rig.nic.accept_multicast(&[[0x33, 0x33, 0xff, 0x67, 0x6f, 0x01]]);
    assert_eq!(rig.model.register(MTA), 1 << 0x16);
    rig.nic.reset().unwrap();
    assert_eq!(rig.model.register(MTA), 1 << 0x16);
    assert_eq!(rig.model.register(FCTRL) >> 8 & 0b11, 0b11);
    assert_eq!(Rig::new().model.register(FCTRL) >> 8 & 0b11, 0);
}

#[test]
fn a_reset_in_mid_traffic_loses_no_buffer() {
    let mut rig = Rig::set(&queues(4));
    let taken = rig.pool.statistics().slots - rig.free();
    for round in 0..20 {
        rig.model.set_faults(Faults { stalls_transmit: true, ..Faults::default() });
        for number in 0..60 {
            assert!(rig.model.write_back_in(number % 4, &frame(number, 60), 0, WHOLE));
            rig.queue(&frame(number, 60));
        }
        for _ in 0..round {
            rig.nic.receive();
        }
        rig.nic.flush();
        rig.nic.reset().unwrap();
        assert_eq!(rig.pool.statistics().slots - rig.free(), taken);
        rig.model.set_faults(Faults::default());
        rig.model.take_sent();
        assert!(rig.model.write_back_in(3, &frame(round, 61), 0, WHOLE));
        assert_eq!(*rig.nic.receive().unwrap(), frame(round, 61));
        rig.queue(&frame(round, 62));
        rig.nic.flush();
        assert_eq!(rig.model.take_sent(), [frame(round, 62)]);
        rig.nic.flush();
    }
}

#[test]
fn a_long_packet_is_cut_by_the_device() {
    let mut rig = Rig::new();
    let payload: Vec<u8> = (0..40_000).map(|i| (i * 13) as u8).collect();
    let mut packet = vec![0; 54];
    packet[12..24].copy_from_slice(&[8, 0, 0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6]);
    packet[26..34].copy_from_slice(&[10, 0, 2, 15, 10, 0, 2, 2]);
    packet[46] = 0x50;
    let length = (40 + payload.len()) as u16;
    packet[16..18].copy_from_slice(&length.to_be_bytes());
    packet.extend(&payload);
    let mut buffer = rig.pool.transmit_buffer_of(packet.len()).unwrap();
    buffer[..packet.len()].copy_from_slice(&packet);
    rig.nic.transmit(buffer, packet.len(), NonZeroU16::new(1460));
    rig.nic.flush();
    let sent = rig.model.take_sent();
    assert_eq!(sent.len(), payload.len().div_ceil(1460));
    let joined: Vec<u8> = sent.iter().flat_map(|segment| segment[54..].iter().copied()).collect();
    assert_eq!(joined, payload);
}

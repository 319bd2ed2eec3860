//! Several receive queues.

use crate::family::{DEVICE, EITR, INTEL_I350};
use crate::intel::{Rig, model::MAC};
use embassy_futures::block_on;
use std::collections::BTreeSet;
use unikernel::nic::{Queues, Settings};
use unikernel::pci::fake::Card;

const QUEUES: u16 = 4;

fn rig_of(card: Card) -> Rig {
    Rig::of_card(card, Settings { queues: Queues::new(QUEUES).unwrap(), ..Settings::default() })
}

fn rig() -> Rig {
    rig_of(Card::new(0x8086, DEVICE, 0x0200).msi_x(3, 10))
}

/// A TCP segment from a port of 66.9.149.187, which Microsoft's examples of hashes begin with.
fn segment(port: u16, number: u32) -> Vec<u8> {
    let mut frame = vec![0; 14 + 20 + 20 + 6];
    frame[..6].copy_from_slice(&MAC);
    frame[12..24].copy_from_slice(&[8, 0, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6]);
    frame[26..34].copy_from_slice(&[66, 9, 149, 187, 161, 142, 100, 80]);
    frame[34..36].copy_from_slice(&port.to_be_bytes());
    frame[36..38].copy_from_slice(&1766u16.to_be_bytes());
    frame[38..42].copy_from_slice(&number.to_be_bytes());
    frame[46] = 5 << 4;
    let sum = |bytes: &[u8]| {
        let sum: u32 =
            bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
        let sum = (sum & 0xffff) + (sum >> 16);
        ((sum & 0xffff) + (sum >> 16)) as u16
    };
    let header = !sum(&frame[14..34]);
    frame[24..26].copy_from_slice(&header.to_be_bytes());
    let pseudo = [&frame[26..34], &[0, 6, 0, 20], &frame[34..54]].concat();
    let checksum = !sum(&pseudo);
    frame[50..52].copy_from_slice(&checksum.to_be_bytes());
    frame
}

#[test]
fn flows_are_spread_by_the_hash_that_was_specified() {
    let rig = rig();
    // The specification's result for port 2794.
    assert_eq!(rig.model.queue(&segment(2794, 0)), 0x51cc_c178 % usize::from(QUEUES));
    let chosen: BTreeSet<_> = (1024..1124).map(|port| rig.model.queue(&segment(port, 0))).collect();
    assert_eq!(chosen, (0..usize::from(QUEUES)).collect());
}

#[test]
fn every_queue_interrupts_and_is_served_and_flows_keep_their_order() {
    let i350 = rig_of(Card::new(0x8086, INTEL_I350, 0x0200).msi_x(3, 10));
    i350.model.state().own.is_i350 = true;
    for mut rig in [rig(), i350] {
        for port in 1024..1064 {
            assert!(rig.nic.arm());
            let interrupt = rig.nic.interrupt();
            assert!(rig.model.receive(&segment(port, 0)));
            assert!(
                interrupt.take(),
                "the interrupt of queue {}",
                rig.model.queue(&segment(port, 0))
            );
            assert_eq!(*rig.nic.receive().unwrap(), segment(port, 0));
            rig.nic.flush();
        }
        let mut next = [0; 40];
        for number in 0..100 {
            for port in 1024..1064 {
                assert!(rig.model.receive(&segment(port, number)));
            }
            while let Some(frame) = rig.nic.receive() {
                let port = u16::from_be_bytes([frame[34], frame[35]]);
                let expected = &mut next[usize::from(port - 1024)];
                assert_eq!(*frame, segment(port, *expected));
                *expected += 1;
            }
            rig.nic.flush();
        }
        assert_eq!(next, [100; 40]);
    }
}

#[test]
fn a_flooded_queue_does_not_keep_the_others_waiting() {
    let mut rig = rig();
    let quiet = (1024..).find(|&port| rig.model.queue(&segment(port, 0)) == 3).unwrap();
    let flood = (1024..).find(|&port| rig.model.queue(&segment(port, 0)) == 0).unwrap();
    let mut number = 0;
    while rig.model.receive(&segment(flood, number)) {
        number += 1;
    }
    assert!(rig.model.receive(&segment(quiet, 0)), "a full queue drops its own");
    // A budget that the flood alone would use up.
    let came = (0..4).any(|_| {
        let batch: Vec<_> = (0..16).filter_map(|_| rig.nic.receive()).collect();
        rig.nic.flush();
        batch.iter().any(|frame| **frame == segment(quiet, 0))
    });
    assert!(came);
}

#[test]
fn each_queue_is_throttled_by_itself() {
    let rig = rig();
    // Queues, transmit, all else.
    for entry in 0..usize::from(QUEUES) + 2 {
        assert_ne!(rig.model.register(EITR + 4 * entry) & 0x7ffc, 0, "entry {entry}");
    }
}

#[test]
fn queues_share_entries_where_there_are_too_few() {
    for card in [
        Card::new(0x8086, DEVICE, 0x0200).msi_x(3, 2),
        Card::new(0x8086, DEVICE, 0x0200).msi(),
        Card::new(0x8086, DEVICE, 0x0200).pin(10),
    ] {
        let mut rig = rig_of(card);
        for port in 1024..1064 {
            assert!(rig.nic.arm());
            assert!(rig.model.receive(&segment(port, 0)));
            assert!(rig.nic.interrupt().take());
            assert!(rig.nic.receive().is_some());
            rig.nic.flush();
        }
        rig.model.set_link(false);
        assert!(rig.nic.interrupt().take());
        assert!(rig.nic.arm());
        assert!(!rig.nic.link().up);
    }
}

#[test]
fn buffers_of_all_queues_are_given_back() {
    let mut rig = rig();
    let slots = rig.pool.statistics().slots;
    for port in 1024..1324 {
        rig.model.receive(&segment(port, 0));
    }
    let kept: Vec<_> = std::iter::from_fn(|| rig.nic.receive()).take(50).collect();
    block_on(rig.nic.stop());
    assert_eq!(slots - rig.free(), 50);
    drop(kept);
    assert_eq!(rig.free(), slots);
}

#[test]
fn what_any_queue_dropped_is_counted() {
    let mut rig = rig();
    rig.model.count_missed(7);
    assert_eq!(rig.nic.statistics().missed, 7);
    assert_eq!(rig.nic.statistics().missed, 7);
}

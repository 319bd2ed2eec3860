//! Long frames: jumbo ones, and TCP packets that the device cuts.

use super::*;
use family::{ENABLE, RCTL};
use segments::{packet, verify};
use unikernel::nic::{Mtu, VlanId};

fn jumbo(mtu: u16) -> Rig {
    Rig::of(Settings { mtu: Mtu::new(mtu).unwrap(), ..Settings::default() })
}

#[test]
fn frames_up_to_the_mtu_pass_both_ways_and_no_longer_ones() {
    for mtu in [1500, 2031, 4000, 9216] {
        let mut rig = jumbo(mtu);
        let longest = 14 + usize::from(mtu);
        assert_eq!(rig.nic.capabilities().max_frame, longest);
        // The shorter the rings, the sooner each buffer has its turn.
        let count = if mtu < 2048 { 40 } else { 140 };
        for round in 0..2 {
            for number in 0..count {
                let frame = frame(number, longest - number % 3);
                assert!(rig.model.arrive(&frame), "mtu {mtu} frame {number}");
                assert_eq!(*rig.nic.receive().unwrap(), frame);
                rig.nic.flush();
            }
            for too_long in [longest + 1, 9500, 16_000] {
                rig.model.arrive(&frame(0, too_long));
                assert!(rig.nic.receive().is_none(), "mtu {mtu}: {too_long}");
                rig.nic.flush();
            }
            rig.queue(&frame(1, longest));
            rig.nic.flush();
            assert_eq!(rig.model.take_sent(), [frame(1, longest)]);
            assert_eq!(rig.nic.statistics().received, count as u64 * (round + 1));
            block_on(rig.nic.reset()).unwrap();
        }
    }
}

#[test]
fn in_a_vlan_the_longest_frame_is_longer_by_its_tag() {
    for mtu in [1500, 9000] {
        let settings =
            Settings { vlan: VlanId::new(100), mtu: Mtu::new(mtu).unwrap(), ..Settings::default() };
        let mut rig = Rig::of(settings);
        let frame = frame(1, 14 + usize::from(mtu));
        assert!(rig.model.arrive(&[&frame[..12], &[0x81, 0, 0, 100], &frame[12..]].concat()));
        assert_eq!(*rig.nic.receive().unwrap(), frame, "mtu {mtu}");
    }
}

#[test]
fn every_page_of_a_long_frame_is_marked() {
    let mut rig = jumbo(9000);
    rig.pool.mark_always();
    let mut rig_log = |len| {
        assert!(rig.model.arrive(&frame(0, len)));
        rig.pool.page_log().start();
        let received = rig.nic.receive().unwrap();
        assert_eq!(received.len(), len);
        rig.pool.page_log().take().len()
    };
    // A buffer starts at a page; its refill writes the page of the descriptors, too.
    assert_eq!(rig_log(9014), 3 + 1);
    assert_eq!(rig_log(4097), 2 + 1);
    assert_eq!(rig_log(60), 1 + 1);
}

#[test]
fn the_device_cuts_tcp_packets_into_segments() {
    for (is_ipv4, payload, size) in [
        (true, 3 * 1448 + 100, 1448),
        (true, 2 * 1448, 1448),
        (true, 65536 - 66, 1448),
        (true, 65536 - 66, 8948),
        (true, 1449, 1448),
        (false, 20_000, 1428),
    ] {
        let mut rig = Rig::new();
        let (frame, headers) = packet(is_ipv4, payload);
        // Around it, frames that need another context, or none.
        for _ in 0..3 {
            rig.queue(&super::frame(7, 60));
            rig.queue_segmented(&frame, size);
            rig.queue(&super::frame(8, 61));
        }
        rig.nic.flush();
        let sent = rig.model.take_sent();
        let segments = payload.div_ceil(usize::from(size));
        assert_eq!(sent.len(), 3 * (segments + 2));
        for one in sent.chunks(segments + 2) {
            assert_eq!(one[0], super::frame(7, 60));
            assert_eq!(one[segments + 1], super::frame(8, 61));
            verify(&frame, headers, size.into(), &one[1..=segments]);
        }
        rig.nic.flush();
        assert_eq!(rig.taken(), TAKEN, "all buffers are back");
        assert_eq!(rig.nic.statistics().transmitted, 9);
    }
}

#[test]
fn segments_are_tagged_in_a_vlan() {
    let vlan = VlanId::new(7);
    let mut rig = Rig::of(Settings { vlan, ..Settings::default() });
    let (frame, headers) = packet(true, 5000);
    rig.queue_segmented(&frame, 1448);
    rig.nic.flush();
    let sent = rig.model.take_sent();
    assert!(sent.iter().all(|segment| segment[12..16] == [0x81, 0, 0, 7]));
    let untagged: Vec<_> = sent.iter().map(|s| [&s[..12], &s[16..]].concat()).collect();
    verify(&frame, headers, 1448, &untagged);
}

#[test]
fn a_full_ring_of_long_packets_is_sent_whole() {
    let mut rig = Rig::new();
    rig.model.set_faults(Faults { stalls_transmit: true, ..Faults::default() });
    let (frame, headers) = packet(true, 60_000);
    let queued = rig.fill(|rig, _| rig.queue_segmented(&frame, 1448));
    rig.nic.flush();
    rig.model.transmit();
    let sent = rig.model.take_sent();
    let packets = sent.chunks(60_000_usize.div_ceil(1448));
    assert_eq!(packets.len(), queued);
    packets.for_each(|segments| verify(&frame, headers, 1448, segments));
    rig.nic.flush();
    assert_eq!(rig.taken(), TAKEN);
}

/// Whatever is in the ring before them: one descriptor too many would make it look empty.
#[test]
fn the_longest_packets_never_fill_the_last_descriptor() {
    let (frame, _) = packet(true, 65536 - 66);
    for before in 0..9 {
        let mut rig = Rig::new();
        rig.model.set_faults(Faults { stalls_transmit: true, ..Faults::default() });
        (0..before).for_each(|number| rig.queue(&super::frame(number, 60)));
        let mut expected = before;
        rig.fill(|rig, number| {
            // Each size needs a context of its own.
            let size = [8900, 8948][number % 2];
            rig.queue_segmented(&frame, size);
            expected += (65536_usize - 66).div_ceil(usize::from(size));
        });
        rig.nic.flush();
        rig.model.transmit();
        assert_eq!(rig.model.take_sent().len(), expected, "{before} frames before");
    }
}

#[test]
fn what_cannot_be_cut_is_dropped() {
    let mut rig = Rig::new();
    let (whole, _) = packet(true, 3000);
    let mut udp = whole.clone();
    udp[23] = 17;
    let mut truncated = whole.clone();
    truncated.truncate(2900);
    for frame in [udp, truncated, frame(1, 3000), vec![0; 20]] {
        rig.queue_segmented(&frame, 1448);
    }
    rig.nic.flush();
    assert!(rig.model.take_sent().is_empty());
    assert_eq!(rig.nic.statistics().transmit_dropped, 4);
    assert_ne!(rig.model.register(RCTL) & ENABLE, 0);
}

use super::*;
use core::num::NonZeroU16;
use model::{CSUM, EVENT_IDX, HOST_TSO4, HOST_TSO6, TRANSMIT, USUAL};
use unikernel::nic::Segmentation;

#[test]
fn frames_leave_as_they_were_with_one_notification_a_batch() {
    for offered in [USUAL, USUAL & !EVENT_IDX] {
        let mut rig = Rig::with(Traits { offered, queue_size: 64, ..Traits::default() });
        let taken = rig.taken();
        for batch in 0..4000 {
            let frames = (0..20).map(|n| frame(20 * batch + n, 60 + n));
            frames.clone().for_each(|frame| rig.queue(&frame));
            assert!(rig.model.take_sent().is_empty(), "nothing leaves before the notification");
            rig.nic.flush();
            assert_eq!(rig.model.take_sent(), frames.map(plain).collect::<Vec<_>>());
        }
        rig.nic.flush();
        assert_eq!(rig.model.notified(TRANSMIT), 4000);
        assert_eq!(rig.nic.statistics().transmitted, 80_000);
        assert_eq!(rig.taken(), taken);
    }
}

#[test]
fn a_full_queue_refuses_and_interrupts_when_there_is_room_again() {
    for offered in [USUAL, USUAL & !EVENT_IDX] {
        let stalled = Traits { offered, stalls_transmit: true, ..Traits::default() };
        let mut rig = Rig::with(stalled);
        for round in 0..3 {
            let mut queued = 0;
            while rig.nic.transmit_ready() {
                rig.queue(&frame(queued, 60));
                queued += 1;
            }
            assert_eq!(queued, QUEUE / 2);
            rig.queue(&frame(0, 60));
            assert_eq!(rig.nic.statistics().transmit_dropped, round + 1);
            rig.nic.flush();
            assert!(rig.nic.arm());
            let interrupt = rig.nic.interrupt();
            rig.model.transmit(round == 1);
            assert!(interrupt.take());
            assert!(rig.nic.transmit_ready());
            assert_eq!(rig.model.take_sent().len(), queued);
        }
        rig.nic.flush();
        assert_eq!(rig.taken(), TAKEN);
    }
}

#[test]
fn room_made_while_arming_is_noticed() {
    let mut rig = Rig::with(Traits { stalls_transmit: true, ..Traits::default() });
    while rig.nic.transmit_ready() {
        rig.queue(&frame(0, 60));
    }
    rig.nic.flush();
    rig.model.transmit(false);
    assert!(!rig.nic.arm(), "there is room");
    assert!(rig.nic.transmit_ready());
}

#[test]
fn what_was_sent_does_not_interrupt_unless_somebody_waits_for_room() {
    for offered in [USUAL, USUAL & !EVENT_IDX] {
        let mut rig = Rig::with(Traits { offered, ..Traits::default() });
        assert!(rig.nic.arm());
        let interrupt = rig.nic.interrupt();
        for _ in 0..300 {
            rig.queue(&frame(0, 60));
            rig.nic.flush();
        }
        assert_eq!(rig.model.take_sent().len(), 300);
        assert!(!interrupt.take());
    }
}

#[test]
fn checksums_are_left_to_a_device_that_fills_them_in() {
    let mut rig = Rig::new();
    rig.queue(&datagram());
    rig.queue(&frame(1, 60));
    rig.nic.flush();
    let sent = rig.model.take_sent();
    // NEEDS_CSUM, from byte 34, 6 further on; there, the sum over the pseudo header.
    assert_eq!(sent[0].header, [1, 0, 0, 0, 0, 0, 34, 0, 6, 0, 0, 0]);
    let pseudo: u16 = 0x0a00 + 0x0202 + 0x0a00 + 0x020f + 17 + 12;
    assert_eq!(sent[0].frame[40..42], pseudo.to_be_bytes());
    assert_eq!(sent[1], plain(frame(1, 60)));

    let mut rig = Rig::with(Traits { offered: USUAL & !CSUM, ..Traits::default() });
    rig.queue(&datagram());
    rig.nic.flush();
    // The driver does it: ports, length and payload are part of the sum.
    let whole = pseudo + 0x0102 + 0x0304 + 12 + 0x0102 + 0x0304;
    let mut filled = datagram();
    filled[40..42].copy_from_slice(&(!whole).to_be_bytes());
    assert_eq!(rig.model.take_sent(), [plain(filled)]);
}

#[test]
fn a_long_packet_is_left_whole_for_the_device_to_cut() {
    for offered in [USUAL, USUAL | HOST_TSO4, USUAL | HOST_TSO6] {
        let rig = Rig::with(Traits { offered, ..Traits::default() });
        assert_eq!(rig.nic.capabilities().segmentation, None, "over IPv4 and IPv6, or not at all");
    }
    let mut rig = Rig::with(Traits { offered: USUAL | HOST_TSO4 | HOST_TSO6, ..Traits::default() });
    assert_eq!(rig.nic.capabilities().segmentation, Some(Segmentation { max_frame: 64 << 10 }));
    let len = 14 + 20 + 32 + 20_000;
    let mut packet = frame(1, len);
    packet[12..24].copy_from_slice(&[8, 0, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, 6]);
    packet[16..18].copy_from_slice(&(len as u16 - 14).to_be_bytes());
    packet[26..34].copy_from_slice(&[10, 0, 2, 15, 10, 0, 2, 2]);
    // 32 bytes of TCP header.
    packet[46] = 8 << 4;
    let send = |rig: &mut Rig, frame: &[u8]| {
        let mut buffer = rig.pool.transmit_buffer_of(len).unwrap();
        buffer[..frame.len()].copy_from_slice(frame);
        rig.nic.transmit(buffer, frame.len(), NonZeroU16::new(1448));
        rig.nic.flush();
        rig.model.take_sent()
    };
    let sent = send(&mut rig, &packet);
    // NEEDS_CSUM, TCP over IPv4, 66 bytes of headers, 1448 of payload, from byte 34, 16 further on.
    assert_eq!(sent[0].header, [1, 1, 66, 0, 0xa8, 0x05, 34, 0, 16, 0, 0, 0]);
    let pseudo = 0x0a00 + 0x0202 + 0x0a00 + 0x020f + 6 + (len as u32 - 34);
    assert_eq!(sent[0].frame[50..52], (pseudo as u16).to_be_bytes());
    packet[50..52].copy_from_slice(&sent[0].frame[50..52]);
    assert!(sent[0].frame == packet, "the rest is as it was");
    // What is no TCP packet cannot be cut.
    assert!(send(&mut rig, &frame(2, len)).is_empty());
    assert_eq!(rig.nic.statistics().transmit_dropped, 1);
}

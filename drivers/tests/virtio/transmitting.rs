use super::*;
use model::{CSUM, EVENT_IDX, TRANSMIT, USUAL};

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
    assert_eq!(rig.model.take_sent(), [plain(datagram())]);
}

#[test]
fn a_frame_longer_than_a_frame_may_be_is_dropped() {
    let mut rig = Rig::new();
    for len in [1515, 2048, 2049, usize::MAX] {
        let buffer = rig.pool.transmit_buffer().unwrap();
        rig.nic.transmit(buffer, len, None);
    }
    rig.queue(&frame(0, 1514));
    rig.nic.flush();
    assert_eq!(rig.model.take_sent().len(), 1);
    assert_eq!(rig.nic.statistics().transmit_dropped, 4);
}

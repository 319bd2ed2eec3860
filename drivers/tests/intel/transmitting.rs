use super::*;
use family::TDT;

/// Descriptors that the longest frame takes: a context, and 64 KiB in pieces of 8 KiB.
const MOST: usize = 1 + 8;

#[test]
fn frames_leave_as_they_were_with_one_doorbell_and_one_report_a_batch() {
    let mut rig = Rig::new();
    for batch in 0..100 {
        for number in 0..20 {
            rig.queue(&frame(20 * batch + number, 60 + number));
        }
        assert!(rig.model.take_sent().is_empty(), "nothing leaves before the doorbell");
        rig.nic.flush();
        let sent = rig.model.take_sent();
        let expected: Vec<_> = (0..20).map(|n| frame(20 * batch + n, 60 + n)).collect();
        assert_eq!(sent, expected);
    }
    rig.nic.flush();
    // One for each batch, and one for each 32nd descriptor.
    assert!((100..=100 + 2000 / 32).contains(&rig.model.reports()), "{}", rig.model.reports());
    let statistics = rig.nic.statistics();
    assert_eq!((statistics.transmitted, statistics.transmit_dropped), (2000, 0));
    assert_eq!(rig.taken(), TAKEN, "all buffers are back");
}

#[test]
fn reports_are_marked_also_beyond_the_end_of_the_ring() {
    let mut rig = Rig::with(POOL, Policy::Always, family::OFFERS[0]);
    for number in 0..RING - 5 {
        rig.queue(&frame(number, 60));
        rig.nic.flush();
    }
    rig.model.set_faults(Faults { stalls_transmit: true, ..Faults::default() });
    for number in 0..10 {
        rig.queue(&frame(number, 60));
    }
    rig.nic.flush();
    rig.model.transmit();
    rig.pool.page_log().start();
    rig.nic.flush();
    assert_eq!(rig.pool.page_log().take().len(), 2, "the last page of the ring and the first");
}

#[test]
fn a_full_ring_refuses_and_interrupts_when_there_is_room_again() {
    // Whether the driver's interrupts are off when it fills up, or on.
    for armed in [false, true] {
        let mut rig = Rig::new();
        rig.model.set_faults(Faults { stalls_transmit: true, ..Faults::default() });
        assert!(!armed || rig.nic.arm());
        let queued = rig.fill(|rig, number| rig.queue(&frame(number, 60)));
        assert!((RING - MOST..RING).contains(&queued), "{queued}");
        rig.queue(&frame(0, 60));
        assert_eq!(rig.nic.statistics().transmit_dropped, 1);
        rig.nic.flush();
        assert_eq!(rig.model.register(TDT) as usize, queued);
        assert!(rig.nic.arm());
        let interrupt = rig.nic.interrupt();
        rig.model.transmit();
        assert!(interrupt.take());
        assert!(rig.nic.transmit_ready());
        assert_eq!(rig.model.take_sent().len(), queued);
        rig.nic.flush();
        assert_eq!(rig.taken(), TAKEN);
    }
}

#[test]
fn room_made_while_arming_is_noticed() {
    let mut rig = Rig::new();
    rig.model.set_faults(Faults { stalls_transmit: true, ..Faults::default() });
    rig.fill(|rig, number| rig.queue(&frame(number, 60)));
    rig.nic.flush();
    rig.model.transmit();
    assert!(!rig.nic.arm(), "there is room");
    assert!(rig.nic.transmit_ready());
}

#[test]
fn completions_do_not_interrupt_unless_somebody_waits_for_room() {
    let mut rig = Rig::new();
    assert!(rig.nic.arm());
    let interrupt = rig.nic.interrupt();
    rig.queue(&frame(0, 60));
    rig.nic.flush();
    assert_eq!(rig.model.take_sent().len(), 1);
    assert!(!interrupt.take());
}

const TCP: u8 = 6;
const UDP: u8 = 17;

/// An IPv4 packet with garbage for a checksum.
fn packet(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let header = if protocol == TCP { 20 } else { 8 };
    let len = header + payload.len();
    let mut frame = vec![0xde; 14 + 20 + header];
    frame[12..24].copy_from_slice(&[8, 0, 0x45, 0, 0, 20 + len as u8, 0, 0, 0, 0, 64, protocol]);
    frame[24..34].copy_from_slice(&[0, 0, 10, 0, 2, 15, 10, 0, 2, 2]);
    if protocol == UDP {
        frame[38..40].copy_from_slice(&(len as u16).to_be_bytes());
    }
    frame.extend(payload);
    frame
}

/// What a receiver does: RFC 1071 over pseudo header and packet.
fn has_right_checksum(frame: &[u8]) -> bool {
    let pseudo: u32 = 0x0a00 + 0x020f + 0x0a00 + 0x0202;
    let pseudo = pseudo + u32::from(frame[23]) + (frame.len() as u32 - 34);
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    let sum = pseudo + frame[34..].chunks(2).map(word).sum::<u32>();
    (sum & 0xffff) + (sum >> 16) == 0xffff
}

#[test]
fn transport_checksums_are_filled_in_by_the_device() {
    let mut rig = Rig::new();
    // Between frames of another kind, which leave the device's context as it is.
    for payload in [&b"odd"[..], b"even", &[0xff; 100]] {
        for protocol in [TCP, UDP, UDP] {
            rig.queue(&packet(protocol, payload));
            rig.queue(&frame(1, 60));
        }
    }
    rig.nic.flush();
    let sent = rig.model.take_sent();
    assert_eq!(sent.len(), 18);
    assert!(sent.iter().step_by(2).all(|frame| has_right_checksum(frame)));
    assert!(sent.iter().skip(1).step_by(2).all(|sent| *sent == frame(1, 60)));
}

#[test]
fn a_ring_full_of_frames_with_contexts_is_sent_whole() {
    let mut rig = Rig::new();
    rig.model.set_faults(Faults { stalls_transmit: true, ..Faults::default() });
    // Each needs a context of its own.
    let one = |number| packet(if number % 2 == 0 { TCP } else { UDP }, &[number as u8]);
    let queued = rig.fill(|rig, number| rig.queue(&one(number)));
    assert!(((RING - MOST) / 2..RING / 2).contains(&queued), "{queued}");
    rig.nic.flush();
    rig.model.transmit();
    let sent = rig.model.take_sent();
    assert_eq!(sent.len(), queued);
    assert!(sent.iter().all(|frame| has_right_checksum(frame)));
}

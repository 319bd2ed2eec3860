use super::*;
use crate::{checksum, packet};

const ADVANCED: u64 = 1 << 29;
const DATA: u64 = ADVANCED | 3 << 20;
const CONTEXT: u64 = ADVANCED | 2 << 20;
const END: u64 = 1 << 24;
const REPORT: u64 = 1 << 27;

impl Bench {
    fn transmitter() -> Self {
        let mut bench = Self::new();
        bench.set(reg::DMATXCTL, reg::DMATXCTL_ENABLE);
        bench.ring(|register| reg::tx(5, register), 0);
        bench
    }

    /// Rings the doorbell for descriptors with these contents.
    fn send(&mut self, descriptors: &[[u64; 2]]) {
        for (index, &descriptor) in descriptors.iter().enumerate() {
            self.put(RING + 16 * index as u64, descriptor);
        }
        self.device.write(reg::tx(5, reg::TAIL), descriptors.len() as u32);
    }

    fn done(&self, index: u64) -> bool {
        self.device.host.memory.descriptor(RING + 16 * index).unwrap()[1] >> 32 & 1 != 0
    }

    /// Puts bytes into memory.
    fn load(&self, bytes: &[u8]) -> u64 {
        self.device.host.memory.write(BUFFERS, bytes).unwrap();
        BUFFERS
    }
}

/// A context for TCP over IPv4.
fn tcp_v4(mss: u64) -> [u64; 2] {
    [20 | 14 << 9 | 0x2007 << 16, CONTEXT | 1 << 10 | 1 << 11 | 20 << 40 | mss << 48]
}

#[test]
fn parts_make_a_frame_and_only_asked_for_status_is_reported() {
    let mut bench = Bench::transmitter();
    let frame: Vec<u8> = (0..100).collect();
    let at = bench.load(&frame);
    bench.send(&[[at, DATA | 30], [at + 30, DATA | 70 | END | REPORT]]);
    assert_eq!(bench.frames(), [frame]);
    assert!(!bench.done(0) && bench.done(1));
    assert_eq!(bench.device.read(reg::tx(5, reg::HEAD)), 2);
    assert_eq!(bench.device.read(reg::GPTC), 1);
}

#[test]
fn a_packet_may_come_by_two_doorbells() {
    let mut bench = Bench::transmitter();
    let frame: Vec<u8> = (0..100).collect();
    let at = bench.load(&frame);
    bench.put(RING, [at, DATA | 30]);
    bench.put(RING + 16, [at + 30, DATA | 70 | END]);
    bench.device.write(reg::tx(5, reg::TAIL), 1);
    assert_eq!(bench.frames(), Vec::<Vec<u8>>::new());
    bench.device.write(reg::tx(5, reg::TAIL), 2);
    assert_eq!(bench.frames(), [frame]);
}

#[test]
fn short_frames_are_padded() {
    let mut bench = Bench::transmitter();
    let at = bench.load(&[1; 42]);
    bench.send(&[[at, DATA | 42 | END]]);
    let frames = bench.frames();
    assert_eq!((frames[0].len(), frames[0][41], frames[0][42]), (60, 1, 0));
}

#[test]
fn segments_with_tags_and_right_checksums() {
    let mut bench = Bench::transmitter();
    let payload: Vec<u8> = (0..2500u32).map(|n| n as u8).collect();
    let mut packet = samples::tcp_v4(&payload);
    let sum = checksum::pseudo_header(&packet, (packet::Network::V4 { options: false }, 14), 6);
    packet[50..52].copy_from_slice(&checksum::fold(sum).to_be_bytes());
    let at = bench.load(&packet);
    let command = END | REPORT | 1 << 31 | 1 << 30 | 3 << 40 | (payload.len() as u64) << 46;
    bench.send(&[tcp_v4(1000), [at, DATA | command | packet.len() as u64]]);
    let frames = bench.frames();
    assert_eq!(frames.len(), 3);
    let mut seen = Vec::new();
    for frame in &frames {
        let parsed = packet::parse(frame);
        assert_eq!(parsed.vlan, Some(0x2007));
        assert_eq!(checksum::transport_is_right(frame, &parsed), Some(true));
        seen.extend_from_slice(&frame[58..]);
    }
    assert_eq!(seen, payload);
    assert!(bench.done(1));
}

#[test]
fn contexts_stay_and_there_are_two() {
    let mut bench = Bench::transmitter();
    let mut other = tcp_v4(0);
    other[0] = other[0] & !(0xFFFF << 16) | 9 << 16;
    other[1] |= 1 << 36;
    let at = bench.load(&[1; 60]);
    let tagged = DATA | END | 1 << 30 | 60;
    bench.send(&[tcp_v4(0), other, [at, tagged], [at, tagged | 1 << 36], [at, tagged]]);
    let tags: Vec<u16> = bench.frames().iter().map(|frame| packet::be16(frame, 14)).collect();
    assert_eq!(tags, [0x2007, 9, 0x2007]);
}

#[test]
fn the_head_is_written_back_where_the_driver_says() {
    let mut bench = Bench::transmitter();
    bench.device.write(reg::tx(5, reg::TDWBAL), 0x8000 | reg::TDWBAL_ENABLE);
    let at = bench.load(&[1; 60]);
    bench.send(&[[at, DATA | 60 | END | REPORT], [at, DATA | 60 | END | REPORT]]);
    assert_eq!(bench.bytes(0x8000, 4), [2, 0, 0, 0]);
    assert!(!bench.done(0) && !bench.done(1));
}

#[test]
fn legacy_descriptors() {
    let mut bench = Bench::transmitter();
    let at = bench.load(&[1; 60]);
    // VLE, RS, EOP; tag 7.
    bench.send(&[[at, 60 | END | REPORT | 1 << 30 | 7 << 48]]);
    let frames = bench.frames();
    assert_eq!(frames[0][12..16], [0x81, 0, 0, 7]);
    assert!(bench.done(0));
}

#[test]
fn a_wire_without_room_holds_the_queue_and_nothing_is_lost() {
    let mut bench = Bench::transmitter();
    let at = bench.load(&[7; 1514]);
    let mut sent = 0u64;
    // Until the socket and the device's own buffer are full.
    let mut tail = 0;
    while bench.device.transmit.held.is_empty() {
        bench.put(RING + 16 * u64::from(tail), [at, DATA | 1514 | END]);
        tail = (tail + 1) % DESCRIPTORS;
        bench.device.write(reg::tx(5, reg::TAIL), tail);
        sent += 1;
        assert!(sent < 100_000, "no queue was held");
    }
    let mut got = 0;
    while got < sent {
        let mut frame = [0; 1518];
        bench.peer.read_exact(&mut frame).unwrap();
        got += 1;
        bench.device.resume();
        bench.device.settle(Instant::now());
    }
    assert!(bench.device.transmit.held.is_empty());
}

#[test]
fn nonsense_sends_nothing_and_goes_on() {
    let mut bench = Bench::transmitter();
    let at = bench.load(&[1; 60]);
    bench.send(&[
        tcp_v4(0),
        // Segmentation without a segment size, and a packet shorter than its headers.
        [at, DATA | 60 | END | 1 << 31],
        [at, DATA | 20 | END | 3 << 40],
        [at, ADVANCED | 7 << 20],
        [at, DATA | 60 | END],
    ]);
    assert_eq!(bench.frames().len(), 1);
    assert_eq!(bench.device.transmit.malformed, 3);
    bench.device.write(reg::tx(5, reg::TAIL), 0xFFFF);
    assert_eq!(bench.device.read(reg::tx(5, reg::HEAD)), 5, "the tail was beyond the ring");
}

#[test]
fn in_loopback_frames_come_back_and_the_wire_sees_none() {
    let mut bench = Bench::transmitter();
    bench.set(reg::HLREG0, reg::HLREG0_LOOPBACK);
    bench.device.write(reg::FCTRL, reg::FCTRL_BROADCAST);
    bench.device.write(reg::RXCTRL, reg::RXCTRL_ENABLE);
    bench.set(reg::RDRXCTL, reg::RDRXCTL_CRC_STRIP);
    bench.device.write(reg::rx(0, reg::SRRCTL), 1 << 25 | 2);
    bench.ring(|register| reg::rx(0, register), 0x1000);
    bench.put(RING + 0x1000, [BUFFERS + BUFFER, 0]);
    bench.device.write(reg::rx(0, reg::TAIL), 1);
    let at = bench.load(&[0xFF; 100]);
    bench.send(&[[at, DATA | 100 | END]]);
    assert_eq!(bench.bytes(BUFFERS + BUFFER, 100), [0xFF; 100]);
    assert_eq!(bench.frames().len(), 0);
    // Without a link nothing comes back.
    bench.device.plug(false);
    bench.device.write(reg::rx(0, reg::TAIL), 2);
    bench.put(RING + 16, [at, DATA | 100 | END]);
    bench.device.write(reg::tx(5, reg::TAIL), 2);
    assert_eq!(bench.device.read(reg::tx(5, reg::HEAD)), 2);
    assert_eq!(bench.device.read(reg::rx(0, reg::HEAD)), 1);
}

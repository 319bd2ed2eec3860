use super::*;
use crate::{fault::Fault, memory::Pages};

const DONE: u64 = 1;
const END: u64 = 2;

impl Bench {
    /// Queue 0 has `count` descriptors and takes everything.
    fn receiver(count: u32) -> Self {
        let mut bench = Self::new();
        bench.start_receiving(count);
        bench
    }

    fn start_receiving(&mut self, count: u32) {
        self.device.write(reg::FCTRL, reg::FCTRL_BROADCAST | reg::FCTRL_UNICAST_PROMISCUOUS);
        self.set(reg::RDRXCTL, reg::RDRXCTL_CRC_STRIP);
        // Advanced descriptors with one buffer of 2 KiB.
        self.device.write(reg::rx(0, reg::SRRCTL), 1 << 25 | 2);
        self.device.write(reg::RXCTRL, reg::RXCTRL_ENABLE);
        self.ring(|register| reg::rx(0, register), 0);
        for index in 0..DESCRIPTORS.into() {
            self.put(RING + 16 * index, [BUFFERS + BUFFER * index, 0]);
        }
        self.device.write(reg::rx(0, reg::TAIL), count);
    }

    fn written_back(&self, index: u64) -> [u64; 2] {
        self.device.host.memory.descriptor(RING + 16 * index).unwrap()
    }

    fn length(&self, index: u64) -> u64 {
        self.written_back(index)[1] >> 32 & 0xFFFF
    }
}

#[test]
fn a_frame_lands_in_its_buffer_with_what_was_found() {
    let mut bench = Bench::receiver(4);
    let frame = samples::tcp_v4(b"hello, this is longer than the shortest frame");
    bench.device.received(&frame);
    assert_eq!(bench.bytes(BUFFERS, frame.len()), frame);
    let [low, high] = bench.written_back(0);
    // IPv4 and TCP, both checksums right.
    assert_eq!(low >> 4 & 0x1FFF, 0x11);
    assert_eq!(high & 0xFFFF_FFFF, DONE | END | 1 << 5 | 1 << 6);
    assert_eq!(bench.length(0), frame.len() as u64);
    assert_eq!(bench.device.read(reg::rx(0, reg::HEAD)), 1);
    assert_eq!(bench.device.read(reg::GPRC), 1);
    assert_eq!(bench.device.read(reg::GPRC), 0, "cleared by reading");
}

#[test]
fn wrong_checksums_are_reported() {
    let mut bench = Bench::receiver(4);
    let mut frame = samples::tcp_v4(b"hello, this is longer than the shortest frame");
    frame[24] ^= 1;
    *frame.last_mut().unwrap() ^= 1;
    bench.device.received(&frame);
    let status = bench.written_back(0)[1];
    assert_eq!(status >> 30 & 3, 3, "{status:#x}");
}

#[test]
fn every_page_written_is_recorded_and_no_other() {
    let mut bench = Bench::receiver(3);
    bench.device.host.memory.start_record();
    for _ in 0..3 {
        bench.device.received(&samples::tcp_v4(&[7; 1000]));
    }
    let expected = [Pages { iova: RING, pages: 1 }, Pages { iova: BUFFERS, pages: 2 }];
    assert_eq!(bench.device.host.memory.record(), expected);
}

#[test]
fn long_frames_are_chained() {
    let mut bench = Bench::receiver(4);
    bench.set(reg::HLREG0, reg::HLREG0_JUMBO);
    bench.device.write(reg::MAXFRS, 9018 << 16);
    let frame = samples::tcp_v4(&[9; 4960]);
    bench.device.received(&frame);
    let parts: Vec<u8> = (0..3)
        .flat_map(|index| bench.bytes(BUFFERS + BUFFER * index, bench.length(index) as usize))
        .collect();
    assert_eq!(parts, frame);
    let ends = [0, 1, 2].map(|index| bench.written_back(index)[1] & 3);
    assert_eq!(ends, [DONE, DONE, DONE | END]);
}

#[test]
fn too_long_a_frame_is_dropped() {
    let mut bench = Bench::receiver(4);
    bench.device.received(&[0xFF; 1515]);
    assert_eq!(bench.device.read(reg::ROC), 1);
    bench.device.received(&[0xFF; 1514]);
    assert_eq!(bench.device.read(reg::ROC), 0);
    assert_eq!(bench.device.read(reg::rx(0, reg::HEAD)), 1);
}

#[test]
fn frames_wait_for_descriptors_in_order() {
    let mut bench = Bench::receiver(1);
    for number in 0..3 {
        bench.device.received(&[number << 1; 60]);
    }
    assert_eq!(bench.device.read(reg::rx(0, reg::HEAD)), 1);
    bench.device.write(reg::rx(0, reg::TAIL), 4);
    assert_eq!(bench.device.read(reg::rx(0, reg::HEAD)), 3);
    for number in 0..3u8 {
        assert_eq!(bench.bytes(BUFFERS + BUFFER * u64::from(number), 1), [number << 1]);
    }
}

#[test]
fn a_full_buffer_misses_frames_and_flow_control_prevents_it() {
    let mut bench = Bench::receiver(0);
    for _ in 0..400 {
        bench.device.received(&[0; 1514]);
    }
    assert_eq!(bench.device.read(reg::MPC0), 400 - (512 << 10) / 1514);
    assert!(bench.device.settle(Instant::now()).readable);
    bench.device.write(reg::FCCFG, reg::FCCFG_TRANSMIT_LINK);
    bench.device.write(reg::FCRTH0, reg::FCRTH_ENABLE | 256 << 10);
    assert!(!bench.device.settle(Instant::now()).readable);
}

#[test]
fn tags_are_stripped() {
    let mut bench = Bench::receiver(4);
    bench.set(reg::rx(0, reg::DCTL), reg::RXDCTL_VLAN_STRIP);
    let plain = samples::tcp_v4(b"hello, this is longer than the shortest frame");
    let mut tagged = plain.clone();
    tagged.splice(12..12, [0x81, 0, 0x20, 7]);
    bench.device.received(&tagged);
    let high = bench.written_back(0)[1];
    assert_eq!((high >> 48, high >> 3 & 1), (0x2007, 1));
    assert_eq!(bench.bytes(BUFFERS, plain.len()), plain);
    assert_eq!(bench.length(0), plain.len() as u64);
}

#[test]
fn nothing_is_written_without_bus_mastering_or_after_a_reset() {
    let mut bench = Bench::receiver(4);
    bench.device.host.memory.start_record();
    bench.device.host.bus_master = false;
    bench.device.received(&[0xFF; 60]);
    bench.device.host.bus_master = true;
    bench.device.write(reg::CTRL, reg::CTRL_RST);
    bench.device.received(&[0xFF; 60]);
    assert_eq!(bench.device.host.memory.record(), []);
}

#[test]
fn descriptors_that_point_nowhere_are_counted() {
    let mut bench = Bench::receiver(4);
    bench.put(RING, [MEMORY + 0x1000, 0]);
    bench.device.received(&[0xFF; 60]);
    assert_eq!(bench.device.host.bad_addresses, 1);
    assert_eq!(bench.written_back(0)[1], 0);
}

#[test]
fn misbehaviour_is_what_was_ordered() {
    let frame = [0xFF; 100];
    let with = |fault| {
        let mut bench = Bench::receiver(4);
        bench.device.receive.faults.add(fault, 1);
        bench.device.received(&frame);
        bench
    };
    assert_eq!(with(Fault::Truncated).length(0), 1);
    assert_eq!(with(Fault::Oversized).length(0), 0xFFFF);
    assert_eq!(with(Fault::Endless).written_back(0)[1] & 3, DONE);
    let bench = with(Fault::OutOfRange);
    assert_eq!((bench.written_back(0)[1], bench.written_back(4)[1] & 3), (0, DONE | END));
    let mut bench = with(Fault::Death);
    assert_eq!(bench.bytes(BUFFERS, 100), [[0xFF; 50], [0; 50]].concat());
    assert_eq!(bench.device.read(reg::STATUS), u32::MAX);
    // The next frame is treated well.
    let mut bench = with(Fault::Truncated);
    bench.device.received(&frame);
    assert_eq!(bench.length(1), 100);
}

#[test]
fn a_reset_drops_frames_that_wait_and_keeps_what_was_ordered() {
    let mut bench = Bench::receiver(0);
    bench.device.receive.faults.add(Fault::Truncated, 1);
    bench.device.received(&[0xFF; 60]);
    bench.device.write(reg::CTRL, reg::CTRL_RST);
    bench.start_receiving(4);
    assert_eq!(bench.device.read(reg::rx(0, reg::HEAD)), 0, "the frame is gone");
    bench.device.received(&[0xFF; 100]);
    assert_eq!(bench.length(0), 1, "truncated");
}

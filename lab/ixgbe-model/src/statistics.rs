//! Counters (datasheet 8.2.3.23): the device adds to these registers, and reading clears them.

use crate::{register_file::Registers, registers as reg};

/// Bytes of the check sequence. The byte counters include it.
const FCS: usize = 4;

/// Whether reading a register clears it.
pub(crate) fn clears_on_read(offset: u32) -> bool {
    let of_a_queue = |first: u32, stride: u32| {
        (first..first + reg::QUEUE_COUNTERS * stride).contains(&offset)
            && (offset - first).is_multiple_of(stride)
    };
    (reg::STATISTICS..reg::STATISTICS_END).contains(&offset)
        || (reg::MPC0..reg::MPC0 + 0x20).contains(&offset)
        || (0x0_3F60..=0x0_3F68).contains(&offset)
        || (reg::QBTC_LOW..reg::QBTC_LOW + reg::QUEUE_COUNTERS * 8).contains(&offset)
        || [reg::QPRC, reg::QBRC_LOW, reg::QBRC_LOW + 4, reg::QPRDC, reg::QPTC]
            .into_iter()
            .any(|first| of_a_queue(first, reg::QUEUE_STRIDE))
}

/// Which way a frame went.
#[derive(Clone, Copy)]
pub(crate) enum Way {
    Received,
    Sent,
}

/// Counts a good frame of a queue. `frame` is without its check sequence.
pub(crate) fn frame(registers: &mut Registers, way: Way, queue: usize, frame: &[u8]) {
    let bytes = frame.len() + FCS;
    // By size: 64, 65 to 127, 128 to 255, 256 to 511, 512 to 1023, and more.
    let size = match bytes {
        0..=64 => 0,
        65..=127 => 1,
        128..=255 => 2,
        256..=511 => 3,
        512..=1023 => 4,
        _ => 5,
    };
    let (sizes, good, octets, broadcast, multicast) = match way {
        Way::Received => (reg::PRC64, reg::GPRC, reg::GORCL, reg::BPRC, reg::MPRC),
        Way::Sent => (reg::PTC64, reg::GPTC, reg::GOTCL, reg::BPTC, reg::MPTC),
    };
    registers.count(sizes + 4 * size, 1);
    registers.count(good, 1);
    registers.count_wide(octets, bytes as u64);
    match way {
        Way::Received => {
            registers.count(reg::TPR, 1);
            registers.count_wide(reg::TORL, bytes as u64);
        }
        Way::Sent => registers.count(reg::TPT, 1),
    }
    if frame.starts_with(&[0xFF; 6]) {
        registers.count(broadcast, 1);
    } else if frame.first().is_some_and(|byte| byte & 1 != 0) {
        registers.count(multicast, 1);
    }
    let map = match way {
        Way::Received => reg::RQSMR,
        Way::Sent => reg::TQSM,
    };
    let counter = counter_of(registers, map, queue);
    match way {
        Way::Received => {
            registers.count(reg::QPRC + counter * reg::QUEUE_STRIDE, 1);
            registers.count_wide(reg::QBRC_LOW + counter * reg::QUEUE_STRIDE, bytes as u64);
        }
        Way::Sent => {
            registers.count(reg::QPTC + counter * reg::QUEUE_STRIDE, 1);
            registers.count_wide(reg::QBTC_LOW + counter * 8, bytes as u64);
        }
    }
}

/// Counts a frame that found no descriptor in its queue and no room to wait.
pub(crate) fn missed(registers: &mut Registers, queue: usize) {
    registers.count(reg::MPC0, 1);
    let counter = counter_of(registers, reg::RQSMR, queue);
    registers.count(reg::QPRDC + counter * reg::QUEUE_STRIDE, 1);
}

/// Which of the 16 counters a queue has: four queues to a register, a byte each (8.2.3.23).
fn counter_of(registers: &Registers, map: u32, queue: usize) -> u32 {
    let queue = queue as u32;
    registers.get(map + queue / 4 * 4) >> (queue % 4 * 8) & 0xF
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_counted_everywhere() {
        let mut registers = Registers::new();
        registers.set(reg::RQSMR, 3 << 16);
        frame(&mut registers, Way::Received, 2, &[0xFF; 1514]);
        for offset in [reg::GPRC, reg::BPRC, reg::TPR, reg::PRC64 + 20, reg::QPRC + 3 * 0x40] {
            assert_eq!(registers.get(offset), 1, "{offset:#x}");
            assert!(clears_on_read(offset), "{offset:#x}");
        }
        assert_eq!(registers.get(reg::GORCL), 1518);
        assert_eq!(registers.get(reg::MPRC), 0);
        assert!(!clears_on_read(reg::rx(0, reg::TAIL)));
    }

    #[test]
    fn bytes_carry() {
        let mut registers = Registers::new();
        registers.set(reg::GOTCL, u32::MAX);
        frame(&mut registers, Way::Sent, 0, &[0; 60]);
        assert_eq!((registers.get(reg::GOTCL), registers.get(reg::GOTCL + 4)), (63, 1));
    }
}

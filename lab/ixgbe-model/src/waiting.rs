//! What reception keeps between frames.

use std::collections::VecDeque;

use crate::{bank::Registers, registers as reg, rss};

/// Frames that wait for descriptors.
#[derive(Default)]
pub(crate) struct Receive {
    pub(crate) waiting: VecDeque<Vec<u8>>,
    pub(crate) bytes: usize,
}

impl Receive {
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }

    /// Whether the driver enabled link flow control and the buffer is above the threshold: then the
    /// peer has to wait, as a switch does that was sent PAUSE (3.7.7).
    pub(crate) fn is_paused(&self, registers: &Registers) -> bool {
        let threshold = registers.get(reg::FCRTH0);
        registers.get(reg::FCCFG) & reg::FCCFG_TRANSMIT_LINK != 0
            && threshold & reg::FCRTH_ENABLE != 0
            && self.bytes > (threshold & 0x7FFE0) as usize
    }

    /// Says what a queue that was just enabled asks for and this model has not.
    pub(crate) fn check(&self, registers: &Registers, queue: usize) {
        let kind = registers.get(reg::rx(queue, reg::SRRCTL)) >> 25 & 7;
        if kind != 1 {
            log::error!(
                "receive queue {queue} asks for descriptor type {kind}; the model has advanced \
                 descriptors with one buffer (1) only, and receives nothing on this queue"
            );
        }
        let mrqc = registers.get(reg::MRQC);
        if !rss::mode_is_modelled(mrqc) {
            log::error!("MRQC {mrqc:#x} asks for more than RSS; all frames go to queue 0");
        }
    }
}

//! Rings of descriptors.

use crate::{bank::Registers, registers as reg};

/// Bytes of a descriptor.
pub(crate) const DESCRIPTOR: u64 = 16;

/// A descriptor ring as its registers describe it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ring {
    pub(crate) base: u64,
    pub(crate) count: u32,
    pub(crate) head: u32,
    pub(crate) tail: u32,
}

impl Ring {
    pub(crate) fn receive(registers: &Registers, queue: usize) -> Option<Self> {
        Self::new(registers, |register| reg::rx(queue, register))
    }

    pub(crate) fn transmit(registers: &Registers, queue: usize) -> Option<Self> {
        Self::new(registers, |register| reg::tx(queue, register))
    }

    /// `None` when head or tail lie outside: what hardware does then is not defined, here the queue
    /// stands still.
    fn new(registers: &Registers, offset: impl Fn(u32) -> u32) -> Option<Self> {
        let get = |register| registers.get(offset(register));
        let ring = Self {
            // Aligned to 128 bytes (8.2.3.8).
            base: registers.address(offset(reg::BAL)) & !0x7F,
            count: (get(reg::LEN) & 0xF_FF80) / DESCRIPTOR as u32,
            head: get(reg::HEAD) & 0xFFFF,
            tail: get(reg::TAIL) & 0xFFFF,
        };
        (ring.head < ring.count && ring.tail < ring.count).then_some(ring)
    }

    /// Descriptors that are the device's: from head up to, and without, tail.
    pub(crate) fn available(&self) -> usize {
        ((self.tail + self.count - self.head) % self.count) as usize
    }

    pub(crate) fn next(&self, index: u32) -> u32 {
        (index + 1) % self.count
    }
}

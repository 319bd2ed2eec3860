//! Rings of descriptors, as the registers of a queue describe them (datasheet 8.2.3.8, 8.2.3.9).

use crate::{register_file::Registers, registers as reg};

/// Bytes of a descriptor.
const DESCRIPTOR: u64 = 16;

/// A ring in the guest's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ring {
    base: u64,
    count: u32,
    pub(crate) head: u32,
    pub(crate) tail: u32,
}

impl Ring {
    /// The ring of a receive queue.
    pub(crate) fn receive(registers: &Registers, queue: usize) -> Option<Self> {
        Self::new(registers, |register| reg::rx(queue, register))
    }

    /// The ring of a transmit queue.
    pub(crate) fn transmit(registers: &Registers, queue: usize) -> Option<Self> {
        Self::new(registers, |register| reg::tx(queue, register))
    }

    /// `None` when head or tail lie outside of the ring. It is not defined what hardware does then;
    /// here the queue stands still.
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

    /// Address of a descriptor.
    pub(crate) fn address(&self, index: u32) -> u64 {
        // A driver may put a ring at the end of the address space, where there is no memory: the
        // access finds that out.
        self.base.wrapping_add(u64::from(index) * DESCRIPTOR)
    }

    /// How many descriptors are the device's: from head on, up to but not including tail.
    pub(crate) fn available(&self) -> usize {
        ((self.tail + self.count - self.head) % self.count) as usize
    }

    /// The descriptor after this one.
    pub(crate) fn next(&self, index: u32) -> u32 {
        (index + 1) % self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ring of receive queue 0 at `base` with eight descriptors.
    fn ring(base: u64, head: u32, tail: u32) -> Option<Ring> {
        let mut registers = Registers::new();
        for (register, value) in [
            (reg::BAL, base as u32),
            (reg::BAL + 4, (base >> 32) as u32),
            (reg::LEN, 8 * DESCRIPTOR as u32),
            (reg::HEAD, head),
            (reg::TAIL, tail),
        ] {
            registers.set(reg::rx(0, register), value);
        }
        Ring::receive(&registers, 0)
    }

    #[test]
    fn from_head_to_tail_and_around() {
        let ring = ring(0x1_0000_0080, 6, 1).unwrap();
        assert_eq!(ring.available(), 3);
        assert_eq!((ring.next(6), ring.next(7)), (7, 0));
        assert_eq!(ring.address(7), 0x1_0000_00F0);
    }

    #[test]
    fn nonsense_is_no_ring_or_leads_nowhere() {
        assert_eq!(ring(0, 8, 0), None);
        assert_eq!(ring(0, 0, 8), None);
        let last = ring(u64::MAX, 7, 0).unwrap();
        assert_eq!(last.address(8), 0);
    }
}

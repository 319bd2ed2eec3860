//! The registers as memory. What else reading and writing them does is in `device`.

use crate::registers as reg;

/// The value of every register, including those that mean nothing to the model.
pub(crate) struct Registers(Vec<u32>);

impl Registers {
    pub(crate) fn new() -> Self {
        Self(vec![0; reg::BAR0_SIZE as usize / 4])
    }

    pub(crate) fn get(&self, offset: u32) -> u32 {
        self.0[offset as usize / 4]
    }

    pub(crate) fn set(&mut self, offset: u32, value: u32) {
        self.0[offset as usize / 4] = value;
    }

    /// A 64-bit address in two registers.
    pub(crate) fn address(&self, low: u32) -> u64 {
        u64::from(self.get(low + 4)) << 32 | u64::from(self.get(low))
    }

    /// Adds to a counter, which stops at its maximum (8.2.3.23).
    pub(crate) fn count(&mut self, offset: u32, add: u32) {
        self.set(offset, self.get(offset).saturating_add(add));
    }

    /// Adds to a counter of two registers, the low one first.
    pub(crate) fn count_wide(&mut self, offset: u32, add: u64) {
        let sum = self.address(offset).wrapping_add(add);
        self.set(offset, sum as u32);
        self.set(offset + 4, (sum >> 32) as u32);
    }
}

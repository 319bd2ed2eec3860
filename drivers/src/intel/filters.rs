//! Tables that all the families filter received frames with.

use unikernel::mmio::Mmio;
use unikernel::nic::VlanId;

/// Words of a table of 4096 bits.
pub(crate) const WORDS: usize = 128;

/// A table of 4096 bits, as the multicast table (MTA) and the VLAN filter table (VFTA) are.
#[derive(PartialEq, Eq)]
pub(crate) struct Table([u32; WORDS]);

impl Table {
    /// The multicast table that lets frames to these stations through: the bits are numbered by
    /// bits 47 to 36 of an address, the last on the wire (8254x manual, 13.5.1, with RCTL.MO 0;
    /// 82599 datasheet, 7.1.1.1 likewise).
    pub(crate) fn of_groups(groups: &[[u8; 6]]) -> Self {
        let number = |group: &[u8; 6]| u16::from_le_bytes([group[4], group[5]]) >> 4;
        Self::of(groups.iter().map(number))
    }

    /// The VLAN filter table that lets this VLAN through (8254x manual, 9.3).
    pub(crate) fn of_vlan(vlan: VlanId) -> Self {
        Self::of(core::iter::once(vlan.get()))
    }

    fn of(numbers: impl Iterator<Item = u16>) -> Self {
        let mut words = [0; WORDS];
        for number in numbers {
            words[usize::from(number >> 5 & 0x7f)] |= 1 << (number & 0x1f);
        }
        Self(words)
    }

    /// The entries, in ascending order.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u16> {
        let bits = (0..WORDS as u16 * 32)
            .zip(self.0.iter().flat_map(|&word| (0..32).map(move |bit| word >> bit & 1)));
        bits.filter(|&(_, bit)| bit != 0).map(|(number, _)| number)
    }

    /// Writes the table to the registers from `offset` on.
    pub(crate) fn write(&self, registers: &Mmio, offset: usize) {
        self.write_over(None, registers, offset);
    }

    /// The same over a table that is there already, if it is known: no more than the difference.
    pub(crate) fn write_over(&self, before: Option<&Self>, registers: &Mmio, offset: usize) {
        for (index, &word) in self.0.iter().enumerate() {
            if before.is_none_or(|before| before.0[index] != word) {
                registers.write32(offset + 4 * index, word);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bit_for_each_entry() {
        // 33:33:ff:67:6f:01: bits 47 to 36 are 0x016.
        let table =
            Table::of_groups(&[[0x33, 0x33, 0xff, 0x67, 0x6f, 0x01], [1, 0, 0x5e, 0, 0, 1]]);
        assert_eq!(table.0[0], 1 << 0x16 | 1 << 0x10);
        assert!(table.0[1..].iter().all(|&word| word == 0));
        assert!(table.numbers().eq([0x10, 0x16]));
        let table = Table::of_vlan(VlanId::new(4094).unwrap());
        assert_eq!(table.0[127], 1 << 30);
        assert!(table.numbers().eq([4094]));
    }
}

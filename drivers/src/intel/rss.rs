//! Receive-side scaling: a hash of a packet's addresses and ports chooses its queue, so a flow
//! keeps its order.

use unikernel::mmio::Mmio;

/// The key of Microsoft's specification ("Verifying the RSS Hash Calculation"), whose published
/// hashes tell whether a device does it right. Who can choose ports to collide gains nothing: one
/// processor serves all queues.
const KEY: [u8; 40] = [
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0,
    0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c,
    0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
];
/// Entries of the redirection table, four to a register.
const ENTRIES: usize = 128;

/// Spreads flows evenly over the first `queues` queues: writes the hash key to the registers from
/// `key` on and the redirection table to those from `table` on (82576 datasheet, 7.1.1.7; 82599
/// datasheet, 7.1.2.8).
pub(crate) fn spread(registers: &Mmio, queues: usize, key: usize, table: usize) {
    for (index, &word) in KEY.as_chunks::<4>().0.iter().enumerate() {
        registers.write32(key + 4 * index, u32::from_le_bytes(word));
    }
    for first in (0..ENTRIES).step_by(4) {
        let word = core::array::from_fn(|entry| ((first + entry) % queues) as u8);
        registers.write32(table + first, u32::from_le_bytes(word));
    }
}

//! The EEPROM's contents (datasheet 6), as a driver reads them word by word.

/// Size in words: 4 Ki, all of which EERD can address (8.2.3.2).
pub(crate) const WORDS: usize = 1 << (SIZE + 6);
/// The same as EEC.EE_SIZE has it (8.2.3.2): 2^(6 + n) words.
pub(crate) const SIZE: u32 = 6;

/// What all words that the checksum covers, and itself, add up to (6).
const SUM: u16 = 0xBABA;
const CHECKSUM: usize = 0x3F;

// Pointers in the header (6).
const LAN_CORE_0: usize = 0x09;
const FIRMWARE: usize = 0x0F;
const SAN_MAC: usize = 0x28;
const PHY_INIT: usize = 0x2B;
const DEVICE_CAPABILITIES: usize = 0x2C;
/// The pointers to the sections that the checksum covers.
const COVERED: std::ops::Range<usize> = 0x03..FIRMWARE;

/// Where this model puts the sections.
const CORE_0_AT: usize = 0x40;
const PHY_INIT_AT: usize = 0x60;
const FIRMWARE_AT: usize = 0x80;
const PATCH_AT: usize = 0xA0;

/// Contents for a port with this address and a direct attach cable in its SFP+ cage.
pub(crate) fn contents(mac: [u8; 6]) -> Vec<u16> {
    let mut words = vec![0xFFFF; WORDS];
    words[..CHECKSUM].fill(0);
    words[COVERED].fill(0xFFFF);
    words[SAN_MAC] = 0xFFFF;

    // LAN core section (6): its length, then the address, first byte first.
    words[LAN_CORE_0] = CORE_0_AT as u16;
    words[CORE_0_AT] = 3;
    for (index, pair) in mac.chunks_exact(2).enumerate() {
        words[CORE_0_AT + 1 + index] = u16::from_le_bytes([pair[0], pair[1]]);
    }

    // What a driver writes to CORECTL for each kind of module: a list of kinds and pointers. Kinds
    // 3 and 4 are direct attach on port 0 and 1 (Linux, ixgbe_type.h, enum ixgbe_sfp_type). Their
    // sequence is empty: here there is nothing to tune.
    words[PHY_INIT] = PHY_INIT_AT as u16;
    let sequence = PHY_INIT_AT + 0x10;
    let list = [4, 3, sequence as u16, 4, sequence as u16, 0xFFFF];
    words[PHY_INIT_AT..][..list.len()].copy_from_slice(&list);
    words[sequence..][..2].copy_from_slice(&[1, 0xFFFF]);

    // Any module may be used (bit 0), and the cage needs no crosstalk workaround (bit 7).
    words[DEVICE_CAPABILITIES] = 0x0081;

    // A firmware section, for its version: Linux wants 0.6 or later on a port with a cage.
    words[FIRMWARE] = FIRMWARE_AT as u16;
    words[FIRMWARE_AT..PATCH_AT + 0x10].fill(0xFFFF);
    words[FIRMWARE_AT + 4] = PATCH_AT as u16;
    words[PATCH_AT + 7] = 6;

    words[CHECKSUM] = SUM.wrapping_sub(sum(&words));
    words
}

/// Sum of the header, without the checksum, and of the sections it covers.
fn sum(words: &[u16]) -> u16 {
    let header = words[..CHECKSUM].iter();
    let sections = words[COVERED].iter().filter(|&&pointer| pointer != 0xFFFF && pointer != 0);
    let sections = sections.flat_map(|&pointer| {
        let length = words[pointer as usize] as usize;
        &words[pointer as usize + 1..][..length]
    });
    header.chain(sections).fold(0, |sum: u16, &word| sum.wrapping_add(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_covers_the_address() {
        let words = contents([2, 1, 3, 4, 5, 6]);
        assert_eq!(sum(&words).wrapping_add(words[CHECKSUM]), SUM);
        let other = contents([2, 1, 3, 4, 5, 7]);
        assert_ne!(words[CHECKSUM], other[CHECKSUM]);
        assert_eq!(words[CORE_0_AT + 1], 0x0102);
    }
}

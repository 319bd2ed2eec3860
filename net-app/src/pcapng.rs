//! The recorder's frames as a pcapng file (IETF draft-ietf-opsawg-pcapng), block by block.

use alloc::vec::Vec;

/// Media type of the file.
pub const MEDIA_TYPE: &str = "application/x-pcapng";

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
const LINKTYPE_ETHERNET: u16 = 1;
/// Length of the section: not known.
const UNKNOWN: u64 = u64::MAX;

/// Appends what a file begins with: a section header and one Ethernet interface. Times count
/// microseconds, the default.
pub fn header(out: &mut Vec<u8>) {
    block(out, SECTION_HEADER, |out| {
        out.extend_from_slice(&BYTE_ORDER_MAGIC.to_le_bytes());
        out.extend_from_slice(&1u16.to_le_bytes());
        out.extend_from_slice(&0u16.to_le_bytes());
        out.extend_from_slice(&UNKNOWN.to_le_bytes());
    });
    block(out, INTERFACE_DESCRIPTION, |out| {
        out.extend_from_slice(&LINKTYPE_ETHERNET.to_le_bytes());
        out.extend_from_slice(&0u16.to_le_bytes());
        // Frames are never cut off.
        out.extend_from_slice(&0u32.to_le_bytes());
    });
}

/// Appends a frame received at `at_us`.
pub fn frame(out: &mut Vec<u8>, at_us: u64, frame: &[u8]) {
    block(out, ENHANCED_PACKET, |out| {
        out.extend_from_slice(&0u32.to_le_bytes());
        out.extend_from_slice(&((at_us >> 32) as u32).to_le_bytes());
        out.extend_from_slice(&(at_us as u32).to_le_bytes());
        out.extend_from_slice(&(frame.len() as u32).to_le_bytes());
        out.extend_from_slice(&(frame.len() as u32).to_le_bytes());
        out.extend_from_slice(frame);
        out.resize(out.len().next_multiple_of(4), 0);
    });
}

/// A block: type, total length, body, total length again. Blocks are multiples of four bytes, so
/// `out` is too.
fn block(out: &mut Vec<u8>, kind: u32, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    body(out);
    let length = ((out.len() - start + 4) as u32).to_le_bytes();
    out[start + 4..start + 8].copy_from_slice(&length);
    out.extend_from_slice(&length);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_framed_and_padded() {
        let mut out = Vec::new();
        header(&mut out);
        assert_eq!(out.len(), 28 + 20);
        assert_eq!(out[28..36], [1, 0, 0, 0, 20, 0, 0, 0]);
        let start = out.len();
        frame(&mut out, 0x1_0000_0002, &[0xee; 61]);
        let block = &out[start..];
        assert_eq!(block.len(), 32 + 64);
        assert_eq!(block[4..8], 96u32.to_le_bytes());
        assert_eq!(block[92..], 96u32.to_le_bytes());
        assert_eq!(block[12..20], [1, 0, 0, 0, 2, 0, 0, 0]);
        assert_eq!(block[20..28], [61, 0, 0, 0, 61, 0, 0, 0]);
        assert_eq!(block[88..92], [0xee, 0, 0, 0]);
    }
}

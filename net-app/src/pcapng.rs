//! The recorder's frames as a pcapng file (IETF draft-ietf-opsawg-pcapng), block by block.

use alloc::vec::Vec;

/// Media type of the file.
pub const MEDIA_TYPE: &str = "application/x-pcapng";

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
const LINKTYPE_ETHERNET: u16 = 1;
/// Options, and what they end with.
const COMMENT: u16 = 1;
const INTERFACE_NAME: u16 = 2;
const END_OF_OPTIONS: [u8; 4] = [0; 4];
/// Length of the section: not known.
const UNKNOWN: u64 = u64::MAX;

/// Appends what a file begins with: a section header, and the Ethernet interfaces of these names.
/// Times count microseconds, the default.
pub fn header<'a>(out: &mut Vec<u8>, names: impl IntoIterator<Item = &'a str>) {
    block(out, SECTION_HEADER, |out| {
        out.extend_from_slice(&BYTE_ORDER_MAGIC.to_le_bytes());
        out.extend_from_slice(&1u16.to_le_bytes());
        out.extend_from_slice(&0u16.to_le_bytes());
        out.extend_from_slice(&UNKNOWN.to_le_bytes());
    });
    for name in names {
        block(out, INTERFACE_DESCRIPTION, |out| {
            out.extend_from_slice(&LINKTYPE_ETHERNET.to_le_bytes());
            out.extend_from_slice(&0u16.to_le_bytes());
            // Frames are never cut off.
            out.extend_from_slice(&0u32.to_le_bytes());
            option(out, INTERFACE_NAME, name);
            out.extend_from_slice(&END_OF_OPTIONS);
        });
    }
}

/// Appends a frame received at `at_us` by the interface of this number, with what is to be said of
/// it.
pub fn frame(out: &mut Vec<u8>, interface: u32, at_us: u64, frame: &[u8], comments: &[&str]) {
    block(out, ENHANCED_PACKET, |out| {
        out.extend_from_slice(&interface.to_le_bytes());
        out.extend_from_slice(&((at_us >> 32) as u32).to_le_bytes());
        out.extend_from_slice(&(at_us as u32).to_le_bytes());
        out.extend_from_slice(&(frame.len() as u32).to_le_bytes());
        out.extend_from_slice(&(frame.len() as u32).to_le_bytes());
        out.extend_from_slice(frame);
        out.resize(out.len().next_multiple_of(4), 0);
        comments.iter().for_each(|comment| option(out, COMMENT, comment));
        if !comments.is_empty() {
            out.extend_from_slice(&END_OF_OPTIONS);
        }
    });
}

/// An option of a block.
fn option(out: &mut Vec<u8>, code: u16, text: &str) {
    // Names and comments are short.
    let length = text.len() as u16;
    out.extend_from_slice(&code.to_le_bytes());
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(text.as_bytes());
    out.resize(out.len().next_multiple_of(4), 0);
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
        header(&mut out, ["nic", "nic1"]);
        assert_eq!(out.len(), 28 + 32 + 32);
        assert_eq!(out[28..36], [1, 0, 0, 0, 32, 0, 0, 0]);
        assert_eq!(out[44..56], *b"\x02\0\x03\0nic\0\0\0\0\0");
        let start = out.len();
        frame(&mut out, 0, 0x1_0000_0002, &[0xee; 61], &[]);
        let block = &out[start..];
        assert_eq!(block.len(), 32 + 64);
        assert_eq!(block[4..8], 96u32.to_le_bytes());
        assert_eq!(block[92..], 96u32.to_le_bytes());
        assert_eq!(block[12..20], [1, 0, 0, 0, 2, 0, 0, 0]);
        assert_eq!(block[20..28], [61, 0, 0, 0, 61, 0, 0, 0]);
        assert_eq!(block[88..92], [0xee, 0, 0, 0]);
        let start = out.len();
        frame(&mut out, 1, 0, &[0xee; 60], &["hello", "you"]);
        let block = &out[start..];
        assert_eq!((block.len(), block[8]), (32 + 60 + 12 + 8 + 4, 1));
        assert_eq!(block[88..112], *b"\x01\0\x05\0hello\0\0\0\x01\0\x03\0you\0\0\0\0\0");
    }
}

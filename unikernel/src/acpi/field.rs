//! Fields of tables, and what can be wrong with a table.

use core::fmt;

/// Why a table was not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// Not where it is said to be.
    OutOfReach,
    /// Another signature than the one that belongs there.
    Signature,
    /// Its length cannot be right.
    Length,
    /// Its bytes do not add up to zero.
    Checksum,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OutOfReach => "its address is out of reach",
            Self::Signature => "it has the wrong signature",
            Self::Length => "its length cannot be right",
            Self::Checksum => "its checksum is wrong",
        })
    }
}

pub(super) fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes.get(offset..)?.first_chunk().map(|&bytes| u16::from_le_bytes(bytes))
}

pub(super) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..)?.first_chunk().map(|&bytes| u32::from_le_bytes(bytes))
}

pub(super) fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    bytes.get(offset..)?.first_chunk().map(|&bytes| u64::from_le_bytes(bytes))
}

//! CRC-32C, by whichever implementation is faster on this machine.
//!
//! The instruction wins by far on silicon. Under software emulation it is a helper call that works
//! bit by bit, and tables win.

use embassy_time::{Duration, Instant};
use unikernel::crc32c;

/// CRC-32C's polynomial with its bits reversed (RFC 3720, section 12.1).
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// What a byte adds to the checksum when so many bytes follow it in the slice.
static TABLES: [[u32; 256]; SLICE] = tables();

/// Bytes that are looked up at once.
const SLICE: usize = 8;

const fn tables() -> [[u32; 256]; SLICE] {
    let mut tables = [[0; 256]; SLICE];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = crc >> 1 ^ if crc & 1 == 1 { POLYNOMIAL } else { 0 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut follow = 1;
    while follow < SLICE {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[follow - 1][byte];
            tables[follow][byte] = before >> 8 ^ tables[0][before as usize & 0xff];
            byte += 1;
        }
        follow += 1;
    }
    tables
}

/// Slicing by eight, a word at a time: under emulation a load costs as much as ten other
/// instructions. The `crc` crate loads single bytes and checks indices, and takes more than twice
/// as long there.
fn by_tables(data: &[u8]) -> u32 {
    let (words, rest) = data.as_chunks::<SLICE>();
    let mut crc = u32::MAX;
    for word in words {
        let word = u64::from_le_bytes(*word) ^ u64::from(crc);
        crc = TABLES[7][(word & 0xff) as usize]
            ^ TABLES[6][(word >> 8 & 0xff) as usize]
            ^ TABLES[5][(word >> 16 & 0xff) as usize]
            ^ TABLES[4][(word >> 24 & 0xff) as usize]
            ^ TABLES[3][(word >> 32 & 0xff) as usize]
            ^ TABLES[2][(word >> 40 & 0xff) as usize]
            ^ TABLES[1][(word >> 48 & 0xff) as usize]
            ^ TABLES[0][(word >> 56) as usize];
    }
    for byte in rest {
        crc = crc >> 8 ^ TABLES[0][usize::from(crc as u8 ^ byte)];
    }
    !crc
}

/// A way to compute CRC-32C.
#[derive(Clone, Copy, Debug)]
pub(super) enum Crc32c {
    /// SSE4.2's instruction.
    Instruction(crc32c::Instruction),
    /// Slicing by eight.
    Tables,
}

impl Crc32c {
    /// The implementation that is faster here.
    pub(super) fn fastest() -> Self {
        let Some(instruction) = crc32c::Instruction::detect() else { return Self::Tables };
        let instruction = Self::Instruction(instruction);
        if instruction.cost() <= Self::Tables.cost() { instruction } else { Self::Tables }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Instruction(_) => "crc32 instruction",
            Self::Tables => "tables",
        }
    }

    pub(super) fn of(self, data: &[u8]) -> u32 {
        match self {
            Self::Instruction(instruction) => instruction.checksum(data),
            Self::Tables => by_tables(data),
        }
    }

    fn cost(self) -> Duration {
        let data = [0x5a; 4096];
        let run = || {
            let start = Instant::now();
            for _ in 0..4 {
                core::hint::black_box(self.of(core::hint::black_box(&data)));
            }
            start.elapsed()
        };
        // The first run fills caches; under emulation it translates.
        run();
        run()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crc::{CRC_32_ISCSI, Crc};

    #[test]
    fn implementations_agree() {
        assert_eq!(by_tables(b"123456789"), CRC_32_ISCSI.check);
        let reference = Crc::<u32>::new(&CRC_32_ISCSI);
        let data: Vec<u8> = (0..2048u32).map(|i| ((i * 7919) >> 3) as u8).collect();
        for len in [0, 1, 7, 8, 9, 60, 1514, 2048] {
            let data = &data[..len];
            let expected = reference.checksum(data);
            assert_eq!(by_tables(data), expected, "{len} bytes");
            if let Some(instruction) = crc32c::Instruction::detect() {
                assert_eq!(instruction.checksum(data), expected, "{len} bytes");
            }
        }
    }
}

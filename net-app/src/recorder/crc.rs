//! CRC-32C, by whichever implementation is faster on this machine.
//!
//! The instruction wins by far on silicon. Under software emulation it is a helper call that works bit by bit, and
//! tables win.

use crc::{CRC_32_ISCSI, Crc, Table};
use embassy_time::{Duration, Instant};
use unikernel::crc32c;

static TABLES: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// A way to compute CRC-32C.
#[derive(Clone, Copy, Debug)]
pub(super) enum Crc32c {
    /// SSE4.2's instruction.
    Instruction(crc32c::Instruction),
    /// Slicing by 16.
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
            Self::Tables => TABLES.checksum(data),
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

    #[test]
    fn implementations_agree() {
        assert_eq!(Crc32c::Tables.of(b"123456789"), CRC_32_ISCSI.check);
        let Some(instruction) = crc32c::Instruction::detect() else { return };
        let data: Vec<u8> = (0..2048u32).map(|i| ((i * 7919) >> 3) as u8).collect();
        for len in [0, 1, 7, 8, 9, 60, 1514, 2048] {
            let data = &data[..len];
            assert_eq!(Crc32c::Instruction(instruction).of(data), Crc32c::Tables.of(data), "{len}");
        }
    }
}

//! CRC-32C by the processor's own instruction.

use core::arch::asm;
use core::arch::x86_64::__cpuid;

/// Proof that the processor has SSE4.2's `crc32`.
///
/// The instruction works on general registers, so it is fine on a target without floating-point
/// registers; only the compiler's intrinsic for it is not.
#[derive(Clone, Copy, Debug)]
pub struct Instruction(());

impl Instruction {
    /// Looks for the instruction (CPUID leaf 1, ECX bit 20; Intel SDM volume 2A).
    pub fn detect() -> Option<Self> {
        (__cpuid(1).ecx & 1 << 20 != 0).then_some(Self(()))
    }

    /// CRC-32C (Castagnoli, as in iSCSI, RFC 3720 section 12.1) of `data`.
    pub fn checksum(self, data: &[u8]) -> u32 {
        let (words, rest) = data.as_chunks();
        let mut crc = u64::from(u32::MAX);
        for word in words {
            let word = u64::from_le_bytes(*word);
            // SAFETY: `self` proves that the instruction exists; it has no effect but on its
            // operand.
            unsafe {
                asm!("crc32 {}, {}", inout(reg) crc, in(reg) word, options(pure, nomem, nostack))
            };
        }
        for byte in rest {
            // SAFETY: as above.
            unsafe {
                asm!(
                    "crc32 {:r}, {}",
                    inout(reg) crc,
                    in(reg_byte) *byte,
                    options(pure, nomem, nostack)
                )
            };
        }
        !(crc as u32)
    }
}

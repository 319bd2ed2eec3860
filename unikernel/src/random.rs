//! Seeds that differ from boot to boot.

use core::arch::asm;
use core::arch::x86_64::__cpuid;

/// A number nobody outside the machine is likely to guess, for what wants to be unpredictable but
/// is no secret: TCP sequence numbers, transaction ids.
///
/// From RDRAND where there is one (CPUID leaf 1, ECX bit 30); else from the clock, which is as good
/// as when the machine was started.
pub fn seed() -> u64 {
    // The generator may be busy; ten tries is what Intel's SDM advises (volume 1, section
    // 7.3.17.1).
    let hardware =
        if __cpuid(1).ecx & 1 << 30 != 0 { (0..10).find_map(|_| rdrand()) } else { None };
    hardware.unwrap_or_else(crate::time::now_ns)
}

fn rdrand() -> Option<u64> {
    let (value, valid): (u64, u8);
    // SAFETY: `seed` has seen that the instruction exists; it has no effect but on its operand and
    // the flags.
    unsafe {
        asm!("rdrand {}", "setc {}", out(reg) value, out(reg_byte) valid, options(nomem, nostack))
    };
    (valid != 0).then_some(value)
}

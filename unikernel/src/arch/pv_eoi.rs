//! End of interrupt without an exit to the hypervisor (Linux
//! Documentation/virt/kvm/x86/msr.rst, MSR_KVM_PV_EOI_EN).
//!
//! KVM sets a bit in a word of ours when it delivers an interrupt that it can end by itself. A
//! guest that finds the bit set clears it and is done: where exits are dear, as they are in a
//! nested machine, this is a good part of what an interrupt costs.

use core::arch::asm;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};

use x86_64::registers::model_specific::Msr;

const MSR_KVM_PV_EOI_EN: Msr = Msr::new(0x4b56_4d04);
const ENABLE: u64 = 1;

#[repr(C, align(4))]
struct Word(UnsafeCell<u32>);

// SAFETY: KVM and this processor take turns, and the latter changes it in one instruction.
unsafe impl Sync for Word {}

static WORD: Word = Word(UnsafeCell::new(0));
static ENABLED: AtomicBool = AtomicBool::new(false);

/// Asks KVM to use the word; `offered` as CPUID says.
pub(super) fn init(offered: bool) {
    if offered {
        let mut msr = MSR_KVM_PV_EOI_EN;
        // SAFETY: CPUID offers this MSR; the word is static, aligned and identity-mapped.
        unsafe { msr.write(WORD.0.get() as u64 | ENABLE) };
        ENABLED.store(true, Ordering::Relaxed);
    }
}

/// Whether KVM ends the current interrupt by itself.
pub(super) fn is_ended() -> bool {
    if !ENABLED.load(Ordering::Relaxed) {
        return false;
    }
    let was_set: u8;
    // One instruction, since KVM may change its mind between a look and a clear.
    // SAFETY: clears a bit of the word, which is ours.
    unsafe {
        asm!(
            "btr dword ptr [{word}], 0",
            "setc {was_set}",
            word = in(reg) WORD.0.get(),
            was_set = out(reg_byte) was_set,
            options(nostack)
        );
    }
    was_set != 0
}

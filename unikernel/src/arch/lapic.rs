//! The local APIC: end of interrupt and the timer, in x2APIC mode where the processor has it.
//!
//! Registers: Intel SDM volume 3, chapter 11 ("APIC"), tables 11-1 and 11-6.

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use x86_64::registers::model_specific::Msr;

use super::cpu;
use super::pv_eoi;
use super::vectors::{SPURIOUS, TIMER};

const IA32_APIC_BASE: Msr = Msr::new(0x1b);
const APIC_BASE_ENABLE: u64 = 1 << 11;
const APIC_BASE_X2APIC: u64 = 1 << 10;
const IA32_TSC_DEADLINE: Msr = Msr::new(0x6e0);
/// MSR of the x2APIC register whose xAPIC offset is 0.
const X2APIC_MSR: u32 = 0x800;

// Offsets in xAPIC mode; the x2APIC's MSR is the offset divided by 16.
const ID: u32 = 0x20;
const TASK_PRIORITY: u32 = 0x80;
const EOI: u32 = 0xb0;
const SPURIOUS_VECTOR: u32 = 0xf0;
const LVT_TIMER: u32 = 0x320;
const LVT_LINT0: u32 = 0x350;
const LVT_LINT1: u32 = 0x360;
const INITIAL_COUNT: u32 = 0x380;
const CURRENT_COUNT: u32 = 0x390;
const DIVIDE: u32 = 0x3e0;

const SOFTWARE_ENABLE: u32 = 1 << 8;
const MASKED: u32 = 1 << 16;
const TIMER_TSC_DEADLINE: u32 = 2 << 17;
const DELIVERY_NMI: u32 = 4 << 8;
const DELIVERY_EXTINT: u32 = 7 << 8;
const DIVIDE_BY_16: u32 = 0b0011;

static X2APIC: AtomicBool = AtomicBool::new(false);
static BASE: AtomicU64 = AtomicU64::new(0);
static APIC_ID: AtomicU32 = AtomicU32::new(0);

fn read(register: u32) -> u32 {
    if X2APIC.load(Ordering::Relaxed) {
        // SAFETY: an x2APIC register, in x2APIC mode.
        unsafe { Msr::new(X2APIC_MSR + register / 16).read() as u32 }
    } else {
        let at = BASE.load(Ordering::Relaxed) + u64::from(register);
        // SAFETY: the register page is mapped uncached and belongs to this module.
        unsafe { (at as *const u32).read_volatile() }
    }
}

fn write(register: u32, value: u32) {
    if X2APIC.load(Ordering::Relaxed) {
        // SAFETY: an x2APIC register, in x2APIC mode.
        unsafe { Msr::new(X2APIC_MSR + register / 16).write(value.into()) };
    } else {
        let at = BASE.load(Ordering::Relaxed) + u64::from(register);
        // SAFETY: the register page is mapped uncached and belongs to this module.
        unsafe { (at as *mut u32).write_volatile(value) };
    }
}

/// Switches the local APIC on: ExtINT on LINT0 for the 8259s, NMI on LINT1, timer masked.
pub(crate) fn init() {
    // SAFETY: every 64-bit processor has this MSR.
    let base = unsafe { IA32_APIC_BASE.read() };
    let x2apic = cpu::has_x2apic();
    let mode = APIC_BASE_ENABLE | if x2apic { APIC_BASE_X2APIC } else { 0 };
    let mut apic_base = IA32_APIC_BASE;
    // SAFETY: enables the mode that CPUID offers; both bits only ever go on.
    unsafe { apic_base.write(base | mode) };
    BASE.store(base & 0x000f_ffff_ffff_f000, Ordering::Relaxed);
    // Firmware may have chosen x2APIC mode, which cannot be left by clearing its bit.
    let x2apic = x2apic || base & APIC_BASE_X2APIC != 0;
    X2APIC.store(x2apic, Ordering::Relaxed);
    let id = read(ID);
    APIC_ID.store(if x2apic { id } else { id >> 24 }, Ordering::Relaxed);

    write(SPURIOUS_VECTOR, SOFTWARE_ENABLE | u32::from(SPURIOUS));
    write(TASK_PRIORITY, 0);
    write(LVT_LINT0, DELIVERY_EXTINT);
    write(LVT_LINT1, DELIVERY_NMI);
    write(LVT_TIMER, MASKED | u32::from(TIMER));
    pv_eoi::init(cpu::has_pv_eoi());
}

/// This processor's APIC identifier.
pub(super) fn id() -> u32 {
    APIC_ID.load(Ordering::Relaxed)
}

/// Ends the interrupt being serviced.
pub(super) fn end_of_interrupt() {
    if !pv_eoi::is_ended() {
        write(EOI, 0);
    }
}

/// Puts the timer in TSC-deadline mode.
pub(crate) fn use_tsc_deadline() {
    write(LVT_TIMER, TIMER_TSC_DEADLINE | u32::from(TIMER));
    // The mode must be in force before the first deadline is written (SDM 11.5.4.1).
    // SAFETY: a fence has no preconditions.
    unsafe { core::arch::x86_64::_mm_mfence() };
}

/// Interrupts when the TSC reaches `deadline`, at once if it has.
pub(crate) fn set_tsc_deadline(deadline: u64) {
    let mut msr = IA32_TSC_DEADLINE;
    // SAFETY: only called in TSC-deadline mode, which CPUID offered. Zero would disarm.
    unsafe { msr.write(deadline.max(1)) };
}

/// Puts the timer in one-shot mode, counting its clock divided by 16.
pub(crate) fn use_one_shot() {
    write(DIVIDE, DIVIDE_BY_16);
    write(LVT_TIMER, u32::from(TIMER));
}

/// Interrupts after `ticks` of the divided clock; 0 disarms.
pub(crate) fn set_one_shot(ticks: u32) {
    write(INITIAL_COUNT, ticks);
}

/// Starts a countdown from the top without an interrupt, to measure the timer's clock.
pub(crate) fn start_measuring() {
    write(DIVIDE, DIVIDE_BY_16);
    write(LVT_TIMER, MASKED | u32::from(TIMER));
    write(INITIAL_COUNT, u32::MAX);
}

/// Ticks since [`start_measuring`].
pub(crate) fn measured() -> u32 {
    u32::MAX - read(CURRENT_COUNT)
}

//! KVM's paravirtual clock (Linux Documentation/virt/kvm/x86/msr.rst, MSR_KVM_SYSTEM_TIME_NEW).
//!
//! The hypervisor keeps a page up to date that says how to turn this processor's TSC into
//! nanoseconds. It rewrites the page when the scale changes, and after a migration: the same
//! formula goes on being right on the destination.

use core::cell::UnsafeCell;
use core::sync::atomic::{Ordering, compiler_fence};

use x86_64::registers::model_specific::Msr;

use super::scale::Scale;
use crate::arch::cpu;

const MSR_KVM_SYSTEM_TIME_NEW: Msr = Msr::new(0x4b56_4d01);
const ENABLE: u64 = 1;
/// Of the flags: the machine was stopped (PVCLOCK_GUEST_STOPPED in Linux' `pvclock-abi.h`). The
/// hypervisor sets it, the guest clears it.
const STOPPED: u8 = 1 << 1;

/// `struct pvclock_vcpu_time_info`.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct TimeInfo {
    version: u32,
    _pad: u32,
    tsc_timestamp: u64,
    system_time: u64,
    multiplier: u32,
    shift: i8,
    flags: u8,
    _pad_2: [u8; 2],
}

struct Page(UnsafeCell<TimeInfo>);

// SAFETY: the hypervisor writes, the guest reads volatile copies under the version protocol.
unsafe impl Sync for Page {}

static PAGE: Page = Page(UnsafeCell::new(TimeInfo {
    version: 0,
    _pad: 0,
    tsc_timestamp: 0,
    system_time: 0,
    multiplier: 0,
    shift: 0,
    flags: 0,
    _pad_2: [0; 2],
}));

/// Asks KVM to keep the page.
pub(super) fn enable() {
    let address = PAGE.0.get() as u64;
    let mut msr = MSR_KVM_SYSTEM_TIME_NEW;
    // SAFETY: CPUID offers this MSR, and the page is static, 64-byte aligned and identity-mapped.
    unsafe { msr.write(address | ENABLE) };
}

/// How ticks relate to nanoseconds right now.
pub(super) fn scale() -> Scale {
    snapshot(|info| Scale { multiplier: info.multiplier, shift: info.shift })
}

/// The clock at a TSC value taken before now, in nanoseconds from the hypervisor's own zero.
pub(super) fn ns_at(tsc: u64) -> u64 {
    snapshot(|info| {
        let scale = Scale { multiplier: info.multiplier, shift: info.shift };
        match tsc.checked_sub(info.tsc_timestamp) {
            Some(ticks) => info.system_time.saturating_add(scale.ns(ticks)),
            None => info.system_time.saturating_sub(scale.ns(info.tsc_timestamp - tsc)),
        }
    })
}

/// The clock now.
pub(super) fn now_ns() -> u64 {
    snapshot(|info| {
        // Read inside the version check: an update between the two would pair a new page with
        // an old TSC.
        let ticks = cpu::tsc().saturating_sub(info.tsc_timestamp);
        let scale = Scale { multiplier: info.multiplier, shift: info.shift };
        info.system_time.saturating_add(scale.ns(ticks))
    })
}

/// Whether the machine was stopped since this was last asked, as far as the hypervisor tells.
pub(super) fn take_stopped() -> bool {
    // SAFETY: the page is static, so that this is a place inside of it.
    let place = unsafe { &raw mut (*PAGE.0.get()).flags };
    // SAFETY: the page is always readable.
    let flags = unsafe { place.read_volatile() };
    if flags & STOPPED == 0 {
        return false;
    }
    // SAFETY: the flag is the guest's to clear. The hypervisor writes the page only while this
    // processor is out of the guest, and keeps nothing of the flags but this one.
    unsafe { place.write_volatile(flags & !STOPPED) };
    true
}

/// Applies `f` to a consistent copy of the page: the version is even and the same on both sides.
///
/// The compiler's order is enough, and the version is read first and last. KVM writes the page of a
/// processor while that one is out of the guest, and whatever it had begun ahead of its turn,
/// reading the TSC included, begins anew when it comes back.
fn snapshot<T>(f: impl Fn(&TimeInfo) -> T) -> T {
    loop {
        let before = version();
        compiler_fence(Ordering::SeqCst);
        // SAFETY: the page is always readable; a torn copy is detected below.
        let info = unsafe { PAGE.0.get().read_volatile() };
        let value = f(&info);
        compiler_fence(Ordering::SeqCst);
        if before & 1 == 0 && before == version() {
            return value;
        }
        core::hint::spin_loop();
    }
}

/// Odd while the page is being rewritten.
fn version() -> u32 {
    // SAFETY: the page is static, so that this is a place inside of it.
    let version = unsafe { &raw const (*PAGE.0.get()).version };
    // SAFETY: the page is always readable.
    unsafe { version.read_volatile() }
}

//! The clock itself.

use core::sync::atomic::{AtomicBool, AtomicI8, AtomicU32, AtomicU64, Ordering};

use super::frequency::{PM_TIMER, Timer};
use super::scale::Scale;
use super::{frequency, kvmclock};
use crate::acpi::PmTimer;
use crate::arch::{cpu, pit};

/// The PC's interval timer: 20 ms of its 55.
const PIT: Timer = Timer { hz: pit::HZ, mask: pit::MASK, steps: 23_864 };

static KVMCLOCK: AtomicBool = AtomicBool::new(false);
/// The clock's own reading (KVM) or the TSC (otherwise) at which time is zero.
static ZERO: AtomicU64 = AtomicU64::new(0);
/// How long the machine was stopped, which neither counts.
static SKIPPED: AtomicU64 = AtomicU64::new(0);
/// The latest time handed out.
static LATEST: AtomicU64 = AtomicU64::new(0);
// The scale of a calibrated TSC; a multiplier of 0 makes time stand still until it is known.
static MULTIPLIER: AtomicU32 = AtomicU32::new(0);
static SHIFT: AtomicI8 = AtomicI8::new(0);

/// Chooses the clock.
///
/// # Panics
/// On a machine that does not tell how fast its TSC runs, by any of the ways there are.
pub(super) fn init(started: u64, pm_timer: Option<PmTimer>) {
    if cpu::has_kvmclock() {
        kvmclock::enable();
        ZERO.store(kvmclock::ns_at(started), Ordering::Relaxed);
        KVMCLOCK.store(true, Ordering::Relaxed);
        log::debug!("clock: kvmclock");
        return;
    }
    let (hz, by) = frequency(pm_timer);
    let scale = Scale::from_hz(hz);
    ZERO.store(started, Ordering::Relaxed);
    MULTIPLIER.store(scale.multiplier, Ordering::Relaxed);
    SHIFT.store(scale.shift, Ordering::Relaxed);
    log::debug!("clock: TSC at {} MHz, by {by}", hz / 1_000_000);
}

/// The TSC's frequency in Hz, and what it is known by. The hypervisor before the processor: what
/// CPUID says of a crystal may be that of another machine.
fn frequency(pm_timer: Option<PmTimer>) -> (u64, &'static str) {
    if let Some(hz) = frequency::by_hypervisor(cpu::hypervisor_tsc_khz()) {
        return (hz, "the hypervisor's word");
    }
    let [eax, ebx, ecx] = cpu::crystal();
    if let Some(hz) = frequency::by_crystal(eax, ebx, ecx) {
        return (hz, "the processor's crystal");
    }
    let (name, measured) = match pm_timer {
        Some(timer) => {
            let measured = frequency::by_timer(PM_TIMER, || read_both(|| timer.read()));
            ("the ACPI timer", measured)
        }
        None => {
            pit::start();
            ("the PC's interval timer", frequency::by_timer(PIT, || read_both(pit::read)))
        }
    };
    match measured {
        Ok(hz) => (hz, name),
        Err(error) => panic!(
            "{name} tells no time: {error}; this machine has nothing better to tell the TSC's \
             frequency by: neither kvmclock nor CPUID"
        ),
    }
}

/// Nanoseconds since boot. Never goes backwards.
///
/// Costs a TSC read and a multiplication. Zero until the clock has been found, early in boot.
pub fn now_ns() -> u64 {
    let zero = ZERO.load(Ordering::Relaxed);
    let now = if KVMCLOCK.load(Ordering::Relaxed) {
        kvmclock::now_ns().saturating_sub(zero)
    } else {
        scale().ns(cpu::tsc().saturating_sub(zero))
    };
    let now = now.saturating_add(SKIPPED.load(Ordering::Relaxed));
    // KVM's clock may step back by a hair when its page is rewritten, as at a migration.
    // A maximum without a locked instruction: there is one processor, and an interrupt between
    // the two lines can only let a slightly older time win.
    let now = now.max(LATEST.load(Ordering::Relaxed));
    LATEST.store(now, Ordering::Relaxed);
    now
}

/// Adds nanoseconds that have passed unseen.
pub(super) fn skip(ns: u64) {
    SKIPPED.fetch_add(ns, Ordering::Relaxed);
}

/// Whether the clock is KVM's.
pub(super) fn is_kvmclock() -> bool {
    KVMCLOCK.load(Ordering::Relaxed)
}

/// How TSC ticks relate to nanoseconds right now.
pub(super) fn scale() -> Scale {
    if KVMCLOCK.load(Ordering::Relaxed) {
        kvmclock::scale()
    } else {
        Scale {
            multiplier: MULTIPLIER.load(Ordering::Relaxed),
            shift: SHIFT.load(Ordering::Relaxed),
        }
    }
}

/// The TSC and the timer at the same moment: of a few readings, the one that took least.
fn read_both(timer: impl Fn() -> u32) -> (u64, u32) {
    (0..4)
        .map(|_| {
            let before = cpu::tsc();
            let ticks = timer();
            let took = cpu::tsc() - before;
            (took, (before + took / 2, ticks))
        })
        .min_by_key(|&(took, _)| took)
        .map(|(_, both)| both)
        .unwrap_or_default()
}

//! The clock itself.

use core::sync::atomic::{AtomicBool, AtomicI8, AtomicU32, AtomicU64, Ordering};

use super::kvmclock;
use super::scale::Scale;
use crate::acpi::PmTimer;
use crate::arch::cpu;

/// How long the TSC is compared with the ACPI timer. That timer's step is 280 ns, so the
/// frequency is right to about 60 parts in a million.
const CALIBRATION_NS: u64 = 5_000_000;
/// Frequency of the ACPI power management timer (ACPI 6.5, section 4.8.2.1).
const PM_TIMER_HZ: u64 = 3_579_545;

static KVMCLOCK: AtomicBool = AtomicBool::new(false);
/// The clock's own reading (KVM) or the TSC (otherwise) at which time is zero.
static ZERO: AtomicU64 = AtomicU64::new(0);
/// The latest time handed out.
static LATEST: AtomicU64 = AtomicU64::new(0);
// The scale of a calibrated TSC; a multiplier of 0 makes time stand still until it is known.
static MULTIPLIER: AtomicU32 = AtomicU32::new(0);
static SHIFT: AtomicI8 = AtomicI8::new(0);

/// Chooses the clock.
///
/// # Panics
/// On a machine with neither KVM's clock nor an ACPI timer.
pub(super) fn init(started: u64, pm_timer: Option<PmTimer>) {
    if cpu::has_kvmclock() {
        kvmclock::enable();
        ZERO.store(kvmclock::ns_at(started), Ordering::Relaxed);
        KVMCLOCK.store(true, Ordering::Relaxed);
        log::debug!("clock: kvmclock");
        return;
    }
    let Some(pm_timer) = pm_timer else {
        panic!(
            "nothing to tell the TSC's frequency by: this machine has neither kvmclock nor an \
             ACPI power management timer"
        );
    };
    let hz = calibrate(pm_timer);
    let scale = Scale::from_hz(hz);
    ZERO.store(started, Ordering::Relaxed);
    MULTIPLIER.store(scale.multiplier, Ordering::Relaxed);
    SHIFT.store(scale.shift, Ordering::Relaxed);
    log::debug!("clock: TSC at {} MHz, by the ACPI timer", hz / 1_000_000);
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
    // KVM's clock may step back by a hair when its page is rewritten, as at a migration.
    // A maximum without a locked instruction: there is one processor, and an interrupt between
    // the two lines can only let a slightly older time win.
    let now = now.max(LATEST.load(Ordering::Relaxed));
    LATEST.store(now, Ordering::Relaxed);
    now
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

/// The TSC's frequency in Hz, measured against the ACPI timer.
fn calibrate(timer: PmTimer) -> u64 {
    let (tsc_from, from) = read_both(timer);
    let wanted = (CALIBRATION_NS * PM_TIMER_HZ / 1_000_000_000) as u32;
    loop {
        let (tsc, now) = read_both(timer);
        // 24 bits are what every machine has; they wrap after 4.7 s.
        let passed = now.wrapping_sub(from) & 0x00ff_ffff;
        if passed >= wanted {
            let hz = u128::from(tsc - tsc_from) * u128::from(PM_TIMER_HZ) / u128::from(passed);
            return hz as u64;
        }
    }
}

/// The TSC and the timer at the same moment: of a few readings, the one that took least.
fn read_both(timer: PmTimer) -> (u64, u32) {
    (0..4)
        .map(|_| {
            let before = cpu::tsc();
            let ticks = timer.read();
            let took = cpu::tsc() - before;
            (took, (before + took / 2, ticks))
        })
        .min_by_key(|&(took, _)| took)
        .map(|(_, both)| both)
        .unwrap_or_default()
}

//! Time since boot.
//!
//! On the target it is the TSC, scaled by KVM's clock page where there is one (right across a
//! live migration) and by a calibration otherwise; `embassy-time` runs on it. On a host it is the
//! standard library's clock.

#[cfg_attr(not(target_os = "none"), allow(dead_code, reason = "only tested on a host"))]
mod frequency;
#[cfg_attr(not(target_os = "none"), allow(dead_code, reason = "only tested on a host"))]
mod pause;
#[cfg_attr(not(target_os = "none"), allow(dead_code, reason = "only tested on a host"))]
mod queue;
#[cfg_attr(not(target_os = "none"), allow(dead_code, reason = "only tested on a host"))]
mod rtc;
#[cfg_attr(not(target_os = "none"), allow(dead_code, reason = "only tested on a host"))]
mod scale;

#[cfg(target_os = "none")]
mod alarm;
#[cfg(target_os = "none")]
mod clock;
#[cfg(target_os = "none")]
mod kvmclock;

#[cfg(target_os = "none")]
pub(crate) use alarm::{interrupt_in_a_second, on_timer};
#[cfg(target_os = "none")]
pub use clock::now_ns;
#[cfg(target_os = "none")]
pub(crate) use pause::follow as follow_pauses;

/// Finds out how time passes on this machine; timers work from here on.
///
/// `started` is the TSC at entry, from which time counts.
#[cfg(target_os = "none")]
pub(crate) fn init(started: u64, pm_timer: Option<crate::acpi::PmTimer>) {
    let measured_since = alarm::start_measuring();
    clock::init(started, pm_timer);
    alarm::init(measured_since);
}

/// To be called when nothing is to be done until an interrupt comes.
#[cfg(target_os = "none")]
pub(crate) fn before_sleep() {
    pause::notice();
    alarm::before_sleep();
}

/// Nanoseconds since boot (on a host: since the first call). Never goes backwards.
#[cfg(not(target_os = "none"))]
pub fn now_ns() -> u64 {
    use std::sync::OnceLock;
    use std::time::Instant;
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

//! The local APIC's timer as `embassy-time`'s driver.

use core::cell::RefCell;
use core::sync::atomic::{AtomicU64, Ordering};
use core::task::Waker;

use critical_section::Mutex;
use embassy_time_driver::{Driver, time_driver_impl};

use super::clock;
use super::queue::Queue;
use super::scale::Scale;
use crate::arch::{cpu, lapic};

/// Nanoseconds in one of `embassy-time`'s ticks.
const TICK_NS: u64 = 1_000_000_000 / embassy_time_driver::TICK_HZ;
/// How long the timer's clock is measured at least, where it is needed.
const CALIBRATION_NS: u64 = 2_000_000;
const SECOND_NS: u64 = 1_000_000_000;
/// How far off the timer is armed at most. It counts the ticks of the machine that it was armed on:
/// on one with slower ticks, to which a migration may lead, it is late by a part of this. And it is
/// always armed, since its interrupts are what a task is found by that never ends its turn.
const FARTHEST: u64 = SECOND_NS / TICK_NS;
const DISARMED: u64 = u64::MAX;

/// Frequency of the one-shot timer; 0 if deadlines are given as TSC values.
static ONE_SHOT_HZ: AtomicU64 = AtomicU64::new(0);

struct Alarm {
    queue: Queue,
    /// When the timer will interrupt, in `embassy-time`'s ticks.
    armed: u64,
    /// How long a tick of the TSC was when it was armed.
    scale: Scale,
}

struct TimeDriver(Mutex<RefCell<Alarm>>);

time_driver_impl!(static DRIVER: TimeDriver = TimeDriver(Mutex::new(RefCell::new(Alarm {
    queue: Queue::new(),
    armed: DISARMED,
    scale: Scale { multiplier: 0, shift: 0 },
}))));

impl Driver for TimeDriver {
    fn now(&self) -> u64 {
        clock::now_ns() / TICK_NS
    }

    fn schedule_wake(&self, at: u64, waker: &Waker) {
        if at <= self.now() {
            waker.wake_by_ref();
            return;
        }
        with(|alarm| {
            alarm.queue.schedule(at, waker);
            alarm.arm(at);
        });
    }
}

fn with<R>(f: impl FnOnce(&mut Alarm) -> R) -> R {
    critical_section::with(|section| f(&mut DRIVER.0.borrow_ref_mut(section)))
}

impl Alarm {
    /// Has the timer interrupt at a time, or some time before it.
    ///
    /// A timer armed too early is left alone: programming it costs an exit to the hypervisor, and
    /// most deadlines are moved on before they pass.
    fn arm(&mut self, at: u64) {
        let at = at.min(DRIVER.now() + FARTHEST);
        if at < self.armed {
            self.armed = at;
            self.scale = clock::scale();
            arm(at.saturating_mul(TICK_NS));
        }
    }

    /// Arms the timer, whatever it was armed for, for what comes next.
    fn rearm(&mut self) {
        self.armed = DISARMED;
        self.arm(self.queue.next().unwrap_or(u64::MAX));
    }
}

/// The timer has interrupted, or time has leapt. Not for handlers, since wakers are run and dropped
/// here.
pub(crate) fn on_timer() {
    let now = DRIVER.now();
    while let Some(waker) = with(|alarm| alarm.queue.take_due(now)) {
        waker.wake();
    }
    with(Alarm::rearm);
}

/// Has the timer interrupt in a second, once. For a handler of its interrupt, and for before there
/// are timers: the next look at what is due arms it for that.
pub(crate) fn interrupt_in_a_second() {
    arm(clock::now_ns() + SECOND_NS);
}

/// Arms the timer anew if ticks have another length than when it was armed, as after a migration.
pub(super) fn before_sleep() {
    with(|alarm| {
        if alarm.armed != DISARMED && alarm.scale != clock::scale() {
            alarm.rearm();
        }
    });
}

/// Has the timer count where its clock is to be measured, and returns since when by the TSC. To be
/// called before the TSC's own frequency is found, which takes as long.
pub(super) fn start_measuring() -> Option<u64> {
    (!cpu::has_tsc_deadline()).then(|| {
        lapic::start_measuring();
        cpu::tsc()
    })
}

/// Chooses the timer's mode, which has been counting since then.
pub(super) fn init(measured_since: Option<u64>) {
    let Some(since) = measured_since else {
        lapic::use_tsc_deadline();
        log::debug!("timer: TSC deadline");
        return;
    };
    let scale = clock::scale();
    let mut ns = 0;
    while ns < CALIBRATION_NS {
        ns = scale.ns(cpu::tsc().saturating_sub(since));
    }
    let hz = u64::from(lapic::measured()) * 1_000_000_000 / ns;
    ONE_SHOT_HZ.store(hz.max(1), Ordering::Relaxed);
    lapic::use_one_shot();
    log::debug!("timer: local APIC one-shot at {} kHz", hz / 1000);
}

/// Interrupts at `deadline` in nanoseconds since boot, or earlier if that is too far off for the
/// timer; at once if it has passed.
fn arm(deadline: u64) {
    let ns = deadline.saturating_sub(clock::now_ns());
    match ONE_SHOT_HZ.load(Ordering::Relaxed) {
        0 => lapic::set_tsc_deadline(cpu::tsc().saturating_add(clock::scale().ticks(ns))),
        hz => {
            let ticks = Scale::from_hz(hz).ticks(ns);
            // Rounded up, and at least 1: 0 would disarm it.
            lapic::set_one_shot(u32::try_from(ticks).unwrap_or(u32::MAX).saturating_add(1));
        }
    }
}

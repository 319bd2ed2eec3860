//! Time that passes while the machine is stopped, as by QEMU's `stop` or while its state is in a
//! file: the machine's own clock does not count it, and the world does. Leases run out meanwhile.
//!
//! The real-time clock goes on, so that it is compared every so often. What is missing is added to
//! the time since boot: timers that should have expired meanwhile do so.

#[cfg(target_os = "none")]
pub(crate) use machine::follow;
#[cfg(target_os = "none")]
pub(super) use machine::notice;

const SECOND: u64 = 1_000_000_000;
/// The real-time clock counts seconds, and may lag a little: less than this is no pause.
const LEAST: u64 = 2 * SECOND;
/// So many pauses one after the other are none: the two clocks run at different speeds, as under
/// QEMU's `-icount`.
const TOO_MANY: u32 = 3;

/// Compares two clocks.
#[derive(Default)]
struct Comparison {
    /// What both said when they were last looked at, in nanoseconds.
    last: Option<(u64, u64)>,
    /// How many times in a row something was missing.
    pauses: u32,
}

impl Comparison {
    /// Takes what the real-time clock says, in seconds, and the time since boot, in nanoseconds.
    /// Returns what the latter lacks, which is from now on taken to be added.
    fn look(&mut self, real: u64, time: u64) -> Option<u64> {
        let real = real.saturating_mul(SECOND);
        let (real_before, before) = self.last.replace((real, time))?;
        let passed = real.saturating_sub(real_before);
        let missing = passed.saturating_sub(time.saturating_sub(before));
        if missing < LEAST {
            self.pauses = 0;
            return None;
        }
        self.pauses = (self.pauses + 1).min(TOO_MANY);
        if self.pauses == TOO_MANY {
            return None;
        }
        self.last = Some((real, time + missing));
        Some(missing)
    }
}

#[cfg(target_os = "none")]
mod machine {
    use embassy_futures::select::{Either, select};
    use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
    use embassy_sync::signal::Signal;
    use embassy_time::{Duration, Timer};
    use x86_64::instructions::port::Port;

    use super::{Comparison, SECOND};
    use crate::acpi::Rtc;
    use crate::time::{alarm, clock, kvmclock, rtc};

    /// How often the clocks are compared where nobody says that the machine was stopped.
    const LOOK: Duration = Duration::from_secs(1);
    /// The same where KVM says so: this is only for the clocks not to drift apart unnoticed.
    const LOOK_AT_DRIFT: Duration = Duration::from_secs(60);
    /// How long the machine has run again before it looks: what has waited for it goes first.
    const CATCH_BREATH: Duration = Duration::from_millis(100);

    /// The clock's ports: the number of a register, and what is in it.
    const REGISTER: u16 = 0x70;
    const VALUE: u16 = 0x71;

    static STOPPED: Signal<CriticalSectionRawMutex, ()> = Signal::new();

    /// Sees whether KVM says that the machine was stopped. A load from memory.
    pub(in crate::time) fn notice() {
        if clock::is_kvmclock() && kvmclock::take_stopped() {
            STOPPED.signal(());
        }
    }

    /// Makes up for pauses, for ever.
    pub(crate) async fn follow(clock: Rtc) -> ! {
        let mut comparison = Comparison::default();
        let look = if clock::is_kvmclock() { LOOK_AT_DRIFT } else { LOOK };
        loop {
            if let Some(real) = rtc::read(clock.century, read)
                && let Some(missing) = comparison.look(real, clock::now_ns())
            {
                clock::skip(missing);
                log::warn!("time: the machine was stopped for about {} s", missing / SECOND);
                alarm::on_timer();
            }
            if let Either::First(()) = select(STOPPED.wait(), Timer::after(look)).await {
                Timer::after(CATCH_BREATH).await;
            }
        }
    }

    fn read(register: u8) -> u8 {
        // SAFETY: the ports of the real-time clock, which the FADT says is there; only this
        // function uses them. Bit 7 stays clear, which lets non-maskable interrupts through.
        unsafe { Port::new(REGISTER).write(register & 0x7f) };
        // SAFETY: as above. Reading has no side effect on the registers that are read here.
        unsafe { Port::new(VALUE).read() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_is_added_and_once() {
        let mut comparison = Comparison::default();
        // Right from the start, whatever the date.
        assert_eq!(comparison.look(1_795_819_089, 5 * SECOND), None);
        assert_eq!(comparison.look(1_795_819_091, 6 * SECOND), None, "a second more or less");
        let missing = comparison.look(1_795_819_152, 7 * SECOND);
        assert_eq!(missing, Some(60 * SECOND));
        assert_eq!(comparison.look(1_795_819_153, 68 * SECOND), None, "it was added");
        assert_eq!(comparison.look(1_795_819_100, 69 * SECOND), None, "set back by somebody");
        assert_eq!(comparison.look(1_795_819_101, 70 * SECOND), None);
    }

    #[test]
    fn clocks_of_different_speeds_are_left_alone() {
        let mut comparison = Comparison::default();
        let found: Vec<_> = (0..100)
            .filter_map(|second| comparison.look(1000 + 10 * second, second * SECOND))
            .collect();
        assert!(found.len() < TOO_MANY as usize, "{found:?}");
    }

    #[test]
    fn a_machine_may_be_stopped_again_and_again() {
        let mut comparison = Comparison::default();
        let (mut real, mut time) = (1000, 0);
        for _ in 0..10 {
            for _ in 0..5 {
                assert_eq!(comparison.look(real, time), None);
                (real, time) = (real + 1, time + SECOND);
            }
            real += 30;
            assert_eq!(comparison.look(real, time), Some(30 * SECOND));
            (real, time) = (real + 1, time + 31 * SECOND);
        }
    }
}

//! How fast the TSC runs, by what the processor or the hypervisor says, or by a timer.

use core::fmt;

/// No TSC runs slower or faster: what says otherwise is not believed.
const PLAUSIBLE: core::ops::RangeInclusive<u64> = 1_000_000..=100_000_000_000;
/// Looks within which a timer has moved. Reading a port takes 100 ns where that is fastest, so that
/// these are hundreds of steps of the timer at least.
const LOOKS: u32 = 3_000;

/// A timer that counts up.
#[derive(Clone, Copy)]
pub(super) struct Timer {
    /// How fast.
    pub(super) hz: u64,
    /// Its bits.
    pub(super) mask: u32,
    /// How long the TSC is compared with it, in steps: as many as make the frequency right to about
    /// 60 parts in a million, and fewer than its bits hold.
    pub(super) steps: u32,
}

/// The ACPI power management timer (ACPI 6.5, section 4.8.2.1): 24 bits are what every machine has.
/// 5 ms.
pub(super) const PM_TIMER: Timer = Timer { hz: 3_579_545, mask: 0x00ff_ffff, steps: 17_898 };

/// By CPUID leaf 15h (Intel SDM volume 2, CPUID): the crystal's frequency in ECX, and the TSC's
/// ratio to it in EBX and EAX. Processors that do not know their crystal say 0.
pub(super) fn by_crystal(eax: u32, ebx: u32, ecx: u32) -> Option<u64> {
    let hz = (u64::from(ecx) * u64::from(ebx)).checked_div(eax.into())?;
    Some(hz).filter(|hz| PLAUSIBLE.contains(hz))
}

/// By the hypervisors' leaf 40000010h, which VMware began with and KVM has too: kHz in EAX.
pub(super) fn by_hypervisor(eax: u32) -> Option<u64> {
    Some(u64::from(eax) * 1000).filter(|hz| PLAUSIBLE.contains(hz))
}

/// Why a timer tells no frequency.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Error {
    /// It does not move.
    StandsStill,
    /// What comes out is no frequency of a TSC.
    Implausible(u64),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StandsStill => f.write_str("it stands still"),
            Self::Implausible(hz) => write!(f, "by it the TSC runs at {hz} Hz"),
        }
    }
}

/// By a timer: `read` returns the TSC and the timer at the same moment.
pub(super) fn by_timer(timer: Timer, mut read: impl FnMut() -> (u64, u32)) -> Result<u64, Error> {
    let (tsc_from, from) = read();
    let (mut latest, mut looks) = (0, 0);
    loop {
        let (tsc, now) = read();
        let passed = now.wrapping_sub(from) & timer.mask;
        if passed >= timer.steps {
            let ticks = u128::from(tsc.saturating_sub(tsc_from));
            let hz = (ticks * u128::from(timer.hz) / u128::from(passed)) as u64;
            return if PLAUSIBLE.contains(&hz) { Ok(hz) } else { Err(Error::Implausible(hz)) };
        }
        // One that goes to and fro does not get on either.
        looks = if passed > latest { 0 } else { looks + 1 };
        latest = latest.max(passed);
        if looks == LOOKS {
            return Err(Error::StandsStill);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frequency_that_is_told_is_believed_if_it_can_be() {
        // A Skylake server: 25 MHz, 168 / 2.
        assert_eq!(by_crystal(2, 168, 25_000_000), Some(2_100_000_000));
        // Its crystal is not known, or the leaf is not there at all.
        assert_eq!(by_crystal(2, 168, 0), None);
        assert_eq!(by_crystal(0, 168, 25_000_000), None);
        assert_eq!(by_crystal(1, u32::MAX, u32::MAX), None);
        assert_eq!(by_hypervisor(2_893_437), Some(2_893_437_000));
        assert_eq!(by_hypervisor(0), None);
        assert_eq!(by_hypervisor(u32::MAX), None);
    }

    /// A TSC of `hz` beside a timer, each look taking a microsecond.
    fn machine(hz: u64, timer: impl Fn(u64) -> u32) -> impl FnMut() -> (u64, u32) {
        let mut us = 0;
        move || {
            us += 1;
            (us * hz / 1_000_000, timer(us))
        }
    }

    fn running(us: u64) -> u32 {
        // About to wrap.
        0x00ff_ff00u32.wrapping_add((us * PM_TIMER.hz / 1_000_000) as u32)
    }

    #[test]
    fn a_timer_that_runs_tells_the_frequency() {
        for hz in [1_000_000_000, 2_893_437_000] {
            let measured = by_timer(PM_TIMER, machine(hz, running)).unwrap();
            assert!(measured.abs_diff(hz) < hz / 1000, "{measured} for {hz}");
        }
    }

    #[test]
    fn a_timer_that_does_not_is_an_error() {
        let timers: [fn(u64) -> u32; 3] = [|_| 0, |_| u32::MAX, |us| us.min(1000) as u32];
        for timer in timers {
            assert_eq!(by_timer(PM_TIMER, machine(1_000_000_000, timer)), Err(Error::StandsStill));
        }
        assert!(by_timer(PM_TIMER, machine(1_000_000_000, |us| (us % 2) as u32)).is_err());
        assert_eq!(by_timer(PM_TIMER, machine(0, running)), Err(Error::Implausible(0)));
    }
}

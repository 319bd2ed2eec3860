//! Conversion between counter ticks and nanoseconds, in the form KVM publishes it.

/// Nanoseconds are `(ticks << shift) * multiplier >> 32` (Linux `arch/x86/include/asm/pvclock.h`,
/// `pvclock_scale_delta`; a negative shift goes right).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scale {
    pub(crate) multiplier: u32,
    pub(crate) shift: i8,
}

impl Scale {
    /// The scale of a counter that runs at `hz`, exact to 31 bits.
    ///
    /// `hz` is at least 1.
    pub(crate) fn from_hz(hz: u64) -> Self {
        let mut shift = 0i8;
        // multiplier = 10^9 * 2^32 / hz / 2^shift, brought into the upper half of 32 bits.
        let ratio = (1_000_000_000u128 << 64) / u128::from(hz.max(1));
        let mut multiplier = ratio >> 32;
        while multiplier > u128::from(u32::MAX) {
            shift += 1;
            multiplier = ratio >> (32 + shift);
        }
        while multiplier < 1 << 31 && shift > -31 {
            shift -= 1;
            multiplier = ratio >> (32 + shift);
        }
        Self { multiplier: multiplier as u32, shift }
    }

    /// Nanoseconds in `ticks`, at most `u64::MAX`.
    pub(crate) fn ns(self, ticks: u64) -> u64 {
        let ticks = u128::from(ticks);
        // A counter needs no shift beyond these: they stand for below 1 Hz and above 10^18 Hz.
        let shift = self.shift.clamp(-63, 31);
        let ticks = if shift < 0 { ticks >> -shift } else { ticks << shift };
        let ns = (ticks * u128::from(self.multiplier)) >> 32;
        u64::try_from(ns).unwrap_or(u64::MAX)
    }

    /// Ticks in `ns`, at most `u64::MAX`, so that `ns(ticks(n))` is `n` or barely less.
    pub(crate) fn ticks(self, ns: u64) -> u64 {
        let ticks = (u128::from(ns) << 32) / u128::from(self.multiplier.max(1));
        let shift = self.shift.clamp(-31, 31);
        let ticks = if shift < 0 { ticks << -shift } else { ticks >> shift };
        u64::try_from(ticks).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_frequencies_are_exact_for_a_year() {
        const YEAR: u64 = 365 * 24 * 3600;
        for hz in [1_000, 3_579_545, 24_000_000, 999_999_999, 1_000_000_000, 2_400_000_123, 6 << 30]
        {
            let ns = Scale::from_hz(hz).ns(hz * YEAR);
            let expected = YEAR * 1_000_000_000;
            // 31 bits of multiplier: an error of less than a second in 68 years.
            assert!(ns.abs_diff(expected) < YEAR, "{hz} Hz: {ns} for {expected}");
        }
    }

    #[test]
    fn known_pvclock_pairs() {
        // 1 GHz: (t << 1) * 2^31 >> 32 = t.
        assert_eq!(Scale { multiplier: 1 << 31, shift: 1 }.ns(12_345), 12_345);
        // 2 GHz and 4 GHz: half and a quarter.
        assert_eq!(Scale { multiplier: 1 << 31, shift: 0 }.ns(1000), 500);
        assert_eq!(Scale { multiplier: 1 << 31, shift: -1 }.ns(1000), 250);
    }

    #[test]
    fn nothing_overflows() {
        for shift in [i8::MIN, -64, -1, 0, 1, 64, i8::MAX] {
            for multiplier in [0, 1, u32::MAX] {
                let scale = Scale { multiplier, shift };
                for value in [0, 1, u64::MAX] {
                    scale.ns(value);
                    scale.ticks(value);
                }
            }
        }
        assert_eq!(Scale { multiplier: u32::MAX, shift: 31 }.ns(u64::MAX), u64::MAX);
        for hz in [0, 1, u64::MAX] {
            Scale::from_hz(hz);
        }
    }

    #[test]
    fn ticks_invert_ns() {
        for hz in [1_000_000, 1_000_000_000, 2_893_437_000] {
            let scale = Scale::from_hz(hz);
            for ns in [0, 1_000, 1_000_000, 3_600_000_000_000] {
                let back = scale.ns(scale.ticks(ns));
                assert!(back <= ns && ns - back <= 2 + 1_000_000_000 / hz, "{hz} {ns} {back}");
            }
        }
    }
}

//! The PC's real-time clock (MC146818A datasheet; IBM PC AT for the ports and the century): the one
//! clock that goes on while a hypervisor has the machine stopped.

// Registers.
const SECONDS: u8 = 0;
const MINUTES: u8 = 2;
const HOURS: u8 = 4;
const DAY: u8 = 7;
const MONTH: u8 = 8;
const YEAR: u8 = 9;
const STATUS_A: u8 = 10;
const STATUS_B: u8 = 11;

/// In status A: the others are about to change.
const UPDATING: u8 = 1 << 7;
/// In status B: numbers are binary, not decimal; the day has 24 hours.
const BINARY: u8 = 1 << 2;
const HOURS_24: u8 = 1 << 1;
/// In the hours, where the day has twice 12.
const AFTERNOON: u8 = 1 << 7;

/// Seconds since the beginning of 1970, if the clock can be read just now. `century`: which of its
/// registers has that; `read` reads one.
pub(super) fn read(century: Option<u8>, read: impl Fn(u8) -> u8) -> Option<u64> {
    let all = || {
        let date = [SECONDS, MINUTES, HOURS, DAY, MONTH, YEAR].map(&read);
        (date, century.map(&read))
    };
    if read(STATUS_A) & UPDATING != 0 {
        return None;
    }
    let seen = all();
    // Twice the same: what was read in the middle of a change is not.
    if seen != all() {
        return None;
    }
    decode(seen.0, seen.1, read(STATUS_B))
}

fn decode(date: [u8; 6], century: Option<u8>, status: u8) -> Option<u64> {
    let number = |raw: u8| -> Option<u64> {
        if status & BINARY != 0 {
            return Some(raw.into());
        }
        let (tens, ones) = (raw >> 4, raw & 0xf);
        (tens < 10 && ones < 10).then_some(u64::from(tens * 10 + ones))
    };
    let [seconds, minutes, hours, day, month, year] = date;
    let hours = if status & HOURS_24 != 0 {
        number(hours)?
    } else {
        number(hours & !AFTERNOON)? % 12 + if hours & AFTERNOON != 0 { 12 } else { 0 }
    };
    let (seconds, minutes) = (number(seconds)?, number(minutes)?);
    let (day, month) = (number(day)?, number(month)?);
    let century = century.and_then(number).filter(|century| (19..100).contains(century));
    let year = century.unwrap_or(20) * 100 + number(year)?;
    let is_date = (1..=31).contains(&day) && (1..=12).contains(&month) && year >= 1970;
    let is_time = seconds < 60 && minutes < 60 && hours < 24;
    let days = is_date.then(|| days_before(year, month) + day - 1)?;
    is_time.then_some(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
}

/// Days from the beginning of 1970 to that of a month.
fn days_before(year: u64, month: u64) -> u64 {
    const BEFORE: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let leap_days = |year: u64| year / 4 - year / 100 + year / 400;
    let is_leap = leap_days(year) != leap_days(year - 1);
    let this_year = BEFORE[month as usize - 1] + u64::from(is_leap && month > 2);
    (year - 1970) * 365 + leap_days(year - 1) - leap_days(1969) + this_year
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// 2026-11-27 22:38:09 UTC, by `date`.
    const NOW: u64 = 1_795_819_089;

    #[test]
    fn each_way_of_writing_a_date_is_read() {
        for (date, century, status) in [
            ([0x09, 0x38, 0x22, 0x27, 0x11, 0x26], Some(0x20), HOURS_24),
            ([0x09, 0x38, 0x22, 0x27, 0x11, 0x26], None, HOURS_24),
            ([0x09, 0x38, 0x22, 0x27, 0x11, 0x26], Some(0), HOURS_24),
            ([9, 38, 22, 27, 11, 26], Some(20), HOURS_24 | BINARY),
            ([0x09, 0x38, 0x90, 0x27, 0x11, 0x26], Some(0x20), 0),
            ([9, 38, 10 | AFTERNOON, 27, 11, 26], Some(20), BINARY),
        ] {
            assert_eq!(decode(date, century, status), Some(NOW), "{date:x?} {status}");
        }
        // Midnight and noon of twice 12 hours.
        let at = |hours| decode([0, 0, hours, 1, 1, 0x70], Some(0x19), 0);
        assert_eq!([at(0x12), at(0x92)], [Some(0), Some(12 * 3600)]);
    }

    #[test]
    fn leap_years_count() {
        let day = |century, year, month, day| {
            decode([0, 0, 0, day, month, year], Some(century), HOURS_24 | BINARY)
                .map(|seconds| seconds / 86400)
        };
        assert_eq!(day(20, 0, 3, 1), Some(11_017));
        assert_eq!(day(20, 24, 2, 29), Some(19_782));
        assert_eq!(day(20, 24, 12, 31), Some(20_088));
        assert_eq!(day(21, 0, 3, 1), Some(47_541));
    }

    #[test]
    fn nonsense_is_no_date() {
        assert_eq!(decode([0xff; 6], Some(0xff), 0xff), None);
        assert_eq!(decode([0; 6], Some(0), 0), None);
        assert_eq!(decode([0x09, 0x38, 0x22, 0x27, 0x1a, 0x26], Some(0x20), HOURS_24), None);
        assert_eq!(decode([9, 38, 24, 27, 11, 26], Some(20), HOURS_24 | BINARY), None);
    }

    #[test]
    fn a_clock_in_the_middle_of_a_change_is_not_read() {
        let clock = |register| match register {
            STATUS_B => HOURS_24 | BINARY,
            DAY | MONTH => 1,
            _ => 0,
        };
        assert!(read(None, clock).is_some());
        assert_eq!(read(None, |register| clock(register) | UPDATING), None);
        let seconds = Cell::new(0);
        let changing = |register| match register {
            SECONDS => seconds.replace(seconds.get() + 1),
            register => clock(register),
        };
        assert_eq!(read(None, changing), None);
    }
}

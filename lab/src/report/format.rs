//! How figures are written.

use crate::result::Migration;

/// Megabits a second, with a precision that fits.
pub(super) fn megabits(bits_per_s: f64) -> String {
    let megabits = bits_per_s / 1e6;
    if megabits.abs() < 9.995 { format!("{megabits:.2}") } else { format!("{megabits:.1}") }
}

/// A part of a whole.
pub(super) fn percent(part: f64) -> String {
    format!("{:.1}%", 100.0 * part)
}

/// 1,234,567.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The service gap, if it was long enough to be seen.
pub(super) fn service_gap(run: &Migration) -> String {
    let is_seen = run.losses.is_some() || run.service_gap_ms > 0.0;
    if is_seen { duration(run.service_gap_ms) } else { "none seen".into() }
}

/// A length of time that may be short, in microseconds.
pub(super) fn micros(us: f64) -> String {
    match us {
        ..10.0 => format!("{us:.1} µs"),
        ..999.5 => format!("{us:.0} µs"),
        ..99_950.0 => format!("{:.1} ms", us / 1000.0),
        _ => duration(us / 1000.0),
    }
}

/// A length of time, in milliseconds up to a second and in seconds beyond.
pub(super) fn duration(ms: f64) -> String {
    if ms < 999.5 { format!("{ms:.0} ms") } else { format!("{:.2} s", ms / 1000.0) }
}

//! What clients write behind a command.

use alloc::string::String;

use godwit::time::{Duration, Instant};

use crate::failure::Failure;
use crate::request;

/// Text, as far as it can be shown.
pub(super) fn shown(text: &[u8]) -> String {
    String::from_utf8_lossy(&text[..text.len().min(64)]).into_owned()
}

/// A number.
pub(super) fn number(text: &[u8]) -> Result<i64, Failure> {
    request::integer(text).ok_or(Failure::NotAnInteger)
}

/// The moment that is so many units after `now`.
pub(super) fn later(
    now: Instant,
    count: i64,
    unit: Duration,
    command: &'static str,
) -> Result<Instant, Failure> {
    let failure = Failure::ExpireTime(command);
    let count = u64::try_from(count).ok().filter(|&count| count > 0).ok_or(failure.clone())?;
    let ticks = count.checked_mul(unit.as_ticks()).ok_or(failure.clone())?;
    now.checked_add(Duration::from_ticks(ticks)).ok_or(failure)
}

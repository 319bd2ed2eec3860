//! Commands about keys, whatever their values are.

use alloc::string::ToString;
use alloc::vec::Vec;

use godwit::time::Duration;

use super::arguments::{later, number};
use crate::database::Database;
use crate::failure::Failure;
use crate::glob;
use crate::reply::Replies;

/// Keys that one step of a walk looks at, unless the client says otherwise, and at most.
const STEP: usize = 10;
const MAX_STEP: usize = 4096;

pub(super) fn del(
    database: &mut Database,
    keys: &[&[u8]],
    replies: &mut Replies,
) -> Result<(), Failure> {
    replies.count(keys.iter().filter(|key| database.store.remove(key)).count());
    Ok(())
}

pub(super) fn exists(
    database: &mut Database,
    keys: &[&[u8]],
    replies: &mut Replies,
) -> Result<(), Failure> {
    replies.count(keys.iter().filter(|key| database.store.get(key).is_some()).count());
    Ok(())
}

pub(super) fn kind(
    database: &mut Database,
    arguments: &[&[u8]],
    replies: &mut Replies,
) -> Result<(), Failure> {
    replies.status(database.store.get(arguments[0]).map_or("none", |value| value.kind()));
    Ok(())
}

pub(super) fn expire(
    database: &mut Database,
    arguments: &[&[u8]],
    replies: &mut Replies,
) -> Result<(), Failure> {
    expire_in(database, arguments, Duration::from_secs(1), "expire", replies)
}

pub(super) fn pexpire(
    database: &mut Database,
    arguments: &[&[u8]],
    replies: &mut Replies,
) -> Result<(), Failure> {
    expire_in(database, arguments, Duration::from_millis(1), "pexpire", replies)
}

fn expire_in(
    database: &mut Database,
    arguments: &[&[u8]],
    unit: Duration,
    command: &'static str,
    replies: &mut Replies,
) -> Result<(), Failure> {
    let (key, time) = (arguments[0], number(arguments[1])?);
    let is_there = if time <= 0 {
        database.store.remove(key)
    } else {
        let time = later(database.store.now(), time, unit, command)?;
        database.store.expire(key, Some(time))?
    };
    replies.count(is_there.into());
    Ok(())
}

pub(super) fn persist(
    database: &mut Database,
    arguments: &[&[u8]],
    replies: &mut Replies,
) -> Result<(), Failure> {
    let key = arguments[0];
    let changes = database.store.expires(key).is_some() && database.store.expire(key, None)?;
    replies.count(changes.into());
    Ok(())
}

pub(super) fn ttl(
    database: &mut Database,
    arguments: &[&[u8]],
    replies: &mut Replies,
) -> Result<(), Failure> {
    // Half a second is a second: it still exists.
    left(database, arguments[0], |left| (left.as_millis() + 500) / 1000, replies);
    Ok(())
}

pub(super) fn pttl(
    database: &mut Database,
    arguments: &[&[u8]],
    replies: &mut Replies,
) -> Result<(), Failure> {
    left(database, arguments[0], |left| left.as_millis(), replies);
    Ok(())
}

/// How long a key still exists: -1 if that is for ever, -2 if it does not.
fn left(database: &Database, key: &[u8], unit: impl Fn(Duration) -> u64, replies: &mut Replies) {
    let store = &database.store;
    replies.integer(match (store.get(key), store.expires(key)) {
        (None, _) => -2,
        (Some(_), None) => -1,
        (Some(_), Some(time)) => {
            i64::try_from(unit(time.saturating_duration_since(store.now()))).unwrap_or(i64::MAX)
        }
    });
}

pub(super) fn keys(
    database: &mut Database,
    arguments: &[&[u8]],
    replies: &mut Replies,
) -> Result<(), Failure> {
    let keys = database.store.keys().filter(|key| glob::matches(arguments[0], key));
    replies.bulks(keys.collect::<Vec<_>>().into_iter());
    Ok(())
}

pub(super) fn scan(
    database: &mut Database,
    arguments: &[&[u8]],
    replies: &mut Replies,
) -> Result<(), Failure> {
    let cursor = usize::try_from(number(arguments[0])?).map_err(|_| Failure::NotAnInteger)?;
    let (mut pattern, mut count, mut kind): (&[u8], _, Option<&[u8]>) = (b"*", STEP, None);
    let (options, rest) = arguments[1..].as_chunks();
    if !rest.is_empty() {
        return Err(Failure::Syntax);
    }
    for [name, value] in options {
        if name.eq_ignore_ascii_case(b"match") {
            pattern = value;
        } else if name.eq_ignore_ascii_case(b"count") {
            let asked = usize::try_from(number(value)?).map_err(|_| Failure::NotAnInteger)?;
            count = asked.clamp(1, MAX_STEP);
        } else if name.eq_ignore_ascii_case(b"type") {
            kind = Some(value);
        } else {
            return Err(Failure::Syntax);
        }
    }
    let store = &database.store;
    let is_meant = |key: &&[u8]| {
        let is_kind = |kind| store.get(key).is_some_and(|value| value.kind().as_bytes() == kind);
        glob::matches(pattern, key) && kind.is_none_or(is_kind)
    };
    let (next, keys) = store.scan(cursor, count);
    let keys: Vec<_> = keys.into_iter().filter(is_meant).collect();
    replies.array(2);
    replies.bulk(next.to_string().as_bytes());
    replies.bulks(keys.into_iter());
    Ok(())
}

pub(super) fn dbsize(
    database: &mut Database,
    _: &[&[u8]],
    replies: &mut Replies,
) -> Result<(), Failure> {
    replies.count(database.store.len());
    Ok(())
}

pub(super) fn flush(
    database: &mut Database,
    arguments: &[&[u8]],
    replies: &mut Replies,
) -> Result<(), Failure> {
    let is_known =
        |mode: &&[u8]| mode.eq_ignore_ascii_case(b"sync") || mode.eq_ignore_ascii_case(b"async");
    if !arguments.iter().all(is_known) {
        return Err(Failure::Syntax);
    }
    database.store.clear();
    replies.ok();
    Ok(())
}

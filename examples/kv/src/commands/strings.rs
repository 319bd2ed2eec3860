//! Commands about values that are texts.

use alloc::boxed::Box;
use alloc::string::ToString;

use godwit::time::{Duration, Instant};

use super::arguments::{later, number};
use crate::database::Database;
use crate::failure::Failure;
use crate::reply::Replies;
use crate::store::{MAX_VALUE, Store, Value};

pub(super) fn get(
    database: &mut Database,
    arguments: &[&[u8]],
    replies: &mut Replies,
) -> Result<(), Failure> {
    replies.bulk_or_null(database.store.text(arguments[0])?);
    Ok(())
}

/// When a value is set, and for how long.
#[derive(Default)]
struct Options {
    /// Only if there is such a key, or only if there is none.
    exists: Option<bool>,
    expires: Option<Instant>,
    keeps_expiry: bool,
}

impl Options {
    fn parse(words: &[&[u8]], now: Instant) -> Result<Self, Failure> {
        let mut options = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
            let has_expiry = options.keeps_expiry || options.expires.is_some();
            if is("nx") && options.exists.is_none() {
                options.exists = Some(false);
            } else if is("xx") && options.exists.is_none() {
                options.exists = Some(true);
            } else if is("keepttl") && !has_expiry {
                options.keeps_expiry = true;
            } else if (is("ex") || is("px")) && !has_expiry {
                let time = number(words.next().ok_or(Failure::Syntax)?)?;
                let unit = if is("ex") { Duration::from_secs(1) } else { Duration::from_millis(1) };
                options.expires = Some(later(now, time, unit, "set")?);
            } else {
                return Err(Failure::Syntax);
            }
        }
        Ok(options)
    }
}

pub(super) fn set(
    database: &mut Database,
    arguments: &[&[u8]],
    replies: &mut Replies,
) -> Result<(), Failure> {
    let store = &mut database.store;
    let (key, value) = (arguments[0], arguments[1]);
    let options = Options::parse(&arguments[2..], store.now())?;
    if options.exists.is_some_and(|exists| exists != store.get(key).is_some()) {
        replies.bulk_or_null(None);
        return Ok(());
    }
    let expires = if options.keeps_expiry { store.expires(key) } else { options.expires };
    store.set(key, Value::Text(value.into()), expires)?;
    replies.ok();
    Ok(())
}

pub(super) fn incr(
    database: &mut Database,
    arguments: &[&[u8]],
    replies: &mut Replies,
) -> Result<(), Failure> {
    add(&mut database.store, arguments[0], 1, replies)
}

pub(super) fn decr(
    database: &mut Database,
    arguments: &[&[u8]],
    replies: &mut Replies,
) -> Result<(), Failure> {
    add(&mut database.store, arguments[0], -1, replies)
}

pub(super) fn incr_by(
    database: &mut Database,
    arguments: &[&[u8]],
    replies: &mut Replies,
) -> Result<(), Failure> {
    add(&mut database.store, arguments[0], number(arguments[1])?, replies)
}

pub(super) fn decr_by(
    database: &mut Database,
    arguments: &[&[u8]],
    replies: &mut Replies,
) -> Result<(), Failure> {
    let amount = number(arguments[1])?.checked_neg().ok_or(Failure::Overflow)?;
    add(&mut database.store, arguments[0], amount, replies)
}

/// A text that is a number, or none that counts as 0, becomes a larger one.
fn add(store: &mut Store, key: &[u8], amount: i64, replies: &mut Replies) -> Result<(), Failure> {
    let before = store.text(key)?.map_or(Ok(0), number)?;
    let after = before.checked_add(amount).ok_or(Failure::Overflow)?;
    let text = after.to_string().into_boxed_str().into_boxed_bytes();
    store.set(key, Value::Text(text), store.expires(key))?;
    replies.integer(after);
    Ok(())
}

pub(super) fn append(
    database: &mut Database,
    arguments: &[&[u8]],
    replies: &mut Replies,
) -> Result<(), Failure> {
    let store = &mut database.store;
    let (key, more) = (arguments[0], arguments[1]);
    let present = store.text(key)?.unwrap_or_default();
    if present.len() + more.len() > MAX_VALUE {
        return Err(Failure::TooLong);
    }
    let text: Box<[u8]> = [present, more].concat().into();
    let len = text.len();
    store.set(key, Value::Text(text), store.expires(key))?;
    replies.count(len);
    Ok(())
}

pub(super) fn strlen(
    database: &mut Database,
    arguments: &[&[u8]],
    replies: &mut Replies,
) -> Result<(), Failure> {
    replies.count(database.store.text(arguments[0])?.map_or(0, <[u8]>::len));
    Ok(())
}

pub(super) fn mget(
    database: &mut Database,
    keys: &[&[u8]],
    replies: &mut Replies,
) -> Result<(), Failure> {
    replies.array(keys.len());
    for key in keys {
        // What is no text is none here.
        replies.bulk_or_null(database.store.text(key).unwrap_or_default());
    }
    Ok(())
}

pub(super) fn mset(
    database: &mut Database,
    arguments: &[&[u8]],
    replies: &mut Replies,
) -> Result<(), Failure> {
    let (pairs, rest) = arguments.as_chunks();
    if !rest.is_empty() {
        return Err(Failure::Arguments("mset"));
    }
    for [key, value] in pairs {
        database.store.set(key, Value::Text((*value).into()), None)?;
    }
    replies.ok();
    Ok(())
}

//! Commands about values that are lists.

use alloc::vec::Vec;

use super::arguments::number;
use crate::database::Database;
use crate::failure::Failure;
use crate::reply::Replies;
use crate::store::{End, Store};

pub(super) fn lpush(
    database: &mut Database,
    arguments: &[&[u8]],
    replies: &mut Replies,
) -> Result<(), Failure> {
    push(&mut database.store, End::Left, arguments, replies)
}

pub(super) fn rpush(
    database: &mut Database,
    arguments: &[&[u8]],
    replies: &mut Replies,
) -> Result<(), Failure> {
    push(&mut database.store, End::Right, arguments, replies)
}

fn push(
    store: &mut Store,
    end: End,
    arguments: &[&[u8]],
    replies: &mut Replies,
) -> Result<(), Failure> {
    let (&key, items) = arguments.split_first().expect("at least two");
    let mut len = 0;
    for item in items {
        len = store.push(key, end, item)?;
    }
    replies.count(len);
    Ok(())
}

pub(super) fn lpop(
    database: &mut Database,
    arguments: &[&[u8]],
    replies: &mut Replies,
) -> Result<(), Failure> {
    pop(&mut database.store, End::Left, arguments, replies)
}

pub(super) fn rpop(
    database: &mut Database,
    arguments: &[&[u8]],
    replies: &mut Replies,
) -> Result<(), Failure> {
    pop(&mut database.store, End::Right, arguments, replies)
}

fn pop(
    store: &mut Store,
    end: End,
    arguments: &[&[u8]],
    replies: &mut Replies,
) -> Result<(), Failure> {
    let key = arguments[0];
    let Some(&count) = arguments.get(1) else {
        replies.bulk_or_null(store.pop(key, end)?.as_deref());
        return Ok(());
    };
    let count = usize::try_from(number(count)?).map_err(|_| Failure::NotAnInteger)?;
    let Some(list) = store.list(key)? else {
        replies.bulk_or_null(None);
        return Ok(());
    };
    let count = count.min(list.items().len());
    // Nothing is taken that could not be sent.
    let items = list.items().iter();
    let bytes: usize = match end {
        End::Left => items.take(count).map(|item| item.len() + 16).sum(),
        End::Right => items.rev().take(count).map(|item| item.len() + 16).sum(),
    };
    if bytes > crate::reply::MAX {
        return Err(Failure::ReplyTooLong);
    }
    replies.array(count);
    for _ in 0..count {
        replies.bulk_or_null(store.pop(key, end)?.as_deref());
    }
    Ok(())
}

pub(super) fn llen(
    database: &mut Database,
    arguments: &[&[u8]],
    replies: &mut Replies,
) -> Result<(), Failure> {
    replies.count(database.store.list(arguments[0])?.map_or(0, |list| list.items().len()));
    Ok(())
}

pub(super) fn lrange(
    database: &mut Database,
    arguments: &[&[u8]],
    replies: &mut Replies,
) -> Result<(), Failure> {
    let (first, last) = (number(arguments[1])?, number(arguments[2])?);
    let Some(list) = database.store.list(arguments[0])? else {
        replies.bulks(Vec::<&[u8]>::new().into_iter());
        return Ok(());
    };
    let len = list.items().len();
    // The last one is meant, too.
    let (start, end) = (place(first, len), place(last, len).saturating_add(1).min(len));
    let end = if last < 0 && last.unsigned_abs() > len as u64 { 0 } else { end };
    replies.bulks(list.items().range(start.min(end)..end));
    Ok(())
}

/// The place of an item that is counted from the end if the number is negative.
fn place(index: i64, len: usize) -> usize {
    let distance = usize::try_from(index.unsigned_abs()).unwrap_or(usize::MAX);
    if index < 0 { len.saturating_sub(distance) } else { distance }
}

//! Commands about the server and the connection: as much as clients ask before they begin.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::arguments::{number, shown};
use crate::database::Database;
use crate::failure::Failure;
use crate::glob;
use crate::reply::Replies;

pub(super) fn ping(
    _: &mut Database,
    arguments: &[&[u8]],
    replies: &mut Replies,
) -> Result<(), Failure> {
    match arguments.first() {
        Some(text) => replies.bulk(text),
        None => replies.status("PONG"),
    }
    Ok(())
}

pub(super) fn echo(
    _: &mut Database,
    arguments: &[&[u8]],
    replies: &mut Replies,
) -> Result<(), Failure> {
    replies.bulk(arguments[0]);
    Ok(())
}

pub(super) fn select(
    _: &mut Database,
    arguments: &[&[u8]],
    replies: &mut Replies,
) -> Result<(), Failure> {
    if number(arguments[0])? != 0 {
        return Err(Failure::NoSuchDatabase);
    }
    replies.ok();
    Ok(())
}

pub(super) fn info(
    database: &mut Database,
    _: &[&[u8]],
    replies: &mut Replies,
) -> Result<(), Failure> {
    let store = &database.store;
    let text = format!(
        "# Server\r\nserver_name:godwit-kv\r\ngodwit_version:{}\r\n\
         # Clients\r\nconnected_clients:{}\r\n\
         # Memory\r\nused_memory:{}\r\nmaxmemory:{}\r\n\
         # Keyspace\r\ndb0:keys={},expires={}\r\n",
        env!("CARGO_PKG_VERSION"),
        database.clients,
        store.used(),
        store.limit(),
        store.len(),
        store.expiring(),
    );
    replies.bulk(text.as_bytes());
    Ok(())
}

pub(super) fn config(
    database: &mut Database,
    arguments: &[&[u8]],
    replies: &mut Replies,
) -> Result<(), Failure> {
    let (&name, patterns) = arguments.split_first().expect("at least one");
    if !name.eq_ignore_ascii_case(b"get") {
        return Err(Failure::UnknownSubcommand(shown(name)));
    }
    let settings = [
        ("appendonly", String::from("no")),
        ("databases", String::from("1")),
        ("maxmemory", database.store.limit().to_string()),
        ("save", String::new()),
    ];
    let is_asked = |setting: &&(&str, String)| {
        patterns.iter().any(|pattern| glob::matches(pattern, setting.0.as_bytes()))
    };
    let asked: Vec<_> = settings.iter().filter(is_asked).flat_map(|(k, v)| [*k, v]).collect();
    replies.bulks(asked.into_iter());
    Ok(())
}

pub(super) fn client(
    _: &mut Database,
    arguments: &[&[u8]],
    replies: &mut Replies,
) -> Result<(), Failure> {
    // Clients say who they are, for lists that there are none of here.
    if !["setname", "setinfo"].iter().any(|name| arguments[0].eq_ignore_ascii_case(name.as_bytes()))
    {
        return Err(Failure::UnknownSubcommand(shown(arguments[0])));
    }
    replies.ok();
    Ok(())
}

pub(super) fn command(_: &mut Database, _: &[&[u8]], replies: &mut Replies) -> Result<(), Failure> {
    // Clients that would show what there is do without.
    replies.array(0);
    Ok(())
}

pub(super) fn quit(_: &mut Database, _: &[&[u8]], replies: &mut Replies) -> Result<(), Failure> {
    replies.ok();
    Ok(())
}

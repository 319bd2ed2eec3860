//! The commands, and how a request is carried out.

mod arguments;
mod keys;
mod lists;
mod server;
mod strings;

use core::ops::RangeInclusive;

use crate::database::Database;
use crate::failure::Failure;
use crate::reply::Replies;
use arguments::shown;

/// Carries a request out: a command and its arguments. Writes get [`Failure::Leaving`] unless
/// the machine takes them.
pub(crate) fn execute(
    database: &mut Database,
    words: &[&[u8]],
    takes_writes: bool,
    replies: &mut Replies,
) -> Next {
    let Some((&name, arguments)) = words.split_first() else { return Next::Request };
    replies.begin();
    let command = COMMANDS.iter().find(|command| name.eq_ignore_ascii_case(command.name()));
    let Some(command) = command else {
        replies.end(Err(Failure::Unknown(shown(name))));
        return Next::Unknown;
    };
    let result = if !command.arguments.contains(&arguments.len()) {
        Err(Failure::Arguments(command.name))
    } else if command.writes && !takes_writes {
        Err(Failure::Leaving)
    } else {
        (command.run)(database, arguments, replies)
    };
    replies.end(result);
    if command.name == "quit" { Next::Quit } else { Next::Request }
}

/// What is to come after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The next one.
    Request,
    /// The next one; this one was none that is known.
    Unknown,
    /// The client wants to go.
    Quit,
}

type Run = fn(&mut Database, &[&[u8]], &mut Replies) -> Result<(), Failure>;

struct Command {
    name: &'static str,
    /// How many there may be.
    arguments: RangeInclusive<usize>,
    /// It may change a value.
    writes: bool,
    run: Run,
}

impl Command {
    fn name(&self) -> &'static [u8] {
        self.name.as_bytes()
    }
}

const ANY: usize = usize::MAX;

const fn read(name: &'static str, arguments: RangeInclusive<usize>, run: Run) -> Command {
    Command { name, arguments, writes: false, run }
}

const fn write(name: &'static str, arguments: RangeInclusive<usize>, run: Run) -> Command {
    Command { name, arguments, writes: true, run }
}

// There is no `hello`: clients that would like to speak RESP3 learn by the error that they cannot.
static COMMANDS: &[Command] = &[
    read("get", 1..=1, strings::get),
    write("set", 2..=ANY, strings::set),
    write("incr", 1..=1, strings::incr),
    write("decr", 1..=1, strings::decr),
    write("incrby", 2..=2, strings::incr_by),
    write("decrby", 2..=2, strings::decr_by),
    write("append", 2..=2, strings::append),
    read("strlen", 1..=1, strings::strlen),
    read("mget", 1..=ANY, strings::mget),
    write("mset", 2..=ANY, strings::mset),
    write("lpush", 2..=ANY, lists::lpush),
    write("rpush", 2..=ANY, lists::rpush),
    write("lpop", 1..=2, lists::lpop),
    write("rpop", 1..=2, lists::rpop),
    read("llen", 1..=1, lists::llen),
    read("lrange", 3..=3, lists::lrange),
    write("del", 1..=ANY, keys::del),
    write("unlink", 1..=ANY, keys::del),
    read("exists", 1..=ANY, keys::exists),
    read("type", 1..=1, keys::kind),
    write("expire", 2..=2, keys::expire),
    write("pexpire", 2..=2, keys::pexpire),
    write("persist", 1..=1, keys::persist),
    read("ttl", 1..=1, keys::ttl),
    read("pttl", 1..=1, keys::pttl),
    read("keys", 1..=1, keys::keys),
    read("scan", 1..=ANY, keys::scan),
    read("dbsize", 0..=0, keys::dbsize),
    write("flushall", 0..=1, keys::flush),
    write("flushdb", 0..=1, keys::flush),
    read("ping", 0..=1, server::ping),
    read("echo", 1..=1, server::echo),
    read("select", 1..=1, server::select),
    read("info", 0..=ANY, server::info),
    read("config", 1..=ANY, server::config),
    read("client", 1..=ANY, server::client),
    read("command", 0..=ANY, server::command),
    read("quit", 0..=ANY, server::quit),
];

#[cfg(test)]
mod tests;

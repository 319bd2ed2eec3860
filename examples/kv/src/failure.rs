//! Why a command was not carried out, in the words that clients of Redis know.

use alloc::string::String;
use core::fmt;

/// What a command is answered with instead of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// There is no such command.
    Unknown(String),
    /// There is no such subcommand.
    UnknownSubcommand(String),
    /// Too few arguments, or too many.
    Arguments(&'static str),
    /// Arguments that make no sense together.
    Syntax,
    /// No number, or none that fits.
    NotAnInteger,
    /// The result would not fit.
    Overflow,
    /// A time that lies in the past or too far ahead.
    ExpireTime(&'static str),
    /// The key has a value of another type.
    WrongType,
    /// Longer than a value may be.
    TooLong,
    /// More than a reply has room for.
    ReplyTooLong,
    /// There is only database 0.
    NoSuchDatabase,
    /// The store is full.
    OutOfMemory,
    /// The machine moves.
    Leaving,
    /// Too many clients.
    Clients,
    /// Too many clients with long requests or replies.
    NoRoom,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => write!(f, "ERR unknown command '{name}'"),
            Self::UnknownSubcommand(name) => write!(f, "ERR unknown subcommand '{name}'"),
            Self::Arguments(name) => {
                write!(f, "ERR wrong number of arguments for '{name}' command")
            }
            Self::Syntax => f.write_str("ERR syntax error"),
            Self::NotAnInteger => f.write_str("ERR value is not an integer or out of range"),
            Self::Overflow => f.write_str("ERR increment or decrement would overflow"),
            Self::ExpireTime(name) => write!(f, "ERR invalid expire time in '{name}' command"),
            Self::WrongType => {
                f.write_str("WRONGTYPE Operation against a key holding the wrong kind of value")
            }
            Self::TooLong => f.write_str("ERR string exceeds maximum allowed size"),
            Self::ReplyTooLong => f.write_str("ERR the reply is too long: ask for less at a time"),
            Self::NoSuchDatabase => f.write_str("ERR DB index is out of range"),
            Self::OutOfMemory => {
                f.write_str("OOM the store is full: delete keys, or boot with a larger kv.memory=")
            }
            Self::Leaving => f.write_str("LOADING the machine is migrating: try again in a moment"),
            Self::Clients => f.write_str("ERR max number of clients reached"),
            Self::NoRoom => f.write_str(
                "OOM too many clients have long requests or replies: ask for less at a time, or \
                 boot with more memory",
            ),
        }
    }
}

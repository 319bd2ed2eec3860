//! What clients share, and how their words are read.

use alloc::string::String;

use crate::failure::Failure;
use crate::store::Store;

/// Longest value, which is about the longest request as well.
pub(crate) const MAX_VALUE: usize = 128 * 1024;

/// What clients share.
pub(crate) struct Database {
    /// Keys and values.
    pub(crate) store: Store,
    /// How many clients there are.
    pub(crate) clients: usize,
}

impl Database {
    /// With nobody there yet.
    pub(crate) fn new(store: Store) -> Self {
        Self { store, clients: 0 }
    }
}

/// What a client wrote, as far as it can be shown.
pub(crate) fn shown(text: &[u8]) -> String {
    String::from_utf8_lossy(&text[..text.len().min(64)]).into_owned()
}

/// A number that a client wrote.
pub(crate) fn number(text: &[u8]) -> Result<i64, Failure> {
    crate::request::integer(text).ok_or(Failure::NotAnInteger)
}

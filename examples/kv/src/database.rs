//! What clients share.

use crate::store::Store;

/// Keys and values, and who uses them.
pub struct Database {
    /// Keys and values.
    pub(crate) store: Store,
    /// How many clients there are.
    pub(crate) clients: usize,
    /// How many there may be.
    pub(crate) most_clients: usize,
}

impl Database {
    /// With nobody there yet, for `most_clients` at a time.
    pub fn new(store: Store, most_clients: usize) -> Self {
        Self { store, clients: 0, most_clients }
    }
}

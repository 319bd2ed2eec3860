//! What clients share.

use crate::store::Store;

/// Keys and values, and who uses them.
pub struct Database {
    /// Keys and values.
    pub(crate) store: Store,
    /// How many clients there are.
    pub(crate) clients: usize,
}

impl Database {
    /// With nobody there yet.
    pub fn new(store: Store) -> Self {
        Self { store, clients: 0 }
    }
}

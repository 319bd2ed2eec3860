//! What clients share.

use crate::bounds::Bounds;
use crate::store::Store;

/// Keys and values, and who uses them.
pub struct Database {
    /// Keys and values.
    pub(crate) store: Store,
    /// How many clients there are.
    pub(crate) clients: usize,
    /// How many of them are large ones.
    pub(crate) large: usize,
    /// How many there may be.
    pub(crate) bounds: Bounds,
}

impl Database {
    /// With nobody there yet, for so many at a time.
    pub fn new(store: Store, bounds: Bounds) -> Self {
        Self { store, clients: 0, large: 0, bounds }
    }
}

//! How full the heap is.

/// The heap, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeapUse {
    /// All of it.
    pub size: usize,
    /// What is not in use; the largest block that can be had is smaller.
    pub free: usize,
}

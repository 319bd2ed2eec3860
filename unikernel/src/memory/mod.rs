//! Physical memory: the loader's map, how it is carved up, and the heap.

mod map;

pub use map::{CarveError, Kind, Layout, MemoryMap, Region, carve};

#[cfg(target_os = "none")]
mod heap;
#[cfg(target_os = "none")]
mod space;

#[cfg(target_os = "none")]
pub(crate) use space::{FirmwareMemory, init, map_device};

/// The heap, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeapUse {
    /// All of it.
    pub size: usize,
    /// What is not in use; the largest block that can be had is smaller.
    pub free: usize,
}

/// How full the heap is. On a host, whose heap grows, both figures are [`usize::MAX`].
pub fn heap_use() -> HeapUse {
    #[cfg(target_os = "none")]
    return heap::used();
    #[cfg(not(target_os = "none"))]
    HeapUse { size: usize::MAX, free: usize::MAX }
}

/// Page size of the finest mapping, in bytes.
pub const PAGE: u64 = 4096;

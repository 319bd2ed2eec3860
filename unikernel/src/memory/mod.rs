//! Physical memory: the loader's map, how it is carved up, and the heap.

#[cfg(target_os = "none")]
mod heap;
mod heap_use;
mod map;
#[cfg(target_os = "none")]
mod space;

pub use heap_use::HeapUse;
pub use map::{CarveError, Kind, Layout, MemoryMap, Region, carve, usual_pool};

#[cfg(target_os = "none")]
pub(crate) use space::{FirmwareMemory, init, map_device};

/// How full the heap is. On a host, whose heap grows, both figures are [`usize::MAX`].
pub fn heap_use() -> HeapUse {
    #[cfg(target_os = "none")]
    return heap::used();
    #[cfg(not(target_os = "none"))]
    HeapUse { size: usize::MAX, free: usize::MAX }
}

/// Page size of the finest mapping, in bytes.
pub const PAGE: u64 = 4096;

//! Physical memory: the loader's map, how it is carved up, and the heap.

mod map;

pub use map::{CarveError, Kind, Layout, MemoryMap, Region, carve};

#[cfg(target_os = "none")]
mod heap;
#[cfg(target_os = "none")]
mod space;

#[cfg(target_os = "none")]
pub(crate) use space::{FirmwareMemory, init, map_device};

/// Page size of the finest mapping, in bytes.
pub const PAGE: u64 = 4096;

//! For tests on the host: a device that really writes behind the CPU's back, and a dirty log that
//! only sees what the CPU writes.

use std::boxed::Box;

pub use super::page_log::PageLog;
use super::slots::{SLOT_SIZE, Use};
use super::{Completed, PAGE_SIZE, Policy, Pool, PoolMemory};

/// Where fake devices find the pool: below 4 GiB, and not where the CPU finds it.
pub const DEVICE_BASE: u64 = 0x1000_0000;

/// A pool of `bytes` (a multiple of 4 KiB) that lives for the rest of the program.
pub fn pool(bytes: usize, policy: Policy) -> &'static Pool {
    Box::leak(Box::new(Pool::new(PoolMemory::allocate(DEVICE_BASE, bytes), policy)))
}

/// Says that a fake device without a ring is done, as tests know by other means.
pub fn completed() -> Completed {
    Completed::by_a_fake()
}

impl Pool {
    /// The log that sees what the CPU writes to this pool.
    pub fn page_log(&self) -> &PageLog {
        &self.log
    }

    /// A device's view of this pool.
    pub fn device(&'static self) -> Device {
        Device { pool: self }
    }
}

/// A device's view of a pool. It moves bytes as DMA does: by device address, without the CPU or
/// the [`PageLog`] noticing.
///
/// It stands in for an IOMMU, too: an access to memory that is not a device's at the moment is a
/// driver's bug (a buffer freed or handed on too early, a wrong address) and panics.
#[derive(Clone, Copy, Debug)]
pub struct Device {
    pool: &'static Pool,
}

impl Device {
    /// Writes to memory that was mapped for devices to write.
    ///
    /// # Panics
    /// If some of it was not.
    pub fn write(&self, address: u64, data: &[u8]) {
        let offset =
            self.check(address, data.len(), &[Use::FromDevice, Use::FromHypervisor, Use::Coherent]);
        self.pool.memory.device_write(offset, data);
    }

    /// Reads memory that was mapped for devices to read.
    ///
    /// # Panics
    /// If some of it was not.
    pub fn read(&self, address: u64, data: &mut [u8]) {
        let readable = [Use::ToDevice, Use::FromDevice, Use::FromHypervisor, Use::Coherent];
        let offset = self.check(address, data.len(), &readable);
        self.pool.memory.device_read(offset, data);
    }

    /// The whole page, as a hypervisor copies it.
    pub fn copy_page(&self, page: usize) -> [u8; PAGE_SIZE] {
        let mut copy = [0; PAGE_SIZE];
        self.pool.memory.device_read(page * PAGE_SIZE, &mut copy);
        copy
    }

    fn check(&self, address: u64, len: usize, allowed: &[Use]) -> usize {
        let memory = &self.pool.memory;
        let offset = address.checked_sub(memory.device_address()).map(|o| o as usize);
        let inside = |o: usize| o.checked_add(len).is_some_and(|end| end <= memory.len());
        let Some(offset) = offset.filter(|&o| inside(o)) else {
            panic!("DMA to {address:#x}+{len:#x}, outside the pool");
        };
        for (slot, order, purpose) in self.pool.slots.runs_from(0) {
            let start = slot as usize * SLOT_SIZE;
            let overlaps = start < offset + len && offset < start + (SLOT_SIZE << order);
            assert!(
                !overlaps || allowed.contains(&purpose),
                "DMA to {address:#x}+{len:#x}, where the memory is {purpose:?}"
            );
        }
        offset
    }
}

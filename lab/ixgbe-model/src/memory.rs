//! Guest memory as the device sees it, and the record of every page the device wrote.
//!
//! The client sends a file for each range of guest memory (vfio-user, `VFIO_USER_DMA_MAP`). It is
//! mapped here, so what the device writes goes past the hypervisor and its dirty log, as with
//! hardware. All of it goes through `vm-memory`, whose bitmap notes each page as it is written: the
//! record cannot miss a write.

use std::{collections::BTreeSet, fs::File, io, sync::Arc, sync::atomic::Ordering};

use serde::{Deserialize, Serialize};
use vm_memory::{
    Bytes, FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryRegion, GuestRegionMmap,
    bitmap::AtomicBitmap,
};

/// Bytes of a page, in which a hypervisor's dirty log on x86 counts.
pub const PAGE: u64 = 4096;

/// Consecutive pages in the device's address space, which is the guest's physical one unless it has
/// an IOMMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pages {
    /// Address of the first.
    pub iova: u64,
    /// How many.
    pub pages: u64,
}

/// An access to memory that the device was not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadAddress(pub(crate) u64);

type Region = GuestRegionMmap<AtomicBitmap>;
type Regions = vm_memory::GuestMemoryMmap<AtomicBitmap>;

/// What the device may access.
#[derive(Default)]
pub(crate) struct Memory {
    regions: Regions,
    /// Pages written in ranges that were unmapped since.
    unmapped: BTreeSet<u64>,
    /// The record as it was when it was stopped.
    stopped: Option<Vec<Pages>>,
}

impl Memory {
    /// Maps `size` bytes of `file`, from `offset` on, at `iova`.
    pub(crate) fn map(&mut self, iova: u64, size: u64, file: File, offset: u64) -> io::Result<()> {
        let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidInput, what);
        if !iova.is_multiple_of(PAGE) || size == 0 {
            return Err(invalid(format!("{size:#x} bytes at {iova:#x} are not whole pages")));
        }
        let size = usize::try_from(size).map_err(|error| invalid(error.to_string()))?;
        // The bitmap counts in pages of this machine, which are the guest's: it is an x86 as well.
        let file = Some(FileOffset::new(file, offset));
        let region = Region::from_range(GuestAddress(iova), size, file)
            .map_err(|error| invalid(format!("{size:#x} bytes at {iova:#x}: {error}")))?;
        self.regions = self
            .regions
            .insert_region(Arc::new(region))
            .map_err(|error| invalid(format!("{size:#x} bytes at {iova:#x}: {error}")))?;
        Ok(())
    }

    /// Unmaps every range that lies within `size` bytes at `iova`.
    pub(crate) fn unmap(&mut self, iova: u64, size: u64) {
        let end = iova.saturating_add(size);
        let within: Vec<(GuestAddress, u64)> = self
            .regions
            .iter()
            .map(|region| (region.start_addr(), region.len()))
            .filter(|(start, length)| start.0 >= iova && start.0.saturating_add(*length) <= end)
            .collect();
        for (start, length) in within {
            if let Ok((rest, region)) = self.regions.remove_region(start, length) {
                self.unmapped.extend(written_in(&region));
                self.regions = rest;
            }
        }
    }

    /// Unmaps everything.
    pub(crate) fn unmap_all(&mut self) {
        self.unmap(0, u64::MAX);
    }

    /// Reads bytes.
    pub(crate) fn read(&self, iova: u64, into: &mut [u8]) -> Result<(), BadAddress> {
        self.regions.read_slice(into, GuestAddress(iova)).map_err(|_| BadAddress(iova))
    }

    /// Writes bytes.
    pub(crate) fn write(&self, iova: u64, from: &[u8]) -> Result<(), BadAddress> {
        self.regions.write_slice(from, GuestAddress(iova)).map_err(|_| BadAddress(iova))
    }

    /// Reads a descriptor, its first quadword first.
    pub(crate) fn descriptor(&self, iova: u64) -> Result<[u64; 2], BadAddress> {
        let mut bytes = [0; 16];
        self.read(iova, &mut bytes)?;
        let value = u128::from_le_bytes(bytes);
        Ok([value as u64, (value >> 64) as u64])
    }

    /// Writes a quadword in one access, after everything written before it is visible.
    pub(crate) fn publish(&self, iova: u64, value: u64) -> Result<(), BadAddress> {
        self.regions
            .store(value.to_le(), GuestAddress(iova), Ordering::Release)
            .map_err(|_| BadAddress(iova))
    }

    /// Like [`Memory::publish`], for a doubleword.
    pub(crate) fn publish_u32(&self, iova: u64, value: u32) -> Result<(), BadAddress> {
        self.regions
            .store(value.to_le(), GuestAddress(iova), Ordering::Release)
            .map_err(|_| BadAddress(iova))
    }

    /// Starts a new record.
    pub(crate) fn start_record(&mut self) {
        for region in self.regions.iter() {
            region.get_mmap().bitmap().reset();
        }
        self.unmapped.clear();
        self.stopped = None;
    }

    /// Ends the record: what is written from now on is not in it.
    pub(crate) fn stop_record(&mut self) {
        let record = self.record();
        self.stopped = Some(record);
    }

    /// Every page the device wrote since the record began, in order.
    pub(crate) fn record(&self) -> Vec<Pages> {
        if let Some(stopped) = &self.stopped {
            return stopped.clone();
        }
        let mut all = self.unmapped.clone();
        for region in self.regions.iter() {
            all.extend(written_in(region));
        }
        let mut runs: Vec<Pages> = Vec::new();
        for iova in all {
            match runs.last_mut() {
                Some(run) if run.iova + run.pages * PAGE == iova => run.pages += 1,
                _ => runs.push(Pages { iova, pages: 1 }),
            }
        }
        runs
    }
}

/// Addresses of the pages written in a range.
fn written_in(region: &Region) -> impl Iterator<Item = u64> {
    let start = region.start_addr().0;
    let mapping = region.get_mmap();
    (0..mapping.bitmap().len())
        .filter(move |&page| mapping.bitmap().is_bit_set(page))
        .map(move |page| start + page as u64 * PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(ranges: &[(u64, u64)]) -> Memory {
        let mut memory = Memory::default();
        for &(iova, size) in ranges {
            let file = tempfile::tempfile().unwrap();
            file.set_len(size).unwrap();
            memory.map(iova, size, file, 0).unwrap();
        }
        memory
    }

    #[test]
    fn what_is_written_is_read_by_the_files_other_owner_and_recorded() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(0x5000).unwrap();
        let mut memory = Memory::default();
        memory.map(0x10_0000, 0x4000, file.try_clone().unwrap(), 0x1000).unwrap();
        memory.write(0x10_0ffe, b"abcd").unwrap();
        let mut seen = [0; 4];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut seen, 0x1ffe).unwrap();
        assert_eq!(&seen, b"abcd");
        assert_eq!(memory.record(), [Pages { iova: 0x10_0000, pages: 2 }]);
    }

    #[test]
    fn every_kind_of_write_is_in_the_record_and_reads_are_not() {
        let mut memory = memory(&[(0, 0x8000), (0x10_0000, 0x1000)]);
        memory.publish(0x1ff8, 1).unwrap();
        memory.publish_u32(0x3000, 1).unwrap();
        memory.write(0x10_0fff, &[1]).unwrap();
        memory.descriptor(0x5000).unwrap();
        let expected = [0x1000, 0x3000, 0x10_0000].map(|iova| Pages { iova, pages: 1 });
        assert_eq!(memory.record(), expected);
        memory.stop_record();
        memory.write(0x5000, &[1]).unwrap();
        assert_eq!(memory.record(), expected);
        memory.start_record();
        assert_eq!(memory.record(), []);
    }

    #[test]
    fn the_record_outlives_the_mapping() {
        let mut memory = memory(&[(0, 0x2000), (0x4000, 0x1000)]);
        memory.write(0x1000, &[1]).unwrap();
        memory.unmap_all();
        assert_eq!(memory.write(0x1000, &[1]), Err(BadAddress(0x1000)));
        assert_eq!(memory.record(), [Pages { iova: 0x1000, pages: 1 }]);
    }

    #[test]
    fn memory_that_was_not_given_is_refused() {
        let memory = memory(&[(0, 0x1000)]);
        assert_eq!(memory.write(0xff0, &[0; 32]), Err(BadAddress(0xff0)));
        assert_eq!(memory.read(u64::MAX - 3, &mut [0; 8]), Err(BadAddress(u64::MAX - 3)));
        assert_eq!(memory.publish(0x0804, 1), Err(BadAddress(0x0804)));
    }

    #[test]
    fn overlapping_and_crooked_ranges_are_refused() {
        let mut memory = memory(&[(0, 0x2000)]);
        let file = || {
            let file = tempfile::tempfile().unwrap();
            file.set_len(0x2000).unwrap();
            file
        };
        assert!(memory.map(0x1000, 0x1000, file(), 0).is_err());
        assert!(memory.map(0x8001, 0x1000, file(), 0).is_err());
        assert!(memory.map(0x8000, 0, file(), 0).is_err());
    }
}

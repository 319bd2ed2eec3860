//! The kernel's address space: physical memory mapped 1:1, with exact rights.

use core::ops::Range;

use x86_64::PhysAddr;
use x86_64::instructions::tlb;
use x86_64::registers::control::{Cr3, Cr3Flags};
use x86_64::structures::paging::page_table::PageTableEntry;
use x86_64::structures::paging::{PageTable, PageTableFlags as Flags, PhysFrame};

use super::cpu;

/// Code.
pub(crate) const EXECUTE: Flags = Flags::PRESENT;
/// Constants and firmware tables.
pub(crate) const READ: Flags = Flags::PRESENT.union(Flags::NO_EXECUTE);
/// Data.
pub(crate) const READ_WRITE: Flags = READ.union(Flags::WRITABLE);
/// Device registers: PAT entry 3 is "uncacheable" after reset (Intel SDM volume 3, table 12-12).
pub(crate) const DEVICE: Flags = READ_WRITE.union(Flags::NO_CACHE).union(Flags::WRITE_THROUGH);

/// Sizes of what an entry maps, by level (0 is the last one).
const SIZES: [u64; 4] = [1 << 12, 1 << 21, 1 << 30, 1 << 39];

/// An address space under construction or in use.
pub(crate) struct AddressSpace {
    root: &'static mut PageTable,
    /// Highest level whose entries may map memory: 1 for 2 MiB, 2 for 1 GiB pages.
    largest: usize,
}

/// Where new tables come from: zeroed pages that are mapped 1:1 and nobody else's.
pub(crate) type Frames<'a> = dyn FnMut() -> &'static mut PageTable + 'a;

impl AddressSpace {
    /// An empty one.
    pub(crate) fn new(frames: &mut Frames<'_>) -> Self {
        Self { root: frames(), largest: if cpu::has_gib_pages() { 2 } else { 1 } }
    }

    /// Maps a page-aligned range with the largest pages that fit, leaving what is mapped already
    /// as it is.
    pub(crate) fn map(&mut self, range: Range<u64>, flags: Flags, frames: &mut Frames<'_>) {
        let mut at = range.start;
        while at < range.end {
            at += map_one(self.root, 3, self.largest, at..range.end, flags, frames);
        }
    }

    /// Makes this the processor's address space.
    ///
    /// # Safety
    /// It maps everything in use: code, data, the stack, and the tables themselves.
    pub(crate) unsafe fn activate(&self) {
        let root = PhysFrame::containing_address(PhysAddr::new(&raw const *self.root as u64));
        // SAFETY: the caller's promise.
        unsafe { Cr3::write(root, Cr3Flags::empty()) };
        tlb::flush_all();
    }
}

/// Maps the start of `range` by one entry in `table` or below it; returns how many bytes that
/// entry covers.
fn map_one(
    table: &mut PageTable,
    level: usize,
    largest: usize,
    range: Range<u64>,
    flags: Flags,
    frames: &mut Frames<'_>,
) -> u64 {
    let size = SIZES[level];
    let entry = &mut table[(range.start / size % 512) as usize];
    let to_next_entry = size - range.start % size;
    if entry.is_unused() {
        let fits = range.start.is_multiple_of(size) && range.end - range.start >= size;
        if level <= largest && fits {
            let huge = if level == 0 { Flags::empty() } else { Flags::HUGE_PAGE };
            entry.set_addr(PhysAddr::new(range.start), flags | huge);
            return size;
        }
        // The lowest entry decides about rights; those above must not take any away.
        let below = &raw const *frames() as u64;
        entry.set_addr(PhysAddr::new(below), Flags::PRESENT | Flags::WRITABLE);
    } else if level == 0 || entry.flags().contains(Flags::HUGE_PAGE) {
        return to_next_entry;
    }
    map_one(below(entry), level - 1, largest, range, flags, frames)
}

/// The table that an entry of a higher level points to.
fn below(entry: &mut PageTableEntry) -> &mut PageTable {
    // SAFETY: the entry is present and no huge page, so `map_one` pointed it to a table that is
    // mapped 1:1 and reached through this one entry only.
    unsafe { &mut *(entry.addr().as_u64() as *mut PageTable) }
}

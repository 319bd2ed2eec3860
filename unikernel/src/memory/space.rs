//! The kernel's address space: physical memory at its own addresses, rights by content.
//!
//! | range | rights |
//! |---|---|
//! | up to 1 MiB | read (the loader's tables: QEMU puts them even in the first page) |
//! | the image | code: read and execute; constants: read; data: read and write |
//! | the stack's guard page | none |
//! | other RAM | read and write |
//! | the rest up to 4 GiB, and what [`map_device`] adds | read and write, uncached |

use alloc::boxed::Box;
use core::cell::RefCell;
use core::ops::Range;
use core::ptr::NonNull;

use critical_section::Mutex;
use x86_64::structures::paging::PageTable;

use super::map::{CarveError, Kind, Layout, MemoryMap, Region, carve};
use super::{PAGE, heap};
use crate::arch::paging::{AddressSpace, DEVICE, EXECUTE, READ, READ_WRITE};
use crate::cmdline::Size;
use crate::dma::PoolMemory;

/// Where firmware's and the loader's tables end.
const LOW_MEMORY_END: u64 = 1 << 20;
const FOUR_GIB: u64 = 1 << 32;
/// Tables for the image, the holes below 4 GiB and the regions' uneven ends.
const TABLES_BASE: u64 = 32 * PAGE + 64 * PAGE;
/// More memory than any processor addresses: a region ending beyond it is not RAM.
const MEMORY_MAX: u64 = 1 << 47;

// From the linker script and entry.s.
unsafe extern "C" {
    static image_start: u8;
    static text_end: u8;
    static rodata_end: u8;
    static image_end: u8;
    static stack_guard: u8;
    static stack_bottom: u8;
}

/// The address space in use, the map it was made from, and who has which memory.
struct Space {
    mappings: AddressSpace,
    map: MemoryMap,
    layout: Layout,
}

static SPACE: Mutex<RefCell<Option<Space>>> = Mutex::new(RefCell::new(None));

/// Carves up memory, switches to the final address space and starts the heap. Returns the memory
/// of the DMA pool: `pool` bytes, or `default` if that cannot be, which is said on the console.
///
/// # Errors
/// With a remedy, if there is too little memory for the default.
///
/// # Safety
/// Called once, on the boot tables; `map` is the loader's.
pub(crate) unsafe fn init(
    map: MemoryMap,
    pool: Size,
    default: Size,
) -> Result<PoolMemory, CarveError> {
    let address = |symbol: *const u8| symbol as u64;
    let image = address(&raw const image_start)..address(&raw const image_end);
    let (text, rodata) = (address(&raw const text_end), address(&raw const rodata_end));
    let guard = address(&raw const stack_guard)..address(&raw const stack_bottom);

    let is_ram = |region: &&Region| region.kind != Kind::Reserved && region.start < MEMORY_MAX;
    let ram = || map.iter().filter(is_ram);
    let top = ram().map(|region| region.end.min(MEMORY_MAX)).max().unwrap_or(0);
    let tables_len = TABLES_BASE + (top >> 30) * PAGE;
    let carve = |pool: Size| carve(&map, image.clone(), tables_len, pool.0);
    let layout = carve(pool).or_else(|error| {
        if pool == default {
            return Err(error);
        }
        crate::println!("command line: swiotlb={pool}: {error}; taking the default");
        carve(default)
    })?;

    let mut next_table = layout.tables.start;
    let mut frames = || {
        assert!(next_table < layout.tables.end, "the memory map is too fragmented to be mapped");
        let table = next_table as *mut PageTable;
        next_table += PAGE;
        // SAFETY: `carve` gave this page, which lies below 4 GiB and so in the boot tables' map,
        // to page tables, and no other takes it.
        unsafe {
            table.write(PageTable::new());
        }
        // SAFETY: initialised just now, and handed out once.
        unsafe { &mut *table }
    };

    let mut space = AddressSpace::new(&mut frames);
    space.map(0..LOW_MEMORY_END, READ, &mut frames);
    space.map(image.start..text, EXECUTE, &mut frames);
    space.map(text..rodata, READ, &mut frames);
    space.map(rodata..guard.start, READ_WRITE, &mut frames);
    space.map(guard.end..image.end, READ_WRITE, &mut frames);
    for region in ram() {
        let start = region.start.next_multiple_of(PAGE).max(image.end);
        let end = region.end.min(MEMORY_MAX) / PAGE * PAGE;
        if start < end {
            space.map(start..end, READ_WRITE, &mut frames);
        }
    }
    space.map(image.end..FOUR_GIB, DEVICE, &mut frames);

    // SAFETY: the image, its stack, all RAM and so the tables are mapped, and nothing below
    // 1 MiB is written any more.
    unsafe { space.activate() };
    // SAFETY: `carve` gave this range to the heap, and it is mapped by now.
    unsafe { heap::init(layout.heap.clone()) };
    log::debug!(
        "memory: pool {:#x?}, heap {:#x?}, {} KiB of page tables, {} KiB unused",
        layout.pool,
        layout.heap,
        (next_table - layout.tables.start) / 1024,
        layout.unused / 1024
    );
    let Range { start, end } = layout.pool;
    critical_section::with(|section| {
        SPACE.replace(section, Some(Space { mappings: space, map, layout }));
    });
    let base = NonNull::new(start as *mut u8).expect("the pool is not at address 0");
    // SAFETY: `carve` gave this RAM to the pool alone; it is mapped write-back for good, and
    // devices see physical addresses.
    let pool = unsafe { PoolMemory::new(base, start, (end - start) as usize) };
    Ok(pool.expect("the pool is whole pages"))
}

/// Makes device registers at a physical address accessible at that same address, uncached.
///
/// Everything below 4 GiB is already; this is for windows above. False if the range is empty,
/// starts at 0, wraps around or touches RAM: then something else is wrong with the device. That RAM
/// is refused is what makes this safe, wherever the address comes from: nothing of Rust's is
/// anywhere else.
#[must_use]
pub(crate) fn map_device(address: u64, len: u64) -> bool {
    let Some(end) = address.checked_add(len).filter(|&end| end <= MEMORY_MAX) else {
        return false;
    };
    let range = address / PAGE * PAGE..end.next_multiple_of(PAGE);
    if len == 0 || range.start == 0 {
        return false;
    }
    critical_section::with(|section| {
        let mut space = SPACE.borrow_ref_mut(section);
        let Some(Space { mappings, map, .. }) = space.as_mut() else { return false };
        let is_ram = map.iter().any(|region| {
            region.kind != Kind::Reserved && region.start < range.end && range.start < region.end
        });
        if !is_ram && range.end > FOUR_GIB {
            let mut frames = || Box::leak(Box::new(PageTable::new()));
            mappings.map(range, DEVICE, &mut frames);
        }
        !is_ram
    })
}

/// Memory that firmware and the loader filled in before the kernel ran.
pub(crate) struct FirmwareMemory(());

impl FirmwareMemory {
    /// A way to read it.
    ///
    /// # Safety
    /// What firmware's and the loader's tables lead to is memory, and nobody writes to it while
    /// what [`bytes`](Self::bytes) returns is in use.
    pub(crate) unsafe fn new() -> Self {
        Self(())
    }

    /// Bytes at a physical address.
    ///
    /// `None` for address 0, which stands for "none" in their tables, for anything that reaches
    /// beyond 4 GiB, where no x86 firmware puts them, and for what is the kernel's.
    pub(crate) fn bytes<'m>(&self, address: u64, len: usize) -> Option<&'m [u8]> {
        let range = address..address.checked_add(len as u64)?;
        if address == 0 || range.end > FOUR_GIB || is_the_kernel_s(&range) {
            return None;
        }
        // SAFETY: everything below 4 GiB but the stack's guard page, which is the kernel's, is
        // identity-mapped from the first instruction on. Nobody writes to it: not the kernel by the
        // check above, nor anybody else by the contract of `new`.
        Some(unsafe { core::slice::from_raw_parts(address as *const u8, len) })
    }
}

/// Whether the kernel uses some of a range.
fn is_the_kernel_s(range: &Range<u64>) -> bool {
    let overlaps = |other: &Range<u64>| range.start < other.end && other.start < range.end;
    let image = &raw const image_start as u64..&raw const image_end as u64;
    overlaps(&image)
        || critical_section::with(|section| {
            SPACE.borrow_ref(section).as_ref().is_some_and(|Space { layout, .. }| {
                [&layout.tables, &layout.pool, &layout.heap].into_iter().any(overlaps)
            })
        })
}

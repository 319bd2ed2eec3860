//! What the kernel is told: `struct hvm_start_info`
//! (Xen `xen/include/public/arch-x86/hvm/start_info.h`).

use alloc::format;
use alloc::string::String;
use core::ptr;

use uefi::boot::{self, AllocateType, MemoryType, PAGE_SIZE};
use uefi::mem::memory_map::{MemoryMap, MemoryMapMut, MemoryMapOwned};
use uefi::system;
use uefi::table::cfg::ConfigTableEntry;

use crate::regions::kind;

const MAGIC: u32 = 0x336e_c578;
const VERSION: u32 = 1;
/// Entries the memory map has room for; firmware's hundred or so shrink to a dozen once merged.
const MAX_REGIONS: usize = 128;
const COMMAND_LINE_MAX: usize = 2048;

#[repr(C)]
struct StartInfo {
    magic: u32,
    version: u32,
    flags: u32,
    module_count: u32,
    modules: u64,
    command_line: u64,
    rsdp: u64,
    memory_map: u64,
    memory_map_entries: u32,
    reserved: u32,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Region {
    address: u64,
    size: u64,
    kind: u32,
    reserved: u32,
}

#[repr(C)]
struct Pages {
    info: StartInfo,
    regions: [Region; MAX_REGIONS],
    command_line: [u8; COMMAND_LINE_MAX],
}

/// Memory below 4 GiB that outlives the boot services, with the start info in it.
pub(crate) struct Handover(&'static mut Pages);

impl Handover {
    /// Everything but the memory map, which is final only once boot services are gone.
    pub(crate) fn new(command_line: &[u8]) -> Result<Self, String> {
        if command_line.len() >= COMMAND_LINE_MAX {
            return Err(format!("the command line is longer than {COMMAND_LINE_MAX} bytes"));
        }
        let pages = boot::allocate_pages(
            AllocateType::MaxAddress(u32::MAX.into()),
            MemoryType::LOADER_DATA,
            size_of::<Pages>().div_ceil(PAGE_SIZE),
        )
        .map_err(|error| format!("no memory below 4 GiB: {error}"))?
        .cast::<Pages>();
        // SAFETY: just allocated, and large enough; all fields may be zero.
        unsafe { ptr::write_bytes(pages.as_ptr(), 0, 1) };
        // SAFETY: initialised just now, and this is the only reference.
        let pages = unsafe { &mut *pages.as_ptr() };

        pages.command_line[..command_line.len()].copy_from_slice(command_line);
        pages.info = StartInfo {
            magic: MAGIC,
            version: VERSION,
            flags: 0,
            module_count: 0,
            modules: 0,
            command_line: pages.command_line.as_ptr() as u64,
            rsdp: rsdp(),
            memory_map: pages.regions.as_ptr() as u64,
            memory_map_entries: 0,
            reserved: 0,
        };
        Ok(Self(pages))
    }

    /// Takes over firmware's final memory map.
    pub(crate) fn describe(&mut self, mut map: MemoryMapOwned) {
        map.sort();
        let mut len = 0;
        for descriptor in map.entries() {
            let region = Region {
                address: descriptor.phys_start,
                size: descriptor.page_count * PAGE_SIZE as u64,
                kind: kind(descriptor.ty, descriptor.att),
                reserved: 0,
            };
            match self.0.regions[..len].last_mut() {
                Some(last)
                    if last.kind == region.kind && last.address + last.size == region.address =>
                {
                    last.size += region.size;
                }
                // What does not fit is not used.
                _ if len == MAX_REGIONS => {}
                _ => {
                    self.0.regions[len] = region;
                    len += 1;
                }
            }
        }
        self.0.info.memory_map_entries = len as u32;
        // Its memory belonged to the boot services.
        core::mem::forget(map);
    }

    /// Physical address of the start info.
    pub(crate) fn address(&self) -> u32 {
        (&raw const self.0.info).addr() as u32
    }
}

/// The ACPI root pointer's address, 0 if firmware has none.
fn rsdp() -> u64 {
    system::with_config_table(|tables| {
        let of = |guid| tables.iter().find(|table| table.guid == guid);
        of(ConfigTableEntry::ACPI2_GUID)
            .or_else(|| of(ConfigTableEntry::ACPI_GUID))
            .map_or(0, |table| table.address.addr() as u64)
    })
}

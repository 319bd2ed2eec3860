//! The kernel's ELF file.

use alloc::format;
use alloc::string::String;
use core::ptr;

use elf::ElfBytes;
use elf::abi::{PT_LOAD, PT_NOTE};
use elf::endian::LittleEndian;
use elf::note::Note;
use uefi::boot::{self, AllocateType, MemoryType, PAGE_SIZE};

/// Xen's note with the 32-bit entry point (Xen `xen/include/public/elfnote.h`).
const PHYS32_ENTRY: u64 = 18;

/// A kernel in memory.
pub(crate) struct Kernel {
    /// Where it is entered, in 32-bit protected mode.
    pub(crate) entry: u32,
}

impl Kernel {
    /// Puts the segments of an ELF file where it wants them.
    pub(crate) fn load(file: &[u8]) -> Result<Self, String> {
        let elf = ElfBytes::<LittleEndian>::minimal_parse(file)
            .map_err(|error| format!("the kernel is no ELF file: {error}"))?;
        let segments = || elf.segments().into_iter().flatten();
        let loaded = || segments().filter(|segment| segment.p_type == PT_LOAD);

        let page = PAGE_SIZE as u64;
        let start = loaded().map(|segment| segment.p_paddr).min().unwrap_or(0) / page * page;
        let ends = loaded().map(|segment| segment.p_paddr.saturating_add(segment.p_memsz));
        let end = ends.max().unwrap_or(0);
        let pages = end.saturating_sub(start).div_ceil(page);
        let memory = boot::allocate_pages(
            AllocateType::Address(start),
            MemoryType::LOADER_DATA,
            pages as usize,
        )
        .map_err(|_| format!("firmware occupies the kernel's place, {start:#x} to {end:#x}"))?;

        // SAFETY: just allocated, `pages` long.
        unsafe { ptr::write_bytes(memory.as_ptr(), 0, pages as usize * PAGE_SIZE) };
        for segment in loaded() {
            let data = elf
                .segment_data(&segment)
                .map_err(|error| format!("the kernel's file is incomplete: {error}"))?;
            if data.len() as u64 > segment.p_memsz {
                return Err("the kernel has a segment that is larger than its memory".into());
            }
            let offset = (segment.p_paddr - start) as usize;
            // SAFETY: the segment lies between `start` and `end`, and so in the allocation.
            let place = unsafe { memory.add(offset) };
            // SAFETY: as above; the file's buffer is elsewhere.
            unsafe { ptr::copy_nonoverlapping(data.as_ptr(), place.as_ptr(), data.len()) };
        }

        segments()
            .filter(|segment| segment.p_type == PT_NOTE)
            .filter_map(|segment| elf.segment_data_as_notes(&segment).ok())
            .flatten()
            .find_map(|note| match note {
                Note::Unknown(note) if note.n_type == PHYS32_ENTRY && note.name == b"Xen\0" => {
                    note.desc.first_chunk().map(|entry| u32::from_le_bytes(*entry))
                }
                _ => None,
            })
            .map(|entry| Self { entry })
            .ok_or_else(|| "the kernel has no PVH note: it cannot be started this way".into())
    }
}

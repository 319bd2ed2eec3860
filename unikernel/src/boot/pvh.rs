//! What a PVH loader hands over: `struct hvm_start_info`
//! (Xen `xen/include/public/arch-x86/hvm/start_info.h`).

use core::ffi::CStr;

use zerocopy::FromBytes;

use crate::memory::{FirmwareMemory, Kind, MemoryMap, Region};

const MAGIC: u32 = 0x336e_c578;
/// `XEN_HVM_MEMMAP_TYPE_RAM`, the same numbers as E820.
const TYPE_RAM: u32 = 1;
const TYPE_ACPI: u32 = 3;
const TYPE_ACPI_NVS: u32 = 4;
/// The longest command line taken over, as in Linux's `COMMAND_LINE_SIZE` for x86.
const COMMAND_LINE_MAX: usize = 2048;

#[derive(FromBytes)]
#[repr(C)]
struct StartInfo {
    magic: u32,
    version: u32,
    _flags: u32,
    _module_count: u32,
    _modules: u64,
    command_line: u64,
    rsdp: u64,
    memory_map: u64,
    memory_map_entries: u32,
    _reserved: u32,
}

#[derive(FromBytes)]
#[repr(C)]
struct MemoryMapEntry {
    address: u64,
    size: u64,
    kind: u32,
    _reserved: u32,
}

/// The loader's report, checked.
pub(super) struct BootInfo {
    /// The command line as the loader stored it; empty if there is none or it is not UTF-8.
    pub(super) command_line: &'static str,
    /// Physical address of the ACPI root pointer, 0 if the loader found none.
    pub(super) rsdp: u64,
    /// Physical memory by use, in the loader's order.
    pub(super) memory: MemoryMap,
}

/// Reads the start info at a physical address.
///
/// # Errors
/// A sentence for the panic message: the kernel cannot go on without a memory map.
pub(super) fn read(firmware: &FirmwareMemory, address: u64) -> Result<BootInfo, &'static str> {
    let info =
        object::<StartInfo>(firmware, address).ok_or("the loader's start info is out of reach")?;
    if info.magic != MAGIC {
        return Err("not started by a PVH loader: the start info has no magic");
    }
    if info.version < 1 || info.memory_map == 0 {
        return Err("the PVH loader gives no memory map (start info version 0)");
    }
    let mut memory = MemoryMap::new();
    for i in 0..u64::from(info.memory_map_entries) {
        let at = info.memory_map + i * size_of::<MemoryMapEntry>() as u64;
        let entry =
            object::<MemoryMapEntry>(firmware, at).ok_or("the memory map is out of reach")?;
        let kind = match entry.kind {
            TYPE_RAM => Kind::Usable,
            TYPE_ACPI | TYPE_ACPI_NVS => Kind::Firmware,
            _ => Kind::Reserved,
        };
        let end = entry.address.saturating_add(entry.size);
        memory
            .push(Region { start: entry.address, end, kind })
            .map_err(|_| "the memory map has too many entries")?;
    }
    Ok(BootInfo {
        command_line: command_line(firmware, info.command_line),
        rsdp: info.rsdp,
        memory,
    })
}

/// A copy, since nothing promises that the loader aligns what it leaves in memory.
fn object<T: FromBytes>(firmware: &FirmwareMemory, address: u64) -> Option<T> {
    T::read_from_bytes(firmware.bytes(address, size_of::<T>())?).ok()
}

fn command_line(firmware: &FirmwareMemory, address: u64) -> &'static str {
    let Some(bytes) = (address != 0).then(|| firmware.bytes(address, COMMAND_LINE_MAX)).flatten()
    else {
        return "";
    };
    let text = CStr::from_bytes_until_nul(bytes).ok().and_then(|text| text.to_str().ok());
    text.unwrap_or_else(|| {
        crate::println!("command line: not UTF-8 of at most {COMMAND_LINE_MAX} bytes; ignored");
        ""
    })
}

//! What firmware says of memory, in the words of a PVH kernel's map.

use uefi::mem::memory_map::{MemoryAttribute, MemoryType};

// `XEN_HVM_MEMMAP_TYPE_*`, the same numbers as E820.
const RAM: u32 = 1;
const RESERVED: u32 = 2;
const ACPI: u32 = 3;
const NVS: u32 = 4;

/// What the kernel may do with memory of that kind once boot services are gone.
///
/// RAM is used cached, for everything, and for good. So what cannot be cached is none, nor what is
/// set aside for a purpose of its own, may be taken out of the machine, or is mapped by runtime
/// services (UEFI 2.10, section 7.2.3, `EFI_MEMORY_DESCRIPTOR`).
pub(crate) fn kind(ty: MemoryType, attributes: MemoryAttribute) -> u32 {
    let is_ordinary = attributes.contains(MemoryAttribute::WRITE_BACK)
        && !attributes.intersects(
            MemoryAttribute::SPECIAL_PURPOSE
                | MemoryAttribute::HOT_PLUGGABLE
                | MemoryAttribute::RUNTIME,
        );
    match ty {
        MemoryType::CONVENTIONAL
        | MemoryType::BOOT_SERVICES_CODE
        | MemoryType::BOOT_SERVICES_DATA
        | MemoryType::LOADER_CODE
            if is_ordinary =>
        {
            RAM
        }
        MemoryType::ACPI_RECLAIM => ACPI,
        MemoryType::ACPI_NON_VOLATILE => NVS,
        // Among them LOADER_DATA: the kernel itself, and the pages handed over.
        _ => RESERVED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_memory_for_everything_is_ram() {
        let wb = MemoryAttribute::WRITE_BACK;
        let all = wb | MemoryAttribute::UNCACHEABLE | MemoryAttribute::EXECUTE_PROTECT;
        let ram = MemoryType::CONVENTIONAL;
        assert_eq!(kind(ram, all), RAM);
        assert_eq!(kind(MemoryType::BOOT_SERVICES_DATA, wb), RAM);
        assert_eq!(kind(ram, MemoryAttribute::UNCACHEABLE), RESERVED);
        for other in [
            MemoryAttribute::SPECIAL_PURPOSE,
            MemoryAttribute::HOT_PLUGGABLE,
            MemoryAttribute::RUNTIME,
        ] {
            assert_eq!(kind(ram, all | other), RESERVED, "{other:?}");
        }
    }

    #[test]
    fn what_firmware_and_the_loader_keep_is_left_alone() {
        let wb = MemoryAttribute::WRITE_BACK;
        assert_eq!(kind(MemoryType::LOADER_DATA, wb), RESERVED);
        assert_eq!(
            kind(MemoryType::RUNTIME_SERVICES_DATA, wb | MemoryAttribute::RUNTIME),
            RESERVED
        );
        assert_eq!(kind(MemoryType::ACPI_RECLAIM, wb), ACPI);
        assert_eq!(kind(MemoryType::ACPI_NON_VOLATILE, MemoryAttribute::empty()), NVS);
    }
}

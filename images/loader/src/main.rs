//! Starts a PVH kernel from the disk this UEFI application was started from.
//!
//! It does what QEMU's `-kernel` does: loads the ELF file's segments where they belong, describes
//! the machine in a `hvm_start_info`, and enters the kernel in 32-bit protected mode. Afterwards
//! nothing of the firmware's boot services is left.
#![cfg_attr(target_os = "uefi", no_std, no_main)]

#[cfg(target_os = "uefi")]
extern crate alloc;

#[cfg(target_os = "uefi")]
mod enter;
#[cfg(target_os = "uefi")]
mod handover;
#[cfg(target_os = "uefi")]
mod kernel;
#[cfg(any(target_os = "uefi", test))]
mod regions;

#[cfg(target_os = "uefi")]
mod application {
    use alloc::string::String;
    use alloc::vec::Vec;
    use core::time::Duration;

    use uefi::fs::FileSystem;
    use uefi::prelude::*;
    use uefi::{CStr16, cstr16};

    use crate::enter::Trampoline;
    use crate::handover::Handover;
    use crate::kernel::Kernel;

    const KERNEL: &CStr16 = cstr16!("\\godwit\\kernel.elf");
    const COMMAND_LINE: &CStr16 = cstr16!("\\godwit\\cmdline");

    #[entry]
    fn main() -> Status {
        match start() {
            Ok(never) => match never {},
            Err(error) => {
                uefi::println!("godwit: {error}");
                // Long enough to be read before the firmware goes on to the next boot option.
                boot::stall(Duration::from_secs(5));
                Status::LOAD_ERROR
            }
        }
    }

    fn start() -> Result<core::convert::Infallible, String> {
        let kernel = Kernel::load(&read(KERNEL)?)?;
        let command_line = read(COMMAND_LINE)?;
        let mut handover = Handover::new(command_line.trim_ascii())?;
        let trampoline = Trampoline::new()?;
        drop(command_line);
        // SAFETY: from here on nothing uses boot services.
        let memory = unsafe { boot::exit_boot_services(None) };
        handover.describe(memory);
        // SAFETY: the kernel is loaded at its place and the start info complete.
        unsafe { trampoline.enter(kernel.entry, handover.address()) }
    }

    fn read(path: &CStr16) -> Result<Vec<u8>, String> {
        let disk = boot::get_image_file_system(boot::image_handle())
            .map_err(|error| alloc::format!("the disk cannot be read: {error}"))?;
        FileSystem::new(disk).read(path).map_err(|error| alloc::format!("{path}: {error}"))
    }
}

/// The loader is firmware's to run; on a host there is only this to say.
#[cfg(not(target_os = "uefi"))]
fn main() {
    eprintln!("uefi-loader is started by a machine's firmware, from a disk image");
    std::process::exit(2);
}

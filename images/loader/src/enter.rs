//! The way from UEFI's 64-bit mode to the kernel's 32-bit entry point.

use alloc::format;
use alloc::string::String;
use core::arch::global_asm;
use core::convert::Infallible;
use core::mem::transmute;
use core::ptr;

use uefi::boot::{self, AllocateType, MemoryType, PAGE_SIZE};

global_asm!(include_str!("enter.s"));

unsafe extern "C" {
    static trampoline_start: u8;
    static trampoline_end: u8;
}

/// The code of enter.s at an address that 32-bit mode can reach.
pub(crate) struct Trampoline(Enter);

type Enter = unsafe extern "sysv64" fn(start_info: u64, entry: u64) -> Infallible;

impl Trampoline {
    pub(crate) fn new() -> Result<Self, String> {
        let from = &raw const trampoline_start;
        let len = (&raw const trampoline_end).addr() - from.addr();
        let page = boot::allocate_pages(
            AllocateType::MaxAddress(u32::MAX.into()),
            MemoryType::LOADER_CODE,
            len.div_ceil(PAGE_SIZE),
        )
        .map_err(|error| format!("no memory below 4 GiB: {error}"))?;
        // SAFETY: the symbols enclose the code, and the page is ours and large enough.
        unsafe { ptr::copy_nonoverlapping(from, page.as_ptr(), len) };
        // SAFETY: the code is position-independent and takes its arguments as declared.
        Ok(Self(unsafe { transmute::<*mut u8, Enter>(page.as_ptr()) }))
    }

    /// Enters the kernel.
    ///
    /// # Safety
    /// Boot services are gone, a kernel is at `entry`, a complete start info at `start_info`.
    pub(crate) unsafe fn enter(&self, entry: u32, start_info: u32) -> ! {
        // SAFETY: the caller's promise.
        match unsafe { (self.0)(start_info.into(), entry.into()) } {}
    }
}

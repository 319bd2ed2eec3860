//! The processor and what every PC has around it: everything here is x86-64, and knows nothing of
//! the rest of the kernel.

pub(crate) mod backtrace;
pub(crate) mod cpu;
pub(crate) mod interrupts;
pub(crate) mod lapic;
pub(crate) mod paging;
pub(crate) mod pic;
pub(crate) mod pit;
mod pv_eoi;
mod segments;
pub(crate) mod serial;
pub(crate) mod vectors;

/// Loads the descriptor tables, so that a fault ends in `on_exception`.
///
/// # Safety
/// Called once, with interrupts off.
pub(crate) unsafe fn init_tables(on_exception: fn(&interrupts::Frame)) {
    interrupts::set_exception_handler(on_exception);
    // SAFETY: the caller's promise covers both.
    unsafe { segments::init() };
    // SAFETY: as above; the segments the gates name are loaded now.
    unsafe { interrupts::init() };
}

/// Sets up the interrupt controllers, everything masked; `has_8259` as ACPI says.
pub(crate) fn init_interrupts(has_8259: bool) {
    pic::init(has_8259);
    lapic::init();
}

//! The end of the machine itself.

use core::sync::atomic::{AtomicU16, Ordering};

use x86_64::instructions::port::Port;
use x86_64::instructions::{hlt, interrupts};

/// Exit code of a machine that panicked or died of an exception.
pub const FAILED: u8 = 1;

/// QEMU's `isa-debug-exit`, at the port people give it.
const DEBUG_EXIT: u16 = 0xf4;
/// Where q35 has the PM1a control register: for an end before ACPI's tables are read.
const Q35_PM1A_CONTROL: u16 = 0x604;
/// SLP_EN with SLP_TYP 0 (ACPI 6.5, section 4.8.3.2.1). The type for "soft off" is in the
/// firmware's AML; on QEMU's PC machines it is 0 (`hw/acpi/core.c`, `acpi_pm1_cnt_write`).
const SOFT_OFF: u16 = 1 << 13;

static PM1A_CONTROL: AtomicU16 = AtomicU16::new(Q35_PM1A_CONTROL);

/// Tells where the PM1a control register is, from the FADT.
pub(crate) fn set_pm1a_control(port: u16) {
    PM1A_CONTROL.store(port, Ordering::Relaxed);
}

/// Switches the machine off.
///
/// Code 0 is an ordinary power-off. Another one reaches the host where the machine has an
/// `isa-debug-exit` at port f4h: QEMU then exits with `code * 2 + 1`. Where it has none, the
/// machine is switched off all the same.
pub fn exit(code: u8) -> ! {
    interrupts::disable();
    crate::console::finish();
    if code != 0 {
        // SAFETY: no other device of a PC answers at this port (it was the 80287's).
        unsafe { Port::new(DEBUG_EXIT).write(u32::from(code)) };
    }
    // SAFETY: asks the chipset for soft-off, which is what the caller wants.
    unsafe { Port::new(PM1A_CONTROL.load(Ordering::Relaxed)).write(SOFT_OFF) };
    loop {
        hlt();
    }
}

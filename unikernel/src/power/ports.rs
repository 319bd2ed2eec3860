//! The ports of the machine that it is.

use x86_64::instructions::port::Port;

use super::Ports;

/// Ports as the processor has them, for registers that ACPI's tables name.
pub struct MachinePorts(());

impl MachinePorts {
    /// # Safety
    /// Whoever uses them reads and writes nothing but registers of ACPI's fixed hardware.
    pub(crate) unsafe fn new() -> Self {
        Self(())
    }
}

impl Ports for MachinePorts {
    fn read(&self, port: u16) -> u16 {
        // SAFETY: by the promise given to `new`, a register whose reading changes nothing.
        unsafe { Port::new(port).read() }
    }

    fn write(&self, port: u16, value: u16) {
        // SAFETY: by the promise given to `new`, a register of ACPI's.
        unsafe { Port::new(port).write(value) };
    }

    fn write_byte(&self, port: u16, value: u8) {
        // SAFETY: as above.
        unsafe { Port::new(port).write(value) };
    }
}

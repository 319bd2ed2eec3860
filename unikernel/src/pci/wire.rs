//! Where INTx pins below a bridge end up.

use super::Function;
use super::registers::{INTERRUPT_LINE, INTERRUPT_PIN};

/// The INTx pin of a bridge, and the line that firmware routed it to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wire {
    pin: u8,
    line: u8,
}

impl Wire {
    pub(super) fn of(bridge: &Function) -> Self {
        Self { pin: bridge.read8(INTERRUPT_PIN), line: bridge.read8(INTERRUPT_LINE) }
    }

    /// The line of a pin of device number `device` below the bridge: what firmware finds out for a
    /// function that is there at boot. Known only where the pin shares a wire with the bridge's
    /// own (2.2.8.1, table of the mapping across bridges); elsewhere it takes an ACPI interpreter
    /// to know, and the line counts as not connected.
    pub(super) fn line(self, device: u8, pin: u8) -> u8 {
        const NOT_CONNECTED: u8 = 0xff;
        let wire = (pin.wrapping_sub(1).wrapping_add(device)) % 4 + 1;
        if wire == self.pin { self.line } else { NOT_CONNECTED }
    }
}

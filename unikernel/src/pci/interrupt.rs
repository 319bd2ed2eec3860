//! Message-signalled and pin interrupts of a function.

use super::registers::{COMMAND, INTERRUPT_LINE, INTERRUPT_PIN, express, id, msi, msix};
use super::{Bridge, Device, Error, Function};
use crate::irq::{self, Interrupt, MsiMessage};
use crate::mmio::Mmio;
use core::ops::Range;
use pci_types::CommandRegister;

/// How a function raises its interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signalling {
    /// One of its MSI-X table entries.
    MsiX,
    /// Its single MSI message.
    Msi,
    /// Its INTx pin: level triggered, shared, to be unmasked after servicing.
    Pin,
}

/// An interrupt of a function, set up and enabled.
#[derive(Clone)]
pub struct Vector {
    /// The handle to wait on.
    pub interrupt: Interrupt,
    /// How it is raised.
    pub signalling: Signalling,
    /// MSI-X table entries that raise it, from the first on; 1 with MSI and INTx.
    pub entries: u16,
}

impl Device {
    /// Gives the function one interrupt, by MSI-X (entry 0) if it can, else MSI, else INTx.
    ///
    /// # Errors
    /// [`Error::NoInterrupt`] if it has none of these, or there is no vector left.
    pub fn enable_interrupt(&self) -> Result<Vector, Error> {
        self.enable_interrupts(1)
    }

    /// The same with up to `entries` MSI-X table entries, for a function whose queues have one each
    /// and are moderated and masked on their own. All raise the same interrupt: one processor
    /// serves them.
    ///
    /// # Errors
    /// As [`Device::enable_interrupt`].
    pub fn enable_interrupts(&self, entries: u16) -> Result<Vector, Error> {
        enable(self.function(), 0..entries, |bar| self.bar(bar))
    }

    /// Takes the interrupt away again: the function raises none.
    pub fn disable_interrupt(&self) {
        if self.is_present() {
            disable(self.function());
        }
    }
}

impl Bridge {
    /// Gives the bridge its interrupt, for hot-plug events and its own capabilities: the MSI-X
    /// entry that its PCI Express capability names (7.5.3.2), else MSI, else INTx.
    ///
    /// # Errors
    /// As [`Device::enable_interrupt`].
    pub fn enable_interrupt(&self) -> Result<Vector, Error> {
        let entry = self.function().capability(id::EXPRESS).map_or(0, |capability| {
            let capabilities = self.function().read16(capability.offset + express::CAPABILITIES);
            capabilities >> express::MESSAGE_SHIFT & express::MESSAGE_MASK
        });
        enable(self.function(), entry..entry + 1, |bar| self.bar(bar))
    }
}

fn enable(
    function: &Function,
    entries: Range<u16>,
    bar: impl Fn(u8) -> Result<Mmio, Error>,
) -> Result<Vector, Error> {
    disable(function);
    let none = Error::NoInterrupt(function.address());
    let msi_x = function.capability(id::MSI_X);
    let msi = function.capability(id::MSI);
    if msi_x.is_some() || msi.is_some() {
        let interrupt = irq::allocate().map_err(|error| {
            log::error!("pci: {:?}: {error}", function);
            none
        })?;
        let message = interrupt.message();
        if let Some(capability) = msi_x {
            match enable_msi_x(function, capability.offset, entries, bar, message) {
                Some(entries) => {
                    return Ok(Vector { interrupt, signalling: Signalling::MsiX, entries });
                }
                None => log::warn!("pci: {function:?}: MSI-X table out of place, not used"),
            }
        }
        if let Some(capability) = msi {
            enable_msi(function, capability.offset, message);
            return Ok(Vector { interrupt, signalling: Signalling::Msi, entries: 1 });
        }
    }
    if function.read8(INTERRUPT_PIN) == 0 {
        return Err(none);
    }
    let line = function.read8(INTERRUPT_LINE);
    let interrupt = irq::legacy(line).map_err(|error| {
        log::error!("pci: {function:?}: {error}");
        none
    })?;
    function.update16(COMMAND, CommandRegister::INTERRUPT_DISABLE.bits(), 0);
    Ok(Vector { interrupt, signalling: Signalling::Pin, entries: 1 })
}

/// Fills and unmasks table entries, and returns how many of them there are. The table is where the
/// device says; `None` when that is not inside one of its BARs or has no such entry.
fn enable_msi_x(
    function: &Function,
    offset: u16,
    entries: Range<u16>,
    bar: impl Fn(u8) -> Result<Mmio, Error>,
    message: MsiMessage,
) -> Option<u16> {
    let size = (function.read16(offset + msix::CONTROL) & msix::CONTROL_TABLE_SIZE) + 1;
    let place = function.read32(offset + msix::TABLE);
    let table = bar((place & msix::TABLE_BAR) as u8).ok()?;
    let table =
        table.window((place & !msix::TABLE_BAR) as usize, usize::from(size) * msix::ENTRY)?;
    let entries = entries.start..entries.end.min(size);
    if entries.is_empty() {
        return None;
    }
    // Masked as a whole while entries hold what a previous owner left (7.7.2.2).
    let control = offset + msix::CONTROL;
    function.update16(control, 0, msix::CONTROL_FUNCTION_MASK | msix::CONTROL_ENABLE);
    for other in 0..size {
        let at = usize::from(other) * msix::ENTRY;
        table.write32(at + msix::ENTRY_CONTROL, msix::ENTRY_MASKED);
    }
    for entry in entries.clone() {
        let at = usize::from(entry) * msix::ENTRY;
        table.write32(at + msix::ENTRY_ADDRESS, message.address as u32);
        table.write32(at + msix::ENTRY_ADDRESS_UPPER, (message.address >> 32) as u32);
        table.write32(at + msix::ENTRY_DATA, message.data);
        table.write32(at + msix::ENTRY_CONTROL, 0);
    }
    function.update16(control, msix::CONTROL_FUNCTION_MASK, 0);
    Some(entries.end - entries.start)
}

fn enable_msi(function: &Function, offset: u16, message: MsiMessage) {
    let control = function.read16(offset + msi::CONTROL);
    function.write32(offset + msi::ADDRESS, message.address as u32);
    let mask = if control & msi::CONTROL_64_BIT != 0 {
        function.write32(offset + msi::ADDRESS_UPPER, (message.address >> 32) as u32);
        function.write16(offset + msi::DATA_64, message.data as u16);
        msi::MASK_64
    } else {
        function.write16(offset + msi::DATA_32, message.data as u16);
        msi::MASK_32
    };
    if control & msi::CONTROL_MASKABLE != 0 {
        // A previous owner may have left the one message masked; the other bits are reserved where
        // there are no more.
        function.update16(offset + mask, 1, 0);
    }
    function.update16(offset + msi::CONTROL, msi::CONTROL_GRANTED, msi::CONTROL_ENABLE);
}

/// Turns all three off.
fn disable(function: &Function) {
    if let Some(capability) = function.capability(id::MSI_X) {
        function.update16(capability.offset + msix::CONTROL, msix::CONTROL_ENABLE, 0);
    }
    if let Some(capability) = function.capability(id::MSI) {
        function.update16(capability.offset + msi::CONTROL, msi::CONTROL_ENABLE, 0);
    }
    function.update16(COMMAND, 0, CommandRegister::INTERRUPT_DISABLE.bits());
}

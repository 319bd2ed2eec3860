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

/// An interrupt of a function.
#[derive(Clone)]
pub struct Vector {
    /// The handle to wait on.
    pub interrupt: Interrupt,
    /// How it is raised.
    pub signalling: Signalling,
    /// MSI-X table entries that raise it, from the first on; 1 with MSI and INTx.
    pub entries: u16,
    function: Function,
    place: Place,
}

/// What of a function raises a [`Vector`].
#[derive(Clone)]
enum Place {
    /// A capability, and its table.
    MsiX {
        control: u16,
        table: Mmio,
        entries: Range<u16>,
    },
    /// A capability.
    Msi(u16),
    Pin,
}

impl Vector {
    /// Has the function raise it from now on. A hypervisor sets up a way for it then, which takes a
    /// while.
    pub fn enable(&self) {
        match &self.place {
            Place::MsiX { control, table, entries } => {
                enable_msi_x(&self.function, *control, table, entries, self.interrupt.message());
            }
            Place::Msi(offset) => enable_msi(&self.function, *offset, self.interrupt.message()),
            Place::Pin => {
                self.function.update16(COMMAND, CommandRegister::INTERRUPT_DISABLE.bits(), 0);
            }
        }
    }

    /// Takes it from a function that may not write memory any more. Messages are such writes, and
    /// have ended with the others: there is nothing more to do, and nothing to wait for.
    pub fn disable(&self) {
        if matches!(self.place, Place::Pin) && self.function.read16(COMMAND) != u16::MAX {
            disable_pin(&self.function);
        }
    }
}

impl Device {
    /// Gives the function one interrupt, by MSI-X (entry 0) if it can, else MSI, else INTx.
    ///
    /// # Errors
    /// [`Error::NoInterrupt`] if it has none of these, or there is no vector left.
    pub fn enable_interrupt(&self) -> Result<Vector, Error> {
        let vector = self.interrupts(1)?;
        vector.enable();
        Ok(vector)
    }

    /// The interrupt that the function can be given, which is not enabled yet. With up to `entries`
    /// MSI-X table entries, for a function whose queues have one each and are moderated and masked
    /// on their own. All raise the same interrupt: one processor serves them.
    ///
    /// # Errors
    /// As [`Device::enable_interrupt`].
    pub fn interrupts(&self, entries: u16) -> Result<Vector, Error> {
        choose(self.function(), 0..entries, |bar| self.bar(bar), |pin| self.line(pin))
    }
}

impl Bridge {
    /// Gives the bridge its interrupt, for hot-plug events and its own capabilities: the MSI-X
    /// entry that its PCI Express capability names (7.5.3.2), else MSI, else INTx.
    ///
    /// # Errors
    /// As [`Device::enable_interrupt`].
    pub fn enable_interrupt(&self) -> Result<Vector, Error> {
        let function = self.function();
        let entry = function.capability(id::EXPRESS).map_or(0, |capability| {
            let capabilities = function.read16(capability.offset + express::CAPABILITIES);
            capabilities >> express::MESSAGE_SHIFT & express::MESSAGE_MASK
        });
        let line = |_| function.read8(INTERRUPT_LINE);
        let vector = choose(function, entry..entry + 1, |bar| self.bar(bar), line)?;
        vector.enable();
        Ok(vector)
    }
}

/// Where the capabilities for messages are.
struct Messages {
    msi_x: Option<u16>,
    msi: Option<u16>,
}

impl Messages {
    /// The first of either kind, by one walk of the list, as far as need be.
    fn of(function: &Function) -> Self {
        let mut found = Self { msi_x: None, msi: None };
        for capability in function.capabilities() {
            match capability.id {
                id::MSI_X => found.msi_x.get_or_insert(capability.offset),
                id::MSI => found.msi.get_or_insert(capability.offset),
                _ => continue,
            };
            if found.msi_x.is_some() && found.msi.is_some() {
                break;
            }
        }
        found
    }
}

/// Turns off what a previous owner left on, and finds out which interrupt there is to be had.
fn choose(
    function: &Function,
    entries: Range<u16>,
    bar: impl Fn(u8) -> Result<Mmio, Error>,
    line: impl FnOnce(u8) -> u8,
) -> Result<Vector, Error> {
    let messages = Messages::of(function);
    disable(function, &messages);
    let none = Error::NoInterrupt(function.address());
    let vector = |interrupt, signalling, entries, place| Vector {
        interrupt,
        signalling,
        entries,
        function: function.clone(),
        place,
    };
    let Messages { msi_x, msi } = messages;
    if msi_x.is_some() || msi.is_some() {
        let interrupt = irq::allocate().map_err(|error| {
            log::error!("pci: {:?}: {error}", function);
            none
        })?;
        if let Some(offset) = msi_x {
            if let Some((table, entries)) = find_table(function, offset, entries, bar) {
                let count = entries.end - entries.start;
                let place = Place::MsiX { control: offset + msix::CONTROL, table, entries };
                return Ok(vector(interrupt, Signalling::MsiX, count, place));
            }
            log::warn!("pci: {function:?}: MSI-X table out of place, not used");
        }
        if let Some(offset) = msi {
            return Ok(vector(interrupt, Signalling::Msi, 1, Place::Msi(offset)));
        }
    }
    let pin = function.read8(INTERRUPT_PIN);
    if pin == 0 {
        return Err(none);
    }
    let interrupt = irq::legacy(line(pin)).map_err(|error| {
        log::error!("pci: {function:?}: {error}");
        none
    })?;
    Ok(vector(interrupt, Signalling::Pin, 1, Place::Pin))
}

/// The MSI-X table, and those of these entries that it has. It is where the device says; `None`
/// when that is not inside one of its BARs or has no such entry.
fn find_table(
    function: &Function,
    offset: u16,
    entries: Range<u16>,
    bar: impl Fn(u8) -> Result<Mmio, Error>,
) -> Option<(Mmio, Range<u16>)> {
    let size = (function.read16(offset + msix::CONTROL) & msix::CONTROL_TABLE_SIZE) + 1;
    let place = function.read32(offset + msix::TABLE);
    let table = bar((place & msix::TABLE_BAR) as u8).ok()?;
    let table =
        table.window((place & !msix::TABLE_BAR) as usize, usize::from(size) * msix::ENTRY)?;
    let entries = entries.start..entries.end.min(size);
    (!entries.is_empty()).then_some((table, entries))
}

/// Fills and unmasks table entries.
fn enable_msi_x(
    function: &Function,
    control: u16,
    table: &Mmio,
    entries: &Range<u16>,
    message: MsiMessage,
) {
    // Masked as a whole while entries hold what a previous owner left (7.7.2.2).
    let enabled = function.read16(control) | msix::CONTROL_ENABLE;
    function.write16(control, enabled | msix::CONTROL_FUNCTION_MASK);
    for at in (0..table.len()).step_by(msix::ENTRY) {
        if !entries.contains(&((at / msix::ENTRY) as u16)) {
            table.write32(at + msix::ENTRY_CONTROL, msix::ENTRY_MASKED);
            continue;
        }
        table.write32(at + msix::ENTRY_ADDRESS, message.address as u32);
        table.write32(at + msix::ENTRY_ADDRESS_UPPER, (message.address >> 32) as u32);
        table.write32(at + msix::ENTRY_DATA, message.data);
        table.write32(at + msix::ENTRY_CONTROL, 0);
    }
    function.write16(control, enabled & !msix::CONTROL_FUNCTION_MASK);
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
fn disable(function: &Function, messages: &Messages) {
    if let Some(offset) = messages.msi_x {
        function.update16(offset + msix::CONTROL, msix::CONTROL_ENABLE, 0);
    }
    if let Some(offset) = messages.msi {
        function.update16(offset + msi::CONTROL, msi::CONTROL_ENABLE, 0);
    }
    disable_pin(function);
}

fn disable_pin(function: &Function) {
    function.update16(COMMAND, 0, CommandRegister::INTERRUPT_DISABLE.bits());
}

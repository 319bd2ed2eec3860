//! A function that a driver can drive.

use super::bar::{self, Bar, Window};
use super::registers::{COMMAND, INTERRUPT_LINE, SUBSYSTEM, VENDOR_ID};
use super::wire::Wire;
use super::{Error, Function, PciAddress};
use crate::mmio::Mmio;
use alloc::vec::Vec;
use core::ops::Range;
use pci_types::CommandRegister;

/// Registers of a type 0 header that hold a BAR (7.5.1.2).
const BARS: u8 = 6;

/// An endpoint function with its BARs sized and assigned.
#[derive(Clone, Debug)]
pub struct Device {
    function: Function,
    vendor: u16,
    id: u16,
    class: u16,
    bars: Vec<Bar>,
    /// What its INTx pin is wired by, where firmware has not seen to it.
    wire: Option<Wire>,
}

impl Device {
    /// Takes stock of an endpoint that firmware has seen: what it assigned stays, what it did not
    /// is assigned in `windows`, clear of `taken`, to which all BARs are added.
    pub(crate) fn open(
        function: Function,
        windows: &[Window],
        taken: &mut Vec<Range<u64>>,
    ) -> Result<Self, Error> {
        let bars = bar::size(&function, BARS);
        Self::with_bars(function, bars, None, windows, taken)
    }

    /// Takes stock of an endpoint that was plugged in, below a bridge with this wire: whatever its
    /// BARs hold is nobody's decision. `None` if it is in use, a bus master that is.
    pub(crate) fn plugged(
        function: Function,
        wire: Wire,
        windows: &[Window],
        taken: &mut Vec<Range<u64>>,
    ) -> Result<Option<Self>, Error> {
        let decoding = CommandRegister::IO_ENABLE | CommandRegister::MEMORY_ENABLE;
        let command = CommandRegister::from_bits_retain(function.read16(COMMAND));
        if command.contains(CommandRegister::BUS_MASTER_ENABLE) {
            return Ok(None);
        }
        if command.intersects(decoding) {
            function.write16(COMMAND, (command - decoding).bits());
        }
        let bars = bar::size_anew(&function, BARS);
        Self::with_bars(function, bars, Some(wire), windows, taken).map(Some)
    }

    fn with_bars(
        function: Function,
        mut bars: Vec<Bar>,
        wire: Option<Wire>,
        windows: &[Window],
        taken: &mut Vec<Range<u64>>,
    ) -> Result<Self, Error> {
        let ids = function.read32(VENDOR_ID);
        if ids == u32::MAX {
            return Err(Error::Gone(function.address()));
        }
        let assigned = |bar: &&Bar| bar.is_memory() && bar.address != 0;
        taken.extend(bars.iter().filter(assigned).map(Bar::range));
        bar::assign(&function, &mut bars, windows, taken)?;
        let class = function.read16(super::registers::CLASS);
        Ok(Self { function, vendor: ids as u16, id: (ids >> 16) as u16, class, bars, wire })
    }

    /// Where it is.
    pub fn address(&self) -> PciAddress {
        self.function.address()
    }

    /// Vendor and device id.
    pub fn ids(&self) -> (u16, u16) {
        (self.vendor, self.id)
    }

    /// Subsystem vendor and subsystem id: whose product it is.
    pub fn subsystem_ids(&self) -> (u16, u16) {
        let ids = self.function.read32(SUBSYSTEM);
        (ids as u16, (ids >> 16) as u16)
    }

    /// Base class in the high byte, sub-class in the low one; 0x0200 is an Ethernet controller.
    pub fn class(&self) -> u16 {
        self.class
    }

    /// Its configuration space.
    pub fn function(&self) -> &Function {
        &self.function
    }

    /// The BARs it implements.
    pub fn bars(&self) -> &[Bar] {
        &self.bars
    }

    /// Memory BAR `index`, with decoding turned on: its first 16 MiB if it is longer.
    ///
    /// # Errors
    /// [`Error::NoBar`], [`Error::NotMappable`].
    pub fn bar(&self, index: u8) -> Result<Mmio, Error> {
        let missing = Error::NoBar(self.address(), index);
        let bar = self.bars.iter().find(|bar| bar.index == index).ok_or(missing)?;
        if !bar.is_memory() || bar.address == 0 {
            return Err(missing);
        }
        self.function.update16(COMMAND, 0, CommandRegister::MEMORY_ENABLE.bits());
        self.function.host().map(bar.address, bar.mapped())
    }

    /// Lets the function read and write memory.
    pub(super) fn enable_bus_master(&self) {
        self.function.update16(COMMAND, 0, CommandRegister::BUS_MASTER_ENABLE.bits());
    }

    /// Ends the function's access to memory.
    pub(super) fn disable_bus_master(&self) {
        let command = self.function.read16(COMMAND);
        // A function that is gone reads all ones; writing them back to whatever answers next at
        // this address would be a surprise.
        if command != u16::MAX {
            let master = CommandRegister::BUS_MASTER_ENABLE.bits();
            self.function.write16(COMMAND, command & !master);
            // A write through memory-mapped configuration space may be posted. Reading waits for
            // it, and the answer does not overtake writes to memory that the function sent before
            // (7.2.2, 2.4.1).
            self.function.read16(COMMAND);
        }
    }

    /// The line that its INTx pin, which it has, ends up on.
    pub(super) fn line(&self, pin: u8) -> u8 {
        match self.wire {
            Some(wire) => wire.line(self.address().device(), pin),
            None => self.function.read8(INTERRUPT_LINE),
        }
    }

    /// Whether the function still answers.
    pub fn is_present(&self) -> bool {
        self.function.read16(VENDOR_ID) == self.vendor
    }
}

//! A function that a driver can drive.

use super::bar::{self, Bar, Window};
use super::registers::{COMMAND, VENDOR_ID};
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
        Self::with_bars(function, bars, windows, taken)
    }

    /// Takes stock of an endpoint that was plugged in: whatever its BARs hold is nobody's decision.
    pub(crate) fn plugged(
        function: Function,
        windows: &[Window],
        taken: &mut Vec<Range<u64>>,
    ) -> Result<Self, Error> {
        let decoding = CommandRegister::IO_ENABLE | CommandRegister::MEMORY_ENABLE;
        function.update16(COMMAND, decoding.bits(), 0);
        let mut bars = bar::size(&function, BARS);
        bars.iter_mut().for_each(|bar| bar.address = 0);
        Self::with_bars(function, bars, windows, taken)
    }

    fn with_bars(
        function: Function,
        mut bars: Vec<Bar>,
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
        Ok(Self { function, vendor: ids as u16, id: (ids >> 16) as u16, class, bars })
    }

    /// Where it is.
    pub fn address(&self) -> PciAddress {
        self.function.address()
    }

    /// Vendor and device id.
    pub fn ids(&self) -> (u16, u16) {
        (self.vendor, self.id)
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
        // A function that is gone reads all ones; writing them back to whatever answers next at
        // this address would be a surprise.
        if self.is_present() {
            self.function.update16(COMMAND, CommandRegister::BUS_MASTER_ENABLE.bits(), 0);
            // A write through memory-mapped configuration space may be posted. Reading waits for
            // it, and the answer does not overtake writes to memory that the function sent before
            // (7.2.2, 2.4.1).
            self.function.read16(COMMAND);
        }
    }

    /// Whether the function still answers.
    pub fn is_present(&self) -> bool {
        self.function.read16(VENDOR_ID) == self.vendor
    }
}

//! Configuration space access.

use super::{Error, PciAddress};
#[cfg(target_os = "none")]
use crate::acpi::EcamRange;
use crate::mmio::{Mmio, Width};
use alloc::sync::Arc;
use core::fmt;
#[cfg(target_os = "none")]
use core::ops::RangeInclusive;

/// The way into a PCI segment: its configuration space, and its memory space.
///
/// A read of a function that is not there returns all ones, and a write to it does nothing.
pub trait HostBridge: Send + Sync {
    /// Reads configuration space; `offset` is aligned to `width`.
    fn read(&self, function: PciAddress, offset: u16, width: Width) -> u32;
    /// Writes configuration space; `offset` is aligned to `width`.
    fn write(&self, function: PciAddress, offset: u16, width: Width, value: u32);
    /// Maps `len` bytes of memory space at `address`, where a function decodes one of its BARs.
    ///
    /// # Errors
    /// [`Error::NotMappable`].
    fn map(&self, address: u64, len: u64) -> Result<Mmio, Error>;
}

/// The enhanced configuration access mechanism (PCI Express Base Specification 6.0, 7.2.2): 4 KiB
/// of memory for each function.
#[cfg(target_os = "none")]
pub struct Ecam {
    config: Mmio,
    segment: u16,
    buses: RangeInclusive<u8>,
}

#[cfg(target_os = "none")]
impl Ecam {
    const BUS_SHIFT: u32 = 20;

    /// The configuration space that an entry of ACPI's MCFG table describes.
    ///
    /// # Errors
    /// [`Error::NotMappable`].
    pub fn new(range: &EcamRange) -> Result<Self, Error> {
        let first = range.base + (u64::from(range.first_bus) << Self::BUS_SHIFT);
        let len = (u64::from(range.last_bus - range.first_bus) + 1) << Self::BUS_SHIFT;
        let config = Mmio::map(first, len).ok_or(Error::NotMappable(first, len))?;
        Ok(Self { config, segment: range.segment, buses: range.first_bus..=range.last_bus })
    }

    fn offset(&self, function: PciAddress, offset: u16) -> Option<usize> {
        if function.segment() != self.segment || !self.buses.contains(&function.bus()) {
            return None;
        }
        let bus = usize::from(function.bus() - self.buses.start());
        let device = usize::from(function.device()) << 3 | usize::from(function.function());
        Some(bus << Self::BUS_SHIFT | device << 12 | usize::from(offset & 0xfff))
    }
}

#[cfg(target_os = "none")]
impl HostBridge for Ecam {
    fn read(&self, function: PciAddress, offset: u16, width: Width) -> u32 {
        match self.offset(function, offset) {
            Some(offset) => self.config.read(offset, width),
            None => width.ones(),
        }
    }

    fn write(&self, function: PciAddress, offset: u16, width: Width, value: u32) {
        if let Some(offset) = self.offset(function, offset) {
            self.config.write(offset, width, value);
        }
    }

    fn map(&self, address: u64, len: u64) -> Result<Mmio, Error> {
        Mmio::map(address, len).ok_or(Error::NotMappable(address, len))
    }
}

/// One function's configuration space. Cheap to clone; stays valid, reading all ones, when the
/// function goes.
#[derive(Clone)]
pub struct Function {
    host: Arc<dyn HostBridge>,
    address: PciAddress,
}

impl Function {
    pub(crate) fn new(host: Arc<dyn HostBridge>, address: PciAddress) -> Self {
        Self { host, address }
    }

    /// Segment, bus, device and function number.
    pub fn address(&self) -> PciAddress {
        self.address
    }

    pub(crate) fn host(&self) -> &Arc<dyn HostBridge> {
        &self.host
    }

    /// Reads 8 bits.
    pub fn read8(&self, offset: u16) -> u8 {
        self.host.read(self.address, offset, Width::Byte) as u8
    }

    /// Reads 16 bits.
    pub fn read16(&self, offset: u16) -> u16 {
        self.host.read(self.address, offset, Width::Word) as u16
    }

    /// Reads 32 bits.
    pub fn read32(&self, offset: u16) -> u32 {
        self.host.read(self.address, offset, Width::Dword)
    }

    /// Writes 16 bits.
    pub(crate) fn write16(&self, offset: u16, value: u16) {
        self.host.write(self.address, offset, Width::Word, value.into());
    }

    /// Writes 32 bits.
    pub(crate) fn write32(&self, offset: u16, value: u32) {
        self.host.write(self.address, offset, Width::Dword, value);
    }

    /// Clears `clear` and sets `set` in the 16 bits at `offset`, unless they are so already: a
    /// write is slow in a virtual machine. Not for registers next to which a write clears bits:
    /// this writes 16 bits and no more.
    pub(crate) fn update16(&self, offset: u16, clear: u16, set: u16) {
        let before = self.read16(offset);
        let after = before & !clear | set;
        if after != before {
            self.write16(offset, after);
        }
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.address, f)
    }
}

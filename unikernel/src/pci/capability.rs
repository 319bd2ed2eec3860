//! The capability list (PCI Express Base Specification 6.0, 7.5.1.1.11), which a device may get
//! wrong: every pointer is range checked and the walk is bounded.

use super::Function;
use super::registers::{CAPABILITIES, STATUS, STATUS_CAPABILITIES, id};

/// Capabilities live between the header and the end of the 256 bytes that PCI had.
const FIRST: u8 = 0x40;
const END: u16 = 0x100;
/// As many as fit at four bytes each; a list that is longer runs in a circle.
const MOST: usize = (END as usize - FIRST as usize) / 4;

/// One entry of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    /// Capability id.
    pub id: u8,
    /// Where it starts in configuration space.
    pub offset: u16,
}

/// Iterates over a function's capabilities.
#[derive(Debug)]
pub struct Capabilities<'a> {
    function: &'a Function,
    next: u8,
    left: usize,
}

impl Iterator for Capabilities<'_> {
    type Item = Capability;

    fn next(&mut self) -> Option<Capability> {
        // The low two bits are reserved and read as anything (7.5.3.1).
        let offset = self.next & !0b11;
        if offset < FIRST || self.left == 0 {
            return None;
        }
        self.left -= 1;
        let header = self.function.read16(offset.into());
        // All ones: the function went while the list was being read.
        if header == u16::MAX {
            return None;
        }
        self.next = (header >> 8) as u8;
        Some(Capability { id: header as u8, offset: offset.into() })
    }
}

impl Function {
    /// The function's capabilities, at most 48 of them.
    pub fn capabilities(&self) -> Capabilities<'_> {
        let status = self.read16(STATUS);
        let listed = status != u16::MAX && status & STATUS_CAPABILITIES != 0;
        let next = if listed { self.read8(CAPABILITIES) } else { 0 };
        Capabilities { function: self, next, left: MOST }
    }

    /// The first capability with this id.
    pub fn capability(&self, id: u8) -> Option<Capability> {
        self.capabilities().find(|capability| capability.id == id)
    }

    /// The function's vendor-specific capabilities.
    pub fn vendor_capabilities(&self) -> impl Iterator<Item = VendorCapability> + '_ {
        self.capabilities()
            .filter(|capability| capability.id == id::VENDOR)
            .filter_map(|capability| VendorCapability::new(self, capability.offset))
    }
}

/// A vendor-specific capability (7.9.4): id, next, length, then what the vendor likes. Accesses
/// beyond the length the device gives are refused.
#[derive(Clone, Debug)]
pub struct VendorCapability {
    function: Function,
    offset: u16,
    len: u8,
}

impl VendorCapability {
    const LENGTH: u16 = 2;

    fn new(function: &Function, offset: u16) -> Option<Self> {
        let len = function.read8(offset + Self::LENGTH);
        let fits = u16::from(len) > Self::LENGTH && offset + u16::from(len) <= END;
        fits.then(|| Self { function: function.clone(), offset, len })
    }

    /// Length in bytes, header included; it fits into configuration space.
    #[allow(clippy::len_without_is_empty, reason = "the header alone is three bytes")]
    pub fn len(&self) -> u8 {
        self.len
    }

    /// The function that has the capability.
    pub fn function(&self) -> &Function {
        &self.function
    }

    /// Reads 8 bits; `None` outside the capability.
    pub fn read8(&self, offset: u8) -> Option<u8> {
        Some(self.function.read8(self.at(offset, 1)?))
    }

    /// Reads 16 bits; `None` outside the capability or misaligned.
    pub fn read16(&self, offset: u8) -> Option<u16> {
        Some(self.function.read16(self.at(offset, 2)?))
    }

    /// Reads 32 bits; `None` outside the capability or misaligned.
    pub fn read32(&self, offset: u8) -> Option<u32> {
        Some(self.function.read32(self.at(offset, 4)?))
    }

    /// Writes 16 bits; `None`, and nothing written, outside the capability or misaligned.
    pub fn write16(&self, offset: u8, value: u16) -> Option<()> {
        self.function.write16(self.at(offset, 2)?, value);
        Some(())
    }

    /// Writes 32 bits; `None`, and nothing written, outside the capability or misaligned.
    pub fn write32(&self, offset: u8, value: u32) -> Option<()> {
        self.function.write32(self.at(offset, 4)?, value);
        Some(())
    }

    fn at(&self, offset: u8, width: u8) -> Option<u16> {
        let inside = offset.checked_add(width)? <= self.len && offset.is_multiple_of(width);
        inside.then(|| self.offset + u16::from(offset))
    }
}

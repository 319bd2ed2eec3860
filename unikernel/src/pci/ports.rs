//! Configuration access by ports (PCI Local Bus 3.0, 3.2.2.3.2): for machines without ECAM, whose
//! functions have 256 bytes each.

use super::{Error, HostBridge, PciAddress};
use crate::mmio::{Mmio, Width};
use x86_64::instructions::port::Port;

const ADDRESS: u16 = 0xcf8;
const DATA: u16 = 0xcfc;
const ENABLE: u32 = 1 << 31;
/// Bytes of a function that can be reached.
const SIZE: u16 = 256;

/// The two ports, of which there is one pair in a machine.
pub(super) struct Ports(());

impl Ports {
    /// `None` where nothing answers.
    pub(super) fn find() -> Option<Self> {
        let mut address = Port::<u32>::new(ADDRESS);
        critical_section::with(|_| {
            // SAFETY: as 32 bits this port is the host bridge's and nobody else's; it selects what
            // the data port stands for, which is of consequence in this critical section only.
            unsafe {
                address.write(ENABLE);
                (address.read() == ENABLE).then_some(Self(()))
            }
        })
    }

    /// What selects a register, rounded down to 32 bits.
    fn select(function: PciAddress, offset: u16) -> Option<u32> {
        let devfn = u32::from(function.device()) << 3 | u32::from(function.function());
        (function.segment() == 0 && offset < SIZE).then(|| {
            ENABLE | u32::from(function.bus()) << 16 | devfn << 8 | u32::from(offset & !0b11)
        })
    }
}

impl HostBridge for Ports {
    fn read(&self, function: PciAddress, offset: u16, width: Width) -> u32 {
        let Some(selected) = Self::select(function, offset) else { return width.ones() };
        let port = DATA + (offset & 0b11);
        // SAFETY: address and data port are used together, with nothing in between: reading a
        // register has the effects that reading configuration space has by any other way.
        critical_section::with(|_| unsafe {
            Port::<u32>::new(ADDRESS).write(selected);
            match width {
                Width::Byte => Port::<u8>::new(port).read().into(),
                Width::Word => Port::<u16>::new(port).read().into(),
                Width::Dword => Port::<u32>::new(port).read(),
            }
        })
    }

    fn write(&self, function: PciAddress, offset: u16, width: Width, value: u32) {
        let Some(selected) = Self::select(function, offset) else { return };
        let port = DATA + (offset & 0b11);
        // SAFETY: as in `read`. What a write to configuration space may do is the business of
        // whoever has a `Function`, and is the same by any other way.
        critical_section::with(|_| unsafe {
            Port::<u32>::new(ADDRESS).write(selected);
            match width {
                Width::Byte => Port::<u8>::new(port).write(value as u8),
                Width::Word => Port::<u16>::new(port).write(value as u16),
                Width::Dword => Port::<u32>::new(port).write(value),
            }
        });
    }

    fn map(&self, address: u64, len: u64) -> Result<Mmio, Error> {
        Mmio::map(address, len).ok_or(Error::NotMappable(address, len))
    }
}

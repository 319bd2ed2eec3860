//! Configuration access by ports (PCI Local Bus 3.0, 3.2.2.3.2): for machines without ECAM, whose
//! functions have 256 bytes each.

use super::{Error, HostBridge, PciAddress};
use crate::mmio::{Mmio, Width};
use x86_64::instructions::port::Port;
use x86_64::structures::port::{PortRead, PortWrite};

/// Selects what [`DATA`] stands for. Always in the same critical section as what follows.
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
        let answer: u32 = critical_section::with(|_| {
            write(ADDRESS, ENABLE);
            read(ADDRESS)
        });
        (answer == ENABLE).then_some(Self(()))
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
        critical_section::with(|_| {
            write(ADDRESS, selected);
            match width {
                Width::Byte => read::<u8>(port).into(),
                Width::Word => read::<u16>(port).into(),
                Width::Dword => read(port),
            }
        })
    }

    fn write(&self, function: PciAddress, offset: u16, width: Width, value: u32) {
        let Some(selected) = Self::select(function, offset) else { return };
        let port = DATA + (offset & 0b11);
        critical_section::with(|_| {
            write(ADDRESS, selected);
            match width {
                Width::Byte => write(port, value as u8),
                Width::Word => write(port, value as u16),
                Width::Dword => write(port, value),
            }
        });
    }

    fn map(&self, address: u64, len: u64) -> Result<Mmio, Error> {
        Mmio::map(address, len).ok_or(Error::NotMappable(address, len))
    }
}

fn read<T: PortRead>(port: u16) -> T {
    // SAFETY: `port` is one of the two above, which nobody else uses. This reads configuration
    // space, with no other effect than by any other way.
    unsafe { Port::new(port).read() }
}

fn write<T: PortWrite>(port: u16, value: T) {
    // SAFETY: as in `read`. What a write to configuration space may do is the business of whoever
    // has a `Function`, and is the same by any other way.
    unsafe { Port::new(port).write(value) }
}

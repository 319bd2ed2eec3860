//! What was found on PCI, for a machine without a NIC to say.

use alloc::vec::Vec;
use core::fmt;

use unikernel::pci::{Device, PciAddress, Topology};

/// How many devices are named.
const NAMED: usize = 16;

/// What was found in all segments.
#[derive(Default)]
pub(crate) struct Inventory {
    segments: usize,
    bridges: usize,
    devices: Vec<(PciAddress, (u16, u16))>,
}

impl Inventory {
    /// Adds a segment.
    pub(crate) fn add_segment(&mut self) {
        self.segments += 1;
    }

    /// Adds what was found in a segment, or in a part of it.
    pub(crate) fn add(&mut self, found: &Topology) {
        self.bridges += found.bridges.len();
        let facts = |device: &Device| (device.address(), device.ids());
        self.devices.extend(found.devices.iter().map(facts));
    }
}

impl fmt::Display for Inventory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.segments == 0 {
            return f.write_str(
                "no PCI configuration space was found, neither by ACPI's MCFG table nor at ports \
                 CF8h and CFCh: the machine has to be one with PCI, such as QEMU's q35",
            );
        }
        let s = |count| if count == 1 { "" } else { "s" };
        let (devices, bridges) = (self.devices.len(), self.bridges);
        write!(f, "PCI has {devices} device{} and {bridges} bridge{}", s(devices), s(bridges))?;
        for (index, (address, (vendor, id))) in self.devices.iter().take(NAMED).enumerate() {
            let separator = if index == 0 { ": " } else { ", " };
            write!(f, "{separator}{vendor:04x}:{id:04x} at {address}")?;
        }
        if devices > NAMED {
            write!(f, " and {} more", devices - NAMED)?;
        }
        f.write_str(
            ". Give the machine a NIC that docs/drivers.md lists, below a PCI Express root port to \
             be migrated with it",
        )
    }
}

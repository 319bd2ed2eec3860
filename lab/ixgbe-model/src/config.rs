//! Configuration space (datasheet 9.3), as far as firmware, QEMU and drivers look at it.

use crate::{function, interrupts};

/// Bytes of a PCI Express function's configuration space.
pub(crate) const SIZE: usize = 4096;

const VENDOR: u16 = 0x8086;
/// 82599 with an SFP+ cage.
const DEVICE: u16 = 0x10FB;
/// A virtual function of one.
const FUNCTION: u16 = 0x10ED;
/// "Ethernet Server Adapter X520-2".
const SUBSYSTEM: u16 = 0x0003;

const COMMAND: usize = 0x04;
const COMMAND_BUS_MASTER: u8 = 1 << 2;
const POWER: usize = 0x40;
const MSI: usize = 0x50;
/// Not to be moved: Linux' ixgbe reads the size of the table here, wherever the capability is.
const MSIX: usize = 0x70;
const EXPRESS: usize = 0xA0;
const DEVICE_CONTROL: usize = EXPRESS + 0x08;
/// Initiate Function Level Reset (PCIe Base 4.0, 7.5.3.4).
const INITIATE_FLR: u16 = 1 << 15;

/// BAR of the MSI-X table, and where the pending bits are in it (9.3).
pub(crate) const MSIX_BAR: u32 = 4;
pub(crate) const MSIX_SIZE: u64 = 0x4000;
const PENDING: u32 = 0x2000;

/// The configuration space. BARs are left to the client, which emulates them (QEMU
/// `hw/vfio/pci.c`).
pub(crate) struct Config {
    bytes: Vec<u8>,
    /// Bits that may be written.
    mask: Vec<u8>,
    is_function: bool,
}

/// What the device has to do after a write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Effect {
    pub(crate) reset: bool,
    pub(crate) bus_master: bool,
}

impl Config {
    /// Of a whole device, or of a virtual function as the host shows it to a machine.
    pub(crate) fn new(is_function: bool) -> Self {
        let mut config = Self { bytes: vec![0; SIZE], mask: vec![0; SIZE], is_function };
        config.put(0x00, &VENDOR.to_le_bytes());
        let device = if is_function { FUNCTION } else { DEVICE };
        config.put(0x02, &device.to_le_bytes());
        // There is a list of capabilities.
        config.put(0x06, &0x0010u16.to_le_bytes());
        // Revision 1; class: Ethernet controller.
        config.put(0x08, &[0x01, 0x00, 0x00, 0x02]);
        // BAR 0 and 4: memory, 64 bits, not prefetchable so that any bridge has a window for it
        // (9.3). The I/O BAR and the ROM that an EEPROM can switch off are off.
        config.put(0x10, &[0x04]);
        config.put(0x20, &[0x04]);
        config.put(0x2C, &VENDOR.to_le_bytes());
        config.put(0x2E, &SUBSYSTEM.to_le_bytes());
        config.put(0x34, &[POWER as u8]);
        // INTA#, which a virtual function does not have.
        config.put(0x3D, &[u8::from(!is_function)]);
        config.allow(COMMAND, &0x0547u16.to_le_bytes());
        config.allow(0x3C, &[0xFF]);

        let next = if is_function { MSIX } else { MSI };
        config.put(POWER, &[0x01, next as u8, 0x03, 0x00]);
        config.allow(POWER + 4, &[0x03]);

        // MSI: one message, a 64-bit address, a mask bit.
        config.put(MSI, &[0x05, MSIX as u8, 0x80, 0x01]);
        config.allow(MSI + 2, &[0x01, 0x00]);
        config.allow(MSI + 4, &[0xFC, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]);
        config.allow(MSI + 0x10, &[0x01]);

        let vectors = if is_function { function::VECTORS } else { interrupts::VECTORS } as u16;
        config.put(MSIX, &[0x11, EXPRESS as u8]);
        config.put(MSIX + 2, &(vectors - 1).to_le_bytes());
        config.put(MSIX + 4, &MSIX_BAR.to_le_bytes());
        config.put(MSIX + 8, &(PENDING | MSIX_BAR).to_le_bytes());
        config.allow(MSIX + 2, &0xC000u16.to_le_bytes());

        // Version 2 endpoint; payload up to 512 bytes, function-level reset.
        config.put(EXPRESS, &[0x10, 0x00, 0x02, 0x00]);
        config.put(EXPRESS + 0x04, &0x1000_8CC2u32.to_le_bytes());
        // 5 GT/s and eight lanes, in the link's capabilities and in its status.
        config.put(EXPRESS + 0x0C, &0x0000_0482u32.to_le_bytes());
        config.put(EXPRESS + 0x12, &0x1082u16.to_le_bytes());
        // Completion timeouts: ranges A to D, and off.
        config.put(EXPRESS + 0x24, &0x0000_001Fu32.to_le_bytes());
        config.allow(DEVICE_CONTROL, &0xFFFFu16.to_le_bytes());
        config.allow(EXPRESS + 0x10, &0x00C3u16.to_le_bytes());
        config.allow(EXPRESS + 0x28, &0x001Fu16.to_le_bytes());
        config.put(EXPRESS + 0x30, &[0x02]);

        // Serial number, the only extended capability: AER, ARI and SR-IOV are not modelled.
        config.put(0x100, &[0x03, 0x00, 0x01, 0x00]);
        config.put(0x104, &[0x01, 0x00, 0x00, 0xFF, 0xFF, 0x67, 0x6F, 0x02]);
        config
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn allow(&mut self, at: usize, bits: &[u8]) {
        self.mask[at..at + bits.len()].copy_from_slice(bits);
    }

    /// Reads. Beyond the end there are zeros.
    pub(crate) fn read(&self, offset: u64, into: &mut [u8]) {
        for (index, byte) in into.iter_mut().enumerate() {
            let at = usize::try_from(offset).unwrap_or(SIZE).saturating_add(index);
            *byte = self.bytes.get(at).copied().unwrap_or(0);
        }
    }

    /// Writes those bits that may be written.
    pub(crate) fn write(&mut self, offset: u64, from: &[u8]) -> Effect {
        for (index, byte) in from.iter().enumerate() {
            let at = usize::try_from(offset).unwrap_or(SIZE).saturating_add(index);
            if at < SIZE {
                let mask = self.mask[at];
                self.bytes[at] = self.bytes[at] & !mask | byte & mask;
            }
        }
        let control =
            u16::from_le_bytes([self.bytes[DEVICE_CONTROL], self.bytes[DEVICE_CONTROL + 1]]);
        let reset = control & INITIATE_FLR != 0;
        if reset {
            // It turns off interrupts, bus mastering and the rest.
            *self = Self::new(self.is_function);
        }
        Effect { reset, bus_master: self.bytes[COMMAND] & COMMAND_BUS_MASTER != 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_linked() {
        let config = Config::new(false);
        let mut seen = Vec::new();
        let mut at = config.bytes[0x34] as usize;
        while at != 0 && seen.len() < 16 {
            seen.push(config.bytes[at]);
            at = config.bytes[at + 1] as usize;
        }
        // Power management, MSI, MSI-X, PCI Express.
        assert_eq!(seen, [0x01, 0x05, 0x11, 0x10]);
        let mut size = [0; 2];
        config.read(0x72, &mut size);
        assert_eq!(u16::from_le_bytes(size), 63);
    }

    #[test]
    fn only_what_may_be_written_changes() {
        let mut config = Config::new(false);
        assert!(config.write(COMMAND as u64, &[0x06, 0x00]).bus_master);
        config.write(0, &[0; 4]);
        let mut ids = [0; 4];
        config.read(0, &mut ids);
        assert_eq!(ids, [0x86, 0x80, 0xFB, 0x10]);
        config.read(u64::MAX, &mut ids);
        assert_eq!(ids, [0; 4]);
    }

    #[test]
    fn a_function_level_reset_stops_dma() {
        let mut config = Config::new(false);
        config.write(COMMAND as u64, &[0x06]);
        let effect = config.write(DEVICE_CONTROL as u64, &INITIATE_FLR.to_le_bytes());
        assert_eq!(effect, Effect { reset: true, bus_master: false });
        assert!(!config.write(0x3C, &[5]).reset, "it is over");
    }

    #[test]
    fn a_virtual_function_has_messages_alone() {
        let config = Config::new(true);
        let power = config.bytes[0x34] as usize;
        assert_eq!(config.bytes[power + 1] as usize, MSIX, "no MSI in between");
        assert_eq!((config.bytes[MSIX + 2], config.bytes[0x3D]), (2, 0), "three, and no pin");
    }
}

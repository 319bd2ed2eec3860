//! What the driver does to registers.

use super::registers::*;
use crate::Error;
use crate::intel::wait_for;
use unikernel::mmio::Mmio;
use unikernel::nic::Link;
use unikernel::pci::{Error as PciError, PciAddress};

/// Master requests end within 100 ms after CTRL.GIO_MASTER_DISABLE was set, or something is wrong.
const QUIESCE_US: u64 = 100_000;
/// A reset and the reading of the NVM that follows take a few milliseconds.
const RESET_US: u64 = 50_000;
/// The semaphore and a word of NVM.
const NVM_US: u64 = 10_000;

/// Time between interrupts in units of 256 ns: 51 µs, or 20,000 a second. QEMU's model takes no less
/// than 128 µs.
const THROTTLE: u32 = 200;

/// Descriptors fetched ahead, and how many must be there to make it worthwhile.
const PREFETCH: u32 = 31 << dctl::PREFETCH_SHIFT | 4 << dctl::HOST_SHIFT;

/// What [`Hardware::take_causes`] found.
pub(super) struct Causes {
    pub(super) link_changed: bool,
}

pub(super) struct Hardware {
    registers: Mmio,
    uses_msi_x: bool,
}

impl Hardware {
    /// The device behind BAR 0.
    pub(super) fn new(registers: Mmio, address: PciAddress) -> Result<Self, Error> {
        if registers.len() < SIZE {
            return Err(PciError::NoBar(address, 0).into());
        }
        Ok(Self { registers, uses_msi_x: false })
    }

    /// The device does not answer: a register that is never all ones reads so.
    pub(super) fn is_gone(&self) -> bool {
        self.registers.read32(status::OFFSET) == u32::MAX
    }

    /// Software reset (CTRL.RST), from any state. DMA ends first, as the datasheet asks.
    pub(super) fn reset(&self) -> Result<(), ()> {
        if self.is_gone() {
            return Err(());
        }
        self.end_dma();
        // Firmware must not be in the middle of talking to the PHY. It gives way in time,
        // or is not there.
        let owner = extcnf_ctrl::MDIO_SW_OWNERSHIP;
        wait_for(NVM_US, || {
            self.set(extcnf_ctrl::OFFSET, owner);
            self.registers.read32(extcnf_ctrl::OFFSET) & owner != 0
        });
        self.set(ctrl::OFFSET, ctrl::RST);
        // Nothing may be read for a microsecond after RST.
        wait_for(1, || false);
        let is_done = || {
            let ctrl = self.registers.read32(ctrl::OFFSET);
            let eecd = self.registers.read32(eecd::OFFSET);
            ctrl & ctrl::RST == 0 && eecd & eecd::AUTO_RD != 0
        };
        if !wait_for(RESET_US, is_done) || self.is_gone() {
            return Err(());
        }
        self.clear(extcnf_ctrl::OFFSET, owner);
        self.mask_interrupts();
        self.registers.read32(interrupt::ICR);
        Ok(())
    }

    /// Ends all DMA and leaves the device in reset state. `false` if it did not end in time.
    pub(super) fn quiesce(&self) -> bool {
        let ended = self.end_dma();
        ended & self.reset().is_ok()
    }

    fn end_dma(&self) -> bool {
        self.mask_interrupts();
        self.clear(receive::RCTL, receive::RCTL_EN);
        self.clear(transmit::TCTL, transmit::TCTL_EN);
        self.set(ctrl::OFFSET, ctrl::GIO_MASTER_DISABLE);
        wait_for(QUIESCE_US, || {
            self.registers.read32(status::OFFSET) & status::GIO_MASTER_ENABLE == 0
        })
    }

    /// The station address: what the device loaded, else what its NVM says in words 0 to 2.
    pub(super) fn mac(&self) -> Result<[u8; 6], [u8; 6]> {
        let low = self.registers.read32(receive::RAL0).to_le_bytes();
        let high = self.registers.read32(receive::RAH0);
        let loaded = [low[0], low[1], low[2], low[3], high as u8, (high >> 8) as u8];
        if high & receive::RAH_AV != 0 && is_station_address(loaded) {
            return Ok(loaded);
        }
        let mut mac = [0; 6];
        for (word, bytes) in mac.as_chunks_mut::<2>().0.iter_mut().enumerate() {
            *bytes = self.nvm(word as u32).ok_or(loaded)?.to_le_bytes();
        }
        if !is_station_address(mac) {
            return Err(mac);
        }
        let [a, b, c, d, e, f] = mac;
        self.registers.write32(receive::RAL0, u32::from_le_bytes([a, b, c, d]));
        let high = u32::from(u16::from_le_bytes([e, f])) | receive::RAH_AV;
        self.registers.write32(receive::RAH0, high);
        Ok(mac)
    }

    fn nvm(&self, word: u32) -> Option<u16> {
        self.registers.write32(eerd::OFFSET, word << eerd::ADDRESS_SHIFT | eerd::START);
        let mut value = 0;
        let done = wait_for(NVM_US, || {
            value = self.registers.read32(eerd::OFFSET);
            value & eerd::DONE != 0
        });
        done.then_some((value >> eerd::DATA_SHIFT) as u16)
    }

    /// Lets the MAC follow the PHY, which negotiates by itself.
    pub(super) fn enable_link(&self) {
        let forced = ctrl::FORCE_SPEED | ctrl::FORCE_DUPLEX;
        let off = forced | ctrl::PHY_RST | ctrl::VME | ctrl::RESERVED_29 | ctrl::GIO_MASTER_DISABLE;
        self.clear(ctrl::OFFSET, off);
        self.set(ctrl::OFFSET, ctrl::SLU | ctrl::FD);
    }

    pub(super) fn link(&self) -> Link {
        let status = self.registers.read32(status::OFFSET);
        if status == u32::MAX || status & status::LU == 0 {
            return Link::default();
        }
        let speed = match status >> status::SPEED_SHIFT & status::SPEED_MASK {
            0 => 10,
            1 => 100,
            _ => 1000,
        };
        Link { up: true, speed, full_duplex: status & status::FD != 0 }
    }

    /// Receive initialisation (datasheet chapter 4): unicast to the station address and broadcasts.
    pub(super) fn enable_receive(&self, ring: u64, bytes: usize, tail: usize) {
        let r = &self.registers;
        for word in 0..receive::MTA_WORDS {
            r.write32(receive::MTA + 4 * word, 0);
        }
        r.write32(receive::RDTR, 0);
        r.write32(receive::RADV, 0);
        // Each completion is written back at once.
        let write_back = 1 << dctl::WRITE_BACK_SHIFT;
        r.write32(receive::RXDCTL, dctl::GRANULARITY_DESCRIPTORS | write_back | PREFETCH);
        r.write32(receive::RXCSUM, receive::RXCSUM_IPOFL | receive::RXCSUM_TUOFL);
        let filters = receive::RFCTL_NO_FILTERS | receive::RFCTL_ACK_DIS;
        r.write32(receive::RFCTL, filters | receive::RFCTL_EXTEN);
        r.write32(receive::RDBAL, ring as u32);
        r.write32(receive::RDBAH, (ring >> 32) as u32);
        r.write32(receive::RDLEN, bytes as u32);
        r.write32(receive::RDH, 0);
        r.write32(receive::RDT, 0);
        let accept = receive::RCTL_BAM | receive::RCTL_SECRC;
        r.write32(receive::RCTL, receive::RCTL_EN | accept);
        // The tail comes after the enable.
        r.write32(receive::RDT, tail as u32);
    }

    /// Transmit initialisation (datasheet chapter 4).
    pub(super) fn enable_transmit(&self, ring: u64, bytes: usize) {
        let r = &self.registers;
        r.write32(transmit::TDBAL, ring as u32);
        r.write32(transmit::TDBAH, (ring >> 32) as u32);
        r.write32(transmit::TDLEN, bytes as u32);
        r.write32(transmit::TDH, 0);
        r.write32(transmit::TDT, 0);
        r.write32(transmit::TIDV, 0);
        r.write32(transmit::TADV, 0);
        // A write-back threshold of 0: descriptors that ask for a report get it at once.
        let control = dctl::GRANULARITY_DESCRIPTORS | transmit::TXDCTL_RESERVED_22 | PREFETCH;
        r.write32(transmit::TXDCTL, control);
        r.write32(transmit::TIPG, transmit::TIPG_COPPER);
        let kept = r.read32(transmit::TCTL) & !transmit::TCTL_COLLISION_MASK;
        let enable = transmit::TCTL_EN | transmit::TCTL_PSP | transmit::TCTL_COLLISION;
        r.write32(transmit::TCTL, kept | enable);
    }

    /// Throttling, and with MSI-X which entry a cause uses: all of them the first. Causes are masked
    /// and acknowledged by the driver, the same way for MSI-X, MSI and the pin: automatic masking
    /// differs between them, and between the device and QEMU's model.
    pub(super) fn route_interrupts(&mut self, uses_msi_x: bool) {
        self.uses_msi_x = uses_msi_x;
        self.clear(ctrl_ext::OFFSET, ctrl_ext::IAME | ctrl_ext::EIAME);
        if uses_msi_x {
            self.registers.write32(interrupt::EIAC, 0);
            self.registers.write32(interrupt::IVAR, interrupt::IVAR_ALL_IN_0);
            self.registers.write32(interrupt::EITR0, THROTTLE);
        } else {
            self.registers.write32(interrupt::ITR, THROTTLE);
        }
    }

    pub(super) fn mask_interrupts(&self) {
        self.registers.write32(interrupt::IMC, u32::MAX);
    }

    pub(super) fn unmask_interrupts(&self, with_transmit: bool) {
        use interrupt::*;
        let (base, transmit) =
            if self.uses_msi_x { (RXQ0 | OTHER | LSC, TXQ0) } else { (RXT0 | RXO | LSC, TXDW) };
        self.registers.write32(IMS, if with_transmit { base | transmit } else { base });
    }

    /// Reads and acknowledges what was raised; all must be masked. Reading clears, with MSI-X only
    /// writing does.
    pub(super) fn take_causes(&self) -> Causes {
        let causes = self.registers.read32(interrupt::ICR);
        if self.uses_msi_x {
            self.registers.write32(interrupt::ICR, causes);
        }
        Causes { link_changed: causes & interrupt::LSC != 0 }
    }

    pub(super) fn set_receive_tail(&self, tail: usize) {
        self.registers.write32(receive::RDT, tail as u32);
    }

    pub(super) fn set_transmit_tail(&self, tail: usize) {
        self.registers.write32(transmit::TDT, tail as u32);
    }

    /// Frames missed, and frames damaged on the way, since the last call.
    pub(super) fn take_errors(&self) -> (u64, u64) {
        let read = |register| u64::from(self.registers.read32(register));
        let damaged = (statistics::CRCERRS..=statistics::RXERRC).step_by(4).map(read).sum::<u64>();
        (read(statistics::MPC), damaged + read(statistics::RLEC))
    }

    fn set(&self, register: usize, bits: u32) {
        self.registers.write32(register, self.registers.read32(register) | bits);
    }

    fn clear(&self, register: usize, bits: u32) {
        self.registers.write32(register, self.registers.read32(register) & !bits);
    }
}

/// Neither all zeroes nor a group address.
fn is_station_address(mac: [u8; 6]) -> bool {
    mac != [0; 6] && mac[0] & 1 == 0
}

//! The gigabit controllers with the registers of the 8254x: e1000 and e1000e.
//!
//! One receive and one transmit queue. "The manual" is Intel's PCI/PCI-X Family of Gigabit Ethernet
//! Controllers Software Developer's Manual (317453); what a family does differently is a [`Mac`].

mod offloading;
pub(crate) mod registers;

use super::{Descriptors, Hardware, ReceiveFormat, Table, Trouble};
use crate::common::{is_station_address, wait_for};
use core::marker::PhantomData;
use offloading::Offloading;
use registers::statistics::ERRORS;
use registers::*;
use unikernel::mmio::Mmio;
use unikernel::nic::{Link, Mtu, Settings};
use unikernel::pci::{Signalling, Vector};

/// Reading a word of NVM.
const NVM_US: u64 = 10_000;

/// Time between interrupts in units of 256 ns: 51 µs, or 20,000 a second. QEMU's model takes no
/// less than 128 µs.
pub(crate) const THROTTLE: u32 = 200;

/// Descriptors fetched ahead, and how many must be there to make it worthwhile.
const PREFETCH: u32 = 31 << dctl::PREFETCH_SHIFT | 4 << dctl::HOST_SHIFT;

/// What a family does differently.
pub(crate) trait Mac: 'static {
    /// Its receive descriptors.
    type Receive: ReceiveFormat;

    /// Its name, for people.
    const FAMILY: &'static str;
    /// In EERD: the word has been read.
    const NVM_DONE: u32;
    /// Where EERD has the word's number.
    const NVM_ADDRESS_SHIFT: u32;
    /// What TXDCTL needs beside thresholds.
    const TXDCTL: u32;

    /// Ends all DMA, with both directions disabled already. `false` if it does not end in time.
    async fn end_mastering(registers: &Mmio) -> bool;

    /// Resets the device. `false` if it stays in reset.
    async fn reset(registers: &Mmio) -> bool;

    /// Has the device write back the receive descriptors of the family.
    fn prepare_receive(registers: &Mmio);

    /// Sets up throttling, and has the device raise its interrupt in this way.
    fn route_interrupts(registers: &Mmio, signalling: Signalling) -> Causes;
}

/// Bits of ICR, IMS and IMC.
#[derive(Clone, Copy, Default)]
pub(crate) struct Causes {
    /// Frames came, or the link changed.
    pub(crate) receive: u32,
    /// Frames left.
    pub(crate) transmit: u32,
    /// Reading ICR clears what it reads, else writing does.
    pub(crate) cleared_by_reading: bool,
}

impl Causes {
    /// Those of an 8254x (13.4.17), throttled (13.4.18).
    pub(crate) fn of_8254x(device: &Mmio) -> Self {
        use registers::interrupt::*;
        device.write32(ITR, THROTTLE);
        Self { receive: RXT0 | RXO | LSC, transmit: TXDW, cleared_by_reading: true }
    }
}

/// The registers of one device.
pub(crate) struct Gigabit<M> {
    registers: Mmio,
    causes: Causes,
    /// Counts that are there although they were read.
    kept: [u32; ERRORS.len()],
    mac: PhantomData<M>,
}

impl<M: Mac> Hardware for Gigabit<M> {
    const FAMILY: &'static str = M::FAMILY;
    const SIZE: usize = SIZE;
    type Receive = M::Receive;
    type Transmit = Offloading;

    fn new(registers: Mmio) -> Self {
        let (causes, kept) = (Causes::default(), [0; ERRORS.len()]);
        Self { registers, causes, kept, mac: PhantomData }
    }

    fn is_gone(&self) -> bool {
        is_gone(&self.registers)
    }

    /// Software reset (CTRL.RST), from any state. DMA ends first, as the datasheet asks.
    async fn reset(&mut self) -> Result<(), Trouble> {
        if self.is_gone() {
            return Err(Trouble::Stuck);
        }
        self.end_dma().await;
        if self.restart().await { Ok(()) } else { Err(Trouble::Stuck) }
    }

    async fn end_dma(&mut self) -> bool {
        self.mask_interrupts();
        self.registers.clear32(receive::RCTL, receive::RCTL_EN);
        self.registers.clear32(transmit::TCTL, transmit::TCTL_EN);
        M::end_mastering(&self.registers).await
    }

    async fn quiesce(&mut self) -> bool {
        let ended = self.end_dma().await;
        ended & self.restart().await
    }

    async fn mac(&mut self) -> Result<[u8; 6], [u8; 6]> {
        let loaded = match station_address(&self.registers) {
            Ok(loaded) => return Ok(loaded),
            Err(loaded) => loaded,
        };
        let mut mac = [0; 6];
        for (word, bytes) in mac.as_chunks_mut::<2>().0.iter_mut().enumerate() {
            *bytes = self.nvm(word as u32).await.ok_or(loaded)?.to_le_bytes();
        }
        if !is_station_address(mac) {
            return Err(mac);
        }
        set_station_address(&self.registers, mac);
        Ok(mac)
    }

    async fn set_mac(&mut self, mac: [u8; 6]) -> Result<(), Trouble> {
        set_station_address(&self.registers, mac);
        Ok(())
    }

    async fn enable_link(&mut self) {
        let forced = ctrl::FORCE_SPEED | ctrl::FORCE_DUPLEX;
        let off = forced | ctrl::PHY_RST | ctrl::VME | ctrl::RESERVED_29;
        self.registers.clear32(ctrl::OFFSET, off);
        self.registers.set32(ctrl::OFFSET, ctrl::SLU | ctrl::FD);
        obey_pause(&self.registers);
    }

    fn link(&self) -> Link {
        link(&self.registers)
    }

    /// Receive initialisation (manual, 14.4; 82574 datasheet, chapter 4).
    async fn configure(&mut self, settings: &Settings, buffer: usize) -> Result<(), Trouble> {
        let r = &self.registers;
        let mut control = receive::RCTL_BAM | receive::RCTL_SECRC | receive::buffer_size(buffer);
        if settings.mtu > Mtu::ETHERNET {
            control |= receive::RCTL_LPE;
        }
        if settings.promiscuous {
            control |= receive::RCTL_UPE | receive::RCTL_MPE;
        }
        if let Some(vlan) = settings.vlan {
            r.write32(vlan::VET, vlan::TYPE);
            Table::of_vlan(vlan).write(r, vlan::VFTA);
            r.set32(ctrl::OFFSET, ctrl::VME);
            control |= receive::RCTL_VFE;
        }
        r.write32(receive::RCTL, control);
        r.write32(receive::RXCSUM, receive::RXCSUM_IPOFL | receive::RXCSUM_TUOFL);
        M::prepare_receive(r);
        Ok(())
    }

    fn set_multicast(&mut self, table: &Table, before: Option<&Table>) {
        table.write_over(before, &self.registers, receive::MTA);
    }

    async fn enable_receive(&mut self, queues: &[Descriptors]) {
        let (r, ring) = (&self.registers, &queues[0]);
        r.write32(receive::RDTR, 0);
        r.write32(receive::RADV, 0);
        // Each completion is written back at once.
        let write_back = 1 << dctl::WRITE_BACK_SHIFT;
        r.write32(receive::RXDCTL, dctl::GRANULARITY_DESCRIPTORS | write_back | PREFETCH);
        r.write32(receive::RDBAL, ring.address as u32);
        r.write32(receive::RDBAH, (ring.address >> 32) as u32);
        r.write32(receive::RDLEN, ring.bytes as u32);
        r.write32(receive::RDH, 0);
        r.write32(receive::RDT, 0);
        r.set32(receive::RCTL, receive::RCTL_EN);
        // The tail comes after the enable.
        r.write32(receive::RDT, ring.tail as u32);
    }

    /// Transmit initialisation (manual, 14.5; 82574 datasheet, chapter 4).
    async fn enable_transmit(&mut self, ring: Descriptors) {
        let r = &self.registers;
        r.write32(transmit::TDBAL, ring.address as u32);
        r.write32(transmit::TDBAH, (ring.address >> 32) as u32);
        r.write32(transmit::TDLEN, ring.bytes as u32);
        r.write32(transmit::TDH, 0);
        r.write32(transmit::TDT, ring.tail as u32);
        r.write32(transmit::TIDV, 0);
        r.write32(transmit::TADV, 0);
        // A write-back threshold of 0: descriptors that ask for a report get it at once.
        let control = dctl::GRANULARITY_DESCRIPTORS | M::TXDCTL | PREFETCH;
        r.write32(transmit::TXDCTL, control);
        r.write32(transmit::TIPG, transmit::TIPG_COPPER);
        let kept = r.read32(transmit::TCTL) & !transmit::TCTL_COLLISION_MASK;
        let enable = transmit::TCTL_EN | transmit::TCTL_PSP | transmit::TCTL_COLLISION;
        r.write32(transmit::TCTL, kept | enable);
    }

    fn route_interrupts(&mut self, vector: &Vector) {
        self.causes = M::route_interrupts(&self.registers, vector.signalling);
    }

    fn mask_interrupts(&self) {
        self.registers.write32(interrupt::IMC, u32::MAX);
    }

    fn unmask_interrupts(&self, with_transmit: bool) {
        let transmit = if with_transmit { self.causes.transmit } else { 0 };
        self.registers.write32(interrupt::IMS, self.causes.receive | transmit);
    }

    /// Reading ICR clears it, unless MSI-X is on: then only writing does.
    fn take_causes(&mut self) -> bool {
        let causes = self.registers.read32(interrupt::ICR);
        if !self.causes.cleared_by_reading {
            self.registers.write32(interrupt::ICR, causes);
        }
        causes & interrupt::LSC != 0
    }

    fn set_receive_tail(&self, _: usize, tail: usize) {
        self.registers.write32(receive::RDT, tail as u32);
    }

    fn set_transmit_tail(&self, tail: usize) {
        self.registers.write32(transmit::TDT, tail as u32);
    }

    /// Frames missed, and frames damaged on the way, since the last call.
    ///
    /// Reading a count clears it (13.7). QEMU's e1000 keeps it, which a second reading tells.
    fn take_errors(&mut self) -> (u64, u64) {
        let mut new = [0; ERRORS.len()];
        for ((register, kept), new) in ERRORS.into_iter().zip(&mut self.kept).zip(&mut new) {
            let count = self.registers.read32(register);
            let again = if count == 0 { 0 } else { self.registers.read32(register) };
            *new =
                u64::from(if again < count { count + again } else { again.saturating_sub(*kept) });
            *kept = if again < count { 0 } else { again };
        }
        (new[0], new[1..].iter().sum())
    }
}

impl<M: Mac> Gigabit<M> {
    /// Resets the device once its DMA has ended.
    async fn restart(&self) -> bool {
        let has_reset = M::reset(&self.registers).await && !self.is_gone();
        self.mask_interrupts();
        self.registers.read32(interrupt::ICR);
        has_reset
    }

    async fn nvm(&self, word: u32) -> Option<u16> {
        self.registers.write32(eerd::OFFSET, word << M::NVM_ADDRESS_SHIFT | eerd::START);
        let mut value = 0;
        let done = wait_for(NVM_US, || {
            value = self.registers.read32(eerd::OFFSET);
            value & M::NVM_DONE != 0
        })
        .await;
        done.then_some((value >> eerd::DATA_SHIFT) as u16)
    }
}

/// Flow control: the device waits when its neighbour asks it to (PAUSE frames, IEEE 802.3, 31B), as
/// its PHY offers. It does not ask itself: a receiver that is late is no reason to hold up
/// everybody's traffic.
pub(crate) fn obey_pause(registers: &Mmio) {
    registers.write32(flow_control::FCAL, flow_control::STATION_LOW);
    registers.write32(flow_control::FCAH, flow_control::STATION_HIGH);
    registers.write32(flow_control::FCT, flow_control::TYPE);
    registers.clear32(ctrl::OFFSET, ctrl::TFCE);
    registers.set32(ctrl::OFFSET, ctrl::RFCE);
}

/// The device does not answer: STATUS is never all ones.
pub(crate) fn is_gone(registers: &Mmio) -> bool {
    registers.read32(status::OFFSET) == u32::MAX
}

/// The link as STATUS has it.
pub(crate) fn link(registers: &Mmio) -> Link {
    let status = registers.read32(status::OFFSET);
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

/// Has the device receive frames to this address. All families have the registers, in the same
/// place.
pub(crate) fn set_station_address(registers: &Mmio, [a, b, c, d, e, f]: [u8; 6]) {
    registers.write32(receive::RAL0, u32::from_le_bytes([a, b, c, d]));
    let high = u32::from(u16::from_le_bytes([e, f])) | receive::RAH_AV;
    registers.write32(receive::RAH0, high);
}

/// The station address that the device loaded by itself. The error is what is there instead.
pub(crate) fn station_address(registers: &Mmio) -> Result<[u8; 6], [u8; 6]> {
    let low = registers.read32(receive::RAL0).to_le_bytes();
    let high = registers.read32(receive::RAH0);
    let loaded = [low[0], low[1], low[2], low[3], high as u8, (high >> 8) as u8];
    let is_valid = high & receive::RAH_AV != 0 && is_station_address(loaded);
    if is_valid { Ok(loaded) } else { Err(loaded) }
}

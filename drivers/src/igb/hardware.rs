//! What the driver does to registers.

use super::controller::{Controller, Receive};
use super::phy;
use super::registers::*;
use crate::common::{pause, wait_for};
use crate::intel::gigabit::{self, registers as shared};
use crate::intel::{AdvancedTransmit, Descriptors, Hardware, Table, Trouble, rss};
use core::marker::PhantomData;
use unikernel::mmio::Mmio;
use unikernel::nic::{Link, Mtu, Queues, Settings};
use unikernel::pci::{Signalling, Vector};

/// Master requests end within 100 ms after CTRL.GIO_MASTER_DISABLE was set, or something is wrong.
const QUIESCE_US: u64 = 100_000;
/// A device that was reset is not to be looked at for a millisecond (4.2.1.6.1).
const SETTLE_US: u64 = 1_000;
/// A reset.
const RESET_US: u64 = 50_000;
/// The reading of the NVM that follows it.
const NVM_US: u64 = 10_000;
/// A queue is enabled, or has let go of its descriptors.
const QUEUE_US: u64 = 10_000;

/// Time between interrupts in microseconds: 20,000 a second.
const THROTTLE_US: u32 = 51;

/// Descriptors fetched ahead, and how many must be there to make it worthwhile. Each is written
/// back by itself.
const THRESHOLDS: u32 =
    8 << dctl::PREFETCH_SHIFT | 4 << dctl::HOST_SHIFT | 1 << dctl::WRITE_BACK_SHIFT;

/// What a frame on the wire may have more than the stack's: a VLAN tag and its check sequence.
const TAG_AND_FCS: usize = 4 + 4;

/// The registers of one device.
pub(crate) struct Igb<C> {
    registers: Mmio,
    /// Receive queues, and the size of their buffers.
    queues: usize,
    buffer: usize,
    /// `None` while ICR has all the causes.
    messages: Option<Messages>,
    controller: PhantomData<C>,
}

/// Bits of EICR, which are entries of the MSI-X table.
#[derive(Clone, Copy)]
struct Messages {
    /// Received frames and the link.
    receive: u32,
    transmit: u32,
}

impl<C: Controller> Hardware for Igb<C> {
    const FAMILY: &'static str = "igb";
    const QUEUES: usize = Queues::MAX;
    const SIZE: usize = SIZE;
    type Receive = Receive;
    type Transmit = AdvancedTransmit;

    fn new(registers: Mmio) -> Self {
        Self { registers, queues: 1, buffer: 0, messages: None, controller: PhantomData }
    }

    fn is_gone(&self) -> bool {
        gigabit::is_gone(&self.registers)
    }

    /// Software reset of the port (CTRL.RST), from any state. DMA ends first, as the datasheet
    /// asks.
    async fn reset(&mut self) -> Result<(), Trouble> {
        if self.is_gone() {
            return Err(Trouble::Stuck);
        }
        self.end_dma().await;
        let r = &self.registers;
        r.set32(shared::ctrl::OFFSET, shared::ctrl::RST);
        pause(SETTLE_US).await;
        let is_done =
            wait_for(RESET_US, || r.read32(shared::ctrl::OFFSET) & shared::ctrl::RST == 0).await;
        if !is_done || self.is_gone() {
            return Err(Trouble::Stuck);
        }
        // A device without NVM never has read it, nor has QEMU's model.
        wait_for(NVM_US, || r.read32(eec::OFFSET) & eec::AUTO_RD != 0).await;
        r.clear32(shared::ctrl::OFFSET, CTRL_GIO_MASTER_DISABLE);
        self.messages = None;
        self.mask_interrupts();
        self.take_causes();
        Ok(())
    }

    async fn end_dma(&mut self) -> bool {
        let r = &self.registers;
        r.write32(shared::interrupt::IMC, u32::MAX);
        r.write32(interrupt::EIMC, u32::MAX);
        r.clear32(shared::receive::RCTL, shared::receive::RCTL_EN);
        r.clear32(shared::transmit::TCTL, shared::transmit::TCTL_EN);
        r.set32(shared::ctrl::OFFSET, CTRL_GIO_MASTER_DISABLE);
        wait_for(QUIESCE_US, || r.read32(shared::status::OFFSET) & STATUS_GIO_MASTER_ENABLE == 0)
            .await
    }

    async fn quiesce(&mut self) -> bool {
        let ended = self.end_dma().await;
        ended & self.reset().await.is_ok()
    }

    /// What the device loaded from NVM. The words of a port's own address are not where those of
    /// other ports are, so the registers are all there is to ask.
    async fn mac(&mut self) -> Result<[u8; 6], [u8; 6]> {
        gigabit::station_address(&self.registers)
    }

    async fn set_mac(&mut self, mac: [u8; 6]) -> Result<(), Trouble> {
        gigabit::set_station_address(&self.registers, mac);
        Ok(())
    }

    /// One for each receive queue, one for the transmit queue, one for all else.
    fn entries(queues: usize) -> u16 {
        queues as u16 + 2
    }

    async fn enable_link(&mut self) {
        let r = &self.registers;
        let forced = shared::ctrl::FORCE_SPEED | shared::ctrl::FORCE_DUPLEX;
        r.clear32(shared::ctrl::OFFSET, forced | shared::ctrl::PHY_RST | shared::ctrl::VME);
        r.set32(shared::ctrl::OFFSET, shared::ctrl::SLU | shared::ctrl::FD);
        gigabit::obey_pause(r);
        r.set32(ctrl_ext::OFFSET, ctrl_ext::DRV_LOAD);
        // A reset of the MAC leaves the PHY as it is; QEMU's takes the link down until it
        // negotiates.
        let is_copper = r.read32(ctrl_ext::OFFSET) & ctrl_ext::LINK_MODE == 0;
        if is_copper && !phy::negotiate(r).await {
            log::warn!("igb: the PHY does not answer; its link is what it makes of it");
        }
    }

    fn link(&self) -> Link {
        gigabit::link(&self.registers)
    }

    /// Receive initialisation (4.5.9), what all queues share.
    async fn configure(&mut self, settings: &Settings, buffer: usize) -> Result<(), Trouble> {
        let r = &self.registers;
        let mut control = shared::receive::RCTL_BAM | shared::receive::RCTL_SECRC;
        if settings.mtu > Mtu::ETHERNET {
            control |= shared::receive::RCTL_LPE;
        }
        r.write32(filter::RLPML, (settings.max_frame() + TAG_AND_FCS) as u32);
        if settings.promiscuous {
            control |= shared::receive::RCTL_UPE | shared::receive::RCTL_MPE;
        }
        if let Some(vlan) = settings.vlan {
            C::enable_vlan(r, &Table::of_vlan(vlan));
            r.set32(shared::ctrl::OFFSET, shared::ctrl::VME);
            control |= shared::receive::RCTL_VFE;
        }
        r.write32(shared::receive::RCTL, control);
        self.buffer = buffer;
        Ok(())
    }

    fn set_multicast(&mut self, table: &Table, before: Option<&Table>) {
        table.write_over(before, &self.registers, shared::receive::MTA);
    }

    async fn enable_receive(&mut self, queues: &[Descriptors]) {
        let r = &self.registers;
        self.queues = queues.len();
        let several = queues.len() > 1;
        let mut checksums = shared::receive::RXCSUM_IPOFL | shared::receive::RXCSUM_TUOFL;
        if several {
            use filter::*;
            rss::spread(r, queues.len(), RSSRK, RETA);
            r.write32(MRQC, MRQC_RSS | MRQC_TCP_IPV4 | MRQC_IPV4 | MRQC_TCP_IPV6 | MRQC_IPV6);
            checksums |= RXCSUM_PCSD;
        }
        r.write32(shared::receive::RXCSUM, checksums);
        r.set32(shared::receive::RCTL, shared::receive::RCTL_EN);
        let mut control = (self.buffer / receive::SRRCTL_PACKET_UNIT) as u32;
        control |= receive::SRRCTL_ONE_BUFFER;
        if several {
            control |= receive::SRRCTL_DROP_EN;
        }
        for (queue, ring) in queues.iter().enumerate() {
            let base = queue * QUEUE;
            r.write32(base + receive::RDBAL, ring.address as u32);
            r.write32(base + receive::RDBAH, (ring.address >> 32) as u32);
            r.write32(base + receive::RDLEN, ring.bytes as u32);
            r.write32(base + receive::SRRCTL, control);
            r.write32(base + receive::RDH, 0);
            r.write32(base + receive::RDT, 0);
            self.enable_queue(base + receive::RXDCTL).await;
            // The tail comes after the enable.
            self.set_receive_tail(queue, ring.tail);
        }
    }

    /// Transmit initialisation (4.5.10).
    async fn enable_transmit(&mut self, ring: Descriptors) {
        let r = &self.registers;
        r.set32(shared::transmit::TCTL, shared::transmit::TCTL_EN | shared::transmit::TCTL_PSP);
        r.write32(transmit::TDBAL, ring.address as u32);
        r.write32(transmit::TDBAH, (ring.address >> 32) as u32);
        r.write32(transmit::TDLEN, ring.bytes as u32);
        r.write32(transmit::TDH, 0);
        r.write32(transmit::TDT, ring.tail as u32);
        // Completions are reported in the descriptors.
        r.write32(transmit::TDWBAL, 0);
        self.enable_queue(transmit::TXDCTL).await;
    }

    /// Causes are masked and acknowledged by the driver: automatic clearing and masking would save
    /// nothing, since all entries raise one interrupt.
    fn route_interrupts(&mut self, vector: &Vector) {
        use interrupt::*;
        use shared::interrupt::{IMS, LSC};
        let r = &self.registers;
        for entry in 0..usize::from(vector.entries) {
            r.write32(EITR + 4 * entry, THROTTLE_US << EITR_INTERVAL_SHIFT);
        }
        if vector.signalling != Signalling::MsiX {
            r.write32(GPIE, 0);
            self.messages = None;
            return;
        }
        r.write32(GPIE, GPIE_MULTIPLE_MSIX | GPIE_NSICR | GPIE_PBA);
        // Where there are too few entries, the last is shared.
        let last = u32::from(vector.entries) - 1;
        let [transmit, other] = [0, 1].map(|more| (self.queues as u32 + more).min(last));
        let mut messages = Messages { receive: 1 << other, transmit: 1 << transmit };
        let allocate = |queue: usize, shift: u32, entry: u32| {
            let (word, byte) = C::interrupt_allocation(queue);
            r.set32(IVAR + 4 * word, (IVAR_VALID | entry) << (8 * byte + shift));
        };
        (0..IVAR_WORDS).for_each(|word| r.write32(IVAR + 4 * word, 0));
        for queue in 0..self.queues {
            let entry = (queue as u32).min(last);
            allocate(queue, IVAR_RECEIVE_SHIFT, entry);
            messages.receive |= 1 << entry;
        }
        allocate(0, IVAR_TRANSMIT_SHIFT, transmit);
        r.write32(IVAR_MISC, (IVAR_VALID | other) << IVAR_MISC_OTHER_SHIFT);
        r.write32(IMS, LSC);
        self.messages = Some(messages);
    }

    fn mask_interrupts(&self) {
        if self.messages.is_none() {
            self.registers.write32(shared::interrupt::IMC, u32::MAX);
        }
        self.registers.write32(interrupt::EIMC, u32::MAX);
    }

    fn unmask_interrupts(&self, with_transmit: bool) {
        use interrupt::*;
        use shared::interrupt::{IMS, LSC, RXO, TXDW};
        let (register, receive, transmit) = match self.messages {
            Some(messages) => (EIMS, messages.receive, messages.transmit),
            None => (IMS, RXDW | RXO | LSC, TXDW),
        };
        self.registers.write32(register, if with_transmit { receive | transmit } else { receive });
    }

    /// The queues' causes first: a change of the link that comes in between is in ICR and has
    /// raised its bit of EICR again.
    fn take_causes(&mut self) -> bool {
        if self.messages.is_some() {
            self.registers.write32(interrupt::EICR, u32::MAX);
        }
        self.registers.read32(shared::interrupt::ICR) & shared::interrupt::LSC != 0
    }

    fn set_receive_tail(&self, queue: usize, tail: usize) {
        self.registers.write32(queue * QUEUE + receive::RDT, tail as u32);
    }

    fn set_transmit_tail(&self, tail: usize) {
        self.registers.write32(transmit::TDT, tail as u32);
    }

    fn take_errors(&mut self) -> (u64, u64) {
        let read = |register| u64::from(self.registers.read32(register));
        let [missed, damaged @ ..] = shared::statistics::ERRORS;
        let dropped =
            (0..self.queues).map(|queue| read(queue * QUEUE + receive::RQDPC)).sum::<u64>();
        (read(missed) + dropped, damaged.into_iter().map(read).sum())
    }
}

impl<C> Igb<C> {
    /// Enables the queue that `control` is the RXDCTL or TXDCTL of.
    async fn enable_queue(&self, control: usize) {
        self.registers.write32(control, THRESHOLDS | dctl::ENABLE);
        if !wait_for(QUEUE_US, || self.registers.read32(control) & dctl::ENABLE != 0).await {
            log::warn!("igb: the queue at {control:#x} is not enabled in time");
        }
    }
}

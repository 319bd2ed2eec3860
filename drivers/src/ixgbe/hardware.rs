//! What the driver does to registers.

use super::registers::*;
use crate::common::{is_station_address, pause, wait_for};
use crate::intel::{
    AdvancedReceive, AdvancedTransmit, Descriptors, Hardware, ReceiveErrors, Table, Trouble,
    gigabit, rss,
};
use core::marker::PhantomData;
use unikernel::mmio::Mmio;
use unikernel::nic::{Link, Mtu, Queues, Settings};
use unikernel::pci::{Signalling, Vector};
use unikernel::time::now_ns;

/// Master requests end within this after CTRL.PCIe Master Disable was set, or something is wrong
/// (5.2.5.3.2).
const QUIESCE_US: u64 = 100_000;
/// A reset, and the reading of the EEPROM that follows.
const RESET_US: u64 = 50_000;
/// How long the device is to be left alone after a reset (4.6.3.2).
const SETTLE_NS: u64 = 10_000_000;
/// A word of EEPROM.
const EEPROM_US: u64 = 10_000;
/// A queue or a data path comes on, or goes off.
const SWITCH_US: u64 = 10_000;

/// Time between the interrupts of one vector, in units of 2 µs: 50 µs, or 20,000 a second.
const THROTTLE: u32 = 25;

/// Packet buffer of transmit, all of it for one traffic class (4.6.11.3.4).
const TRANSMIT_BUFFER_KIB: u32 = 160;
/// Frame check sequence.
const FCS: usize = 4;

/// What a device does differently.
pub(crate) trait Mac: 'static {
    /// Packet buffer of receive.
    const RECEIVE_BUFFER_KIB: u32;
    /// The MAC sets the link up, not a PHY on its own.
    const SETS_UP_LINK: bool;
}

/// Errors of a receive write-back (7.1.6.2): the MAC's, and those of checksums.
pub(crate) enum Errors {}

impl ReceiveErrors for Errors {
    const FRAME: u64 = 1 << 29;
    const TRANSPORT: u64 = 1 << 30;
    const IP: u64 = 1 << 31;
}

/// The registers of one device.
pub(crate) struct Ixgbe<M> {
    registers: Mmio,
    /// Receive queues, and the size of their buffers.
    queues: usize,
    buffer: usize,
    /// Tags are taken out of frames.
    strips_tags: bool,
    causes: Causes,
    /// When the device was last reset.
    reset_at: u64,
    mac: PhantomData<M>,
}

/// Bits of EICR and EIMS, which are the vectors that IVAR names, whether they are messages or not.
#[derive(Clone, Copy, Default)]
struct Causes {
    /// Received frames, and the link.
    receive: u32,
    transmit: u32,
}

impl<M: Mac> Hardware for Ixgbe<M> {
    const FAMILY: &'static str = "ixgbe";
    const QUEUES: usize = Queues::MAX;
    const SIZE: usize = SIZE;
    type Receive = AdvancedReceive<Errors>;
    type Transmit = AdvancedTransmit;

    fn new(registers: Mmio) -> Self {
        Self {
            registers,
            queues: 1,
            buffer: 0,
            strips_tags: false,
            causes: Causes::default(),
            reset_at: 0,
            mac: PhantomData,
        }
    }

    fn is_gone(&self) -> bool {
        self.registers.read32(status::OFFSET) == u32::MAX
    }

    /// Software reset, from any state (4.6.3), and the device is ready afterwards.
    async fn reset(&mut self) -> Result<(), Trouble> {
        if self.is_gone() {
            return Err(Trouble::Stuck);
        }
        self.quiesce().await;
        if !self.settle().await || self.is_gone() {
            return Err(Trouble::Stuck);
        }
        self.mask_interrupts();
        self.registers.read32(interrupt::EICR);
        Ok(())
    }

    /// Stops both directions, then the bus (5.2.5.3.2).
    async fn end_dma(&mut self) -> bool {
        let r = &self.registers;
        self.mask_interrupts();
        self.halt_receive().await;
        r.clear32(receive::RXCTRL, receive::RXCTRL_RXEN);
        r.clear32(transmit::DMATXCTL, transmit::DMATXCTL_TE);
        r.set32(ctrl::OFFSET, ctrl::PCIE_MASTER_DISABLE);
        wait_for(QUIESCE_US, || r.read32(status::OFFSET) & status::PCIE_MASTER_ENABLE == 0).await
    }

    async fn quiesce(&mut self) -> bool {
        let ended = self.end_dma().await;
        let is_reset = self.assert_reset().await;
        if !ended {
            // A second reset stops what is still under way (5.2.5.3.2).
            self.assert_reset().await;
        }
        ended && is_reset
    }

    async fn settle(&self) -> bool {
        let r = &self.registers;
        let rest = SETTLE_NS.saturating_sub(now_ns() - self.reset_at);
        pause(rest.div_ceil(1000)).await;
        wait_for(RESET_US, || {
            r.read32(eeprom::EEC) & eeprom::EEC_AUTO_RD != 0
                && r.read32(receive::RDRXCTL) & receive::RDRXCTL_DMA_INIT_DONE != 0
                && !self.is_in_reset()
        })
        .await
    }

    async fn mac(&mut self) -> Result<[u8; 6], [u8; 6]> {
        let loaded = match gigabit::station_address(&self.registers) {
            Ok(loaded) => return Ok(loaded),
            Err(loaded) => loaded,
        };
        let mac = self.mac_in_eeprom().await.ok_or(loaded)?;
        if !is_station_address(mac) {
            return Err(mac);
        }
        gigabit::set_station_address(&self.registers, mac);
        Ok(mac)
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
        let ordered = ctrl_ext::NO_SNOOP_DISABLE | ctrl_ext::RELAXED_ORDERING_DISABLE;
        r.set32(ctrl_ext::OFFSET, ordered | ctrl_ext::DRV_LOAD);
        if !M::SETS_UP_LINK {
            return;
        }
        r.clear32(esdp::OFFSET, esdp::SDP3_DATA);
        // Firmware may be managing the link, and must not be in the middle of it.
        SEMAPHORE.acquire(r, SYNC_MAC_CSR).await;
        r.set32(mac::AUTOC, mac::AUTOC_RESTART);
        SEMAPHORE.release(r, SYNC_MAC_CSR).await;
    }

    fn link(&self) -> Link {
        let links = self.registers.read32(mac::LINKS);
        if links == u32::MAX || links & mac::LINKS_UP == 0 {
            return Link::default();
        }
        let speed = match links >> mac::LINKS_SPEED_SHIFT & mac::LINKS_SPEED_MASK {
            0 | 1 => 100,
            2 => 1000,
            _ => 10_000,
        };
        Link { up: true, speed, full_duplex: true }
    }

    async fn configure(&mut self, settings: &Settings, buffer: usize) -> Result<(), Trouble> {
        self.buffer = buffer;
        self.set_filters(settings);
        self.set_packet_buffers(settings);
        self.set_receive_path(settings);
        Ok(())
    }

    fn set_multicast(&mut self, table: &Table, before: Option<&Table>) {
        table.write_over(before, &self.registers, receive::MTA);
    }

    /// Receive initialisation (4.6.7).
    async fn enable_receive(&mut self, queues: &[Descriptors]) {
        self.queues = queues.len();
        if queues.len() > 1 {
            let r = &self.registers;
            rss::spread(r, queues.len(), receive::RSSRK, receive::RETA);
            r.write32(receive::MRQC, receive::MRQC_RSS | receive::MRQC_FIELDS);
        }
        for (queue, ring) in queues.iter().enumerate() {
            self.enable_receive_queue(queue, ring).await;
        }
        self.start_receive().await;
        for (queue, ring) in queues.iter().enumerate() {
            // The tail comes after the enable.
            self.set_receive_tail(queue, ring.tail);
        }
    }

    /// Transmit initialisation (4.6.8).
    async fn enable_transmit(&mut self, ring: Descriptors) {
        let r = &self.registers;
        r.write32(transmit::DTXMXSZRQ, transmit::DTXMXSZRQ_MOST);
        r.write32(transmit::TDBAL, ring.address as u32);
        r.write32(transmit::TDBAH, (ring.address >> 32) as u32);
        r.write32(transmit::TDLEN, ring.bytes as u32);
        r.write32(transmit::TDWBAL, 0);
        r.write32(transmit::TDH, 0);
        r.write32(transmit::TDT, 0);
        r.set32(transmit::DMATXCTL, transmit::DMATXCTL_TE);
        r.write32(transmit::TXDCTL, transmit::TXDCTL_PREFETCH | QUEUE_ENABLE);
        if !wait_for(SWITCH_US, || r.read32(transmit::TXDCTL) & QUEUE_ENABLE != 0).await {
            log::warn!("ixgbe: the transmit queue is not enabled in time");
        }
    }

    /// Throttling, and which vector a cause uses (7.3.4). Causes are masked and acknowledged by the
    /// driver, the same way for MSI-X, MSI and the pin: clearing and masking by themselves would
    /// save nothing, since all vectors raise one interrupt.
    fn route_interrupts(&mut self, vector: &Vector) {
        use interrupt::*;
        let r = &self.registers;
        let uses_msi_x = vector.signalling == Signalling::MsiX;
        r.write32(GPIE, if uses_msi_x { GPIE_MULTIPLE_MSIX | GPIE_PBA_SUPPORT } else { 0 });
        r.write32(EIAC, 0);
        r.write32(EIAM, 0);
        // Where there are too few entries, the last is shared. Without MSI-X all causes are one
        // interrupt anyway.
        let wanted = Self::entries(self.queues);
        let last = u32::from(if uses_msi_x { vector.entries.min(wanted) } else { wanted }) - 1;
        let [transmit, other] = [0, 1].map(|more| (self.queues as u32 + more).min(last));
        let mut causes = Causes { receive: LSC | OTHER, transmit: 1 << transmit };
        for pair in 0..self.queues.div_ceil(2) {
            r.write32(IVAR + 4 * pair, 0);
        }
        for queue in 0..self.queues {
            let entry = (queue as u32).min(last);
            r.set32(IVAR + 4 * (queue / 2), (IVAR_VALID | entry) << (16 * (queue % 2)));
            causes.receive |= 1 << entry;
        }
        r.set32(IVAR, (IVAR_VALID | transmit) << 8);
        r.write32(IVAR_MISC, (IVAR_VALID | other) << 8);
        for entry in 0..=last {
            r.write32(EITR + 4 * entry as usize, THROTTLE << EITR_INTERVAL_SHIFT);
        }
        self.causes = causes;
    }

    fn mask_interrupts(&self) {
        let r = &self.registers;
        r.write32(interrupt::EIMC, u32::MAX);
    }

    fn unmask_interrupts(&self, with_transmit: bool) {
        let transmit = if with_transmit { self.causes.transmit } else { 0 };
        self.registers.write32(interrupt::EIMS, self.causes.receive | transmit);
    }

    fn take_causes(&mut self) -> bool {
        self.registers.read32(interrupt::EICR) & interrupt::LSC != 0
    }

    fn set_receive_tail(&self, queue: usize, tail: usize) {
        self.registers.write32(receive::RDT + queue * receive::QUEUE, tail as u32);
    }

    fn set_transmit_tail(&self, tail: usize) {
        self.registers.write32(transmit::TDT, tail as u32);
    }

    fn take_errors(&mut self) -> (u64, u64) {
        let read = |register| u64::from(self.registers.read32(register));
        let buffers = 0..PACKET_BUFFERS;
        let missed = buffers.map(|n| read(statistics::MPC + 4 * n)).sum::<u64>();
        let damaged = statistics::DAMAGED.into_iter().map(read).sum();
        (missed + read(statistics::QPRDC0), damaged)
    }
}

impl<M: Mac> Ixgbe<M> {
    /// Resets the device (4.2.1). `false` if it stays there.
    async fn assert_reset(&mut self) -> bool {
        // Management firmware may be using a link that is up.
        let link = if self.link().up { 0 } else { ctrl::LRST };
        self.registers.set32(ctrl::OFFSET, ctrl::RST | link);
        // Nothing may be read for a microsecond after RST.
        pause(1).await;
        self.reset_at = now_ns();
        wait_for(RESET_US, || !self.is_in_reset()).await
    }

    fn is_in_reset(&self) -> bool {
        self.registers.read32(ctrl::OFFSET) & (ctrl::RST | ctrl::LRST) != 0
    }

    /// The address in words 1 to 3 of the port's LAN core section.
    async fn mac_in_eeprom(&self) -> Option<[u8; 6]> {
        let port = self.registers.read32(status::OFFSET) >> status::LAN_ID_SHIFT;
        let pointer = eeprom::LAN_CORE.get((port & status::LAN_ID_MASK) as usize)?;
        let section = match self.eeprom(*pointer).await? {
            0 | u16::MAX => return None,
            section => u32::from(section) + eeprom::LAN_CORE_ADDRESS,
        };
        let mut mac = [0; 6];
        for (word, bytes) in mac.as_chunks_mut::<2>().0.iter_mut().enumerate() {
            *bytes = self.eeprom(section + word as u32).await?.to_le_bytes();
        }
        Some(mac)
    }

    async fn eeprom(&self, word: u32) -> Option<u16> {
        let command = word << eeprom::EERD_ADDRESS_SHIFT | eeprom::EERD_START;
        self.registers.write32(eeprom::EERD, command);
        let mut value = 0;
        let done = wait_for(EEPROM_US, || {
            value = self.registers.read32(eeprom::EERD);
            value & eeprom::EERD_DONE != 0
        })
        .await;
        done.then_some((value >> eeprom::EERD_DATA_SHIFT) as u16)
    }

    /// Unicast to the station address, and broadcasts; what else, the settings say (7.1.1).
    fn set_filters(&mut self, settings: &Settings) {
        let r = &self.registers;
        let mut accepted = receive::FCTRL_BAM;
        if settings.promiscuous {
            accepted |= receive::FCTRL_UNICAST_PROMISCUOUS | receive::FCTRL_MULTICAST_PROMISCUOUS;
        }
        r.write32(receive::FCTRL, accepted);
        r.write32(receive::MCSTCTRL, receive::MCSTCTRL_MFE);
        let mut tags = receive::VLNCTRL_VET;
        if let Some(vlan) = settings.vlan {
            Table::of_vlan(vlan).write(r, receive::VFTA);
            tags |= receive::VLNCTRL_VFE;
        }
        r.write32(receive::VLNCTRL, tags);
        self.strips_tags = settings.vlan.is_some();
    }

    /// All of either packet buffer for one traffic class (4.6.11.3.4).
    fn set_packet_buffers(&self, settings: &Settings) {
        let r = &self.registers;
        let frame = (settings.max_frame() + FCS).div_ceil(1024) as u32;
        let whole = |buffer, kib| if buffer == 0 { kib } else { 0 };
        for buffer in 0..PACKET_BUFFERS {
            r.write32(receive::RXPBSIZE + 4 * buffer, whole(buffer, M::RECEIVE_BUFFER_KIB) << 10);
            r.write32(transmit::TXPBSIZE + 4 * buffer, whole(buffer, TRANSMIT_BUFFER_KIB) << 10);
            // Room for one more frame.
            let threshold = whole(buffer, TRANSMIT_BUFFER_KIB - frame);
            r.write32(transmit::TXPBTHRESH + 4 * buffer, threshold);
        }
    }

    fn set_receive_path(&self, settings: &Settings) {
        let r = &self.registers;
        let is_jumbo = settings.mtu > Mtu::ETHERNET;
        r.clear32(mac::HLREG0, mac::HLREG0_JUMBOEN | mac::HLREG0_LPBK);
        let both = mac::HLREG0_TXCRCEN | mac::HLREG0_RXCRCSTRP | mac::HLREG0_TXPADEN;
        r.set32(mac::HLREG0, both | if is_jumbo { mac::HLREG0_JUMBOEN } else { 0 });
        r.write32(mac::MFLCN, mac::MFLCN_DPF | mac::MFLCN_RFCE);
        // The device itself allows for a VLAN tag.
        r.write32(mac::MAXFRS, ((settings.max_frame() + FCS) as u32) << mac::MAXFRS_SHIFT);
        r.clear32(receive::RDRXCTL, receive::RDRXCTL_RSC_FIRST_SIZE);
        let reserved = receive::RDRXCTL_RESERVED_25_26;
        r.set32(receive::RDRXCTL, receive::RDRXCTL_CRC_STRIP | reserved);
        r.set32(receive::RFCTL, receive::RFCTL_RSC_DIS);
        r.set32(receive::RXCSUM, receive::RXCSUM_PCSD);
    }

    async fn enable_receive_queue(&self, queue: usize, ring: &Descriptors) {
        let r = &self.registers;
        let at = queue * receive::QUEUE;
        r.write32(receive::RDBAL + at, ring.address as u32);
        r.write32(receive::RDBAH + at, (ring.address >> 32) as u32);
        r.write32(receive::RDLEN + at, ring.bytes as u32);
        let size = (self.buffer >> receive::SRRCTL_SIZE_SHIFT) as u32;
        let format = receive::SRRCTL_ONE_BUFFER | receive::SRRCTL_DROP_EN;
        r.write32(receive::SRRCTL + at, size | format);
        r.write32(receive::RDH + at, 0);
        r.write32(receive::RDT + at, 0);
        let tags = if self.strips_tags { receive::RXDCTL_VME } else { 0 };
        r.write32(receive::RXDCTL + at, QUEUE_ENABLE | tags);
        if !wait_for(SWITCH_US, || r.read32(receive::RXDCTL + at) & QUEUE_ENABLE != 0).await {
            log::warn!("ixgbe: receive queue {queue} is not enabled in time");
        }
    }

    /// Lets frames in, once every queue is set up.
    async fn start_receive(&self) {
        let r = &self.registers;
        self.halt_receive().await;
        r.set32(receive::RXCTRL, receive::RXCTRL_RXEN);
        r.clear32(receive::SECRXCTRL, receive::SECRXCTRL_RX_DIS);
    }

    async fn halt_receive(&self) {
        let r = &self.registers;
        r.set32(receive::SECRXCTRL, receive::SECRXCTRL_RX_DIS);
        wait_for(SWITCH_US, || r.read32(receive::SECRXSTAT) & receive::SECRXSTAT_READY != 0).await;
    }
}

//! Registers of the 82599 and the X540: offsets in BAR 0 and bits, by the names that chapter 8 of
//! the Intel 82599 10 GbE Controller Datasheet (document 331520, revision 3.4) describes them
//! under. The X540's (document 515655) are the same where nothing else is said.

use crate::intel::Semaphore;

/// The part of BAR 0 that the driver uses.
pub(super) const SIZE: usize = 0x1_1000;

/// Device control, CTRL (8.2.3.1.1).
pub(super) mod ctrl {
    pub(crate) const OFFSET: usize = 0x0000;
    /// Blocks new master requests: first step of stopping DMA.
    pub(crate) const PCIE_MASTER_DISABLE: u32 = 1 << 2;
    /// Link reset: of the MAC and its link. Clears itself.
    pub(crate) const LRST: u32 = 1 << 3;
    /// Device reset; clears itself.
    pub(crate) const RST: u32 = 1 << 26;
}

/// Device status, STATUS (8.2.3.1.2).
pub(super) mod status {
    pub(crate) const OFFSET: usize = 0x0008;
    pub(crate) const LAN_ID_SHIFT: u32 = 2;
    pub(crate) const LAN_ID_MASK: u32 = 0b11;
    /// Master requests are enabled or still under way.
    pub(crate) const PCIE_MASTER_ENABLE: u32 = 1 << 19;
}

/// Extended device control, CTRL_EXT (8.2.3.1.3).
pub(super) mod ctrl_ext {
    pub(crate) const OFFSET: usize = 0x0018;
    pub(crate) const NO_SNOOP_DISABLE: u32 = 1 << 16;
    pub(crate) const RELAXED_ORDERING_DISABLE: u32 = 1 << 17;
    /// Tells firmware that a driver is there.
    pub(crate) const DRV_LOAD: u32 = 1 << 28;
}

/// Software-definable pins, ESDP (8.2.3.1.4).
pub(super) mod esdp {
    pub(crate) const OFFSET: usize = 0x0020;
    /// On boards with an SFP+ cage: turns the laser off.
    pub(crate) const SDP3_DATA: u32 = 1 << 3;
}

/// EEPROM control, EEC (8.2.3.2.1), and read, EERD (8.2.3.2.2).
pub(super) mod eeprom {
    pub(crate) const EEC: usize = 0x1_0010;
    /// The device has read its configuration after a reset.
    pub(crate) const EEC_AUTO_RD: u32 = 1 << 9;

    pub(crate) const EERD: usize = 0x1_0014;
    pub(crate) const EERD_START: u32 = 1 << 0;
    pub(crate) const EERD_DONE: u32 = 1 << 1;
    pub(crate) const EERD_ADDRESS_SHIFT: u32 = 2;
    pub(crate) const EERD_DATA_SHIFT: u32 = 16;

    /// Words that point to the LAN core section of ports 0 and 1, which has the station address in
    /// words 1 to 3 (6.2.1 and 6.3.4).
    pub(crate) const LAN_CORE: [u32; 2] = [0x09, 0x0a];
    pub(crate) const LAN_CORE_ADDRESS: u32 = 1;
}

/// SWSM and SW_FW_SYNC (8.2.3.4.14 and 15).
pub(super) const SEMAPHORE: Semaphore =
    Semaphore { swsm: 0x1_0140, sw_fw_sync: 0x1_0160, firmware_shift: 5 };
/// In SW_FW_SYNC: AUTOC and its like.
pub(super) const SYNC_MAC_CSR: u32 = 1 << 3;

/// Interrupts (8.2.3.5).
pub(super) mod interrupt {
    /// Causes: cleared by reading while GPIE.OCD is clear.
    pub(crate) const EICR: usize = 0x0800;
    /// Causes cleared by sending their MSI-X message.
    pub(crate) const EIAC: usize = 0x0810;
    /// Throttling of each of the first 24 vectors.
    pub(crate) const EITR: usize = 0x0820;
    /// In EITR: units of 2 µs between interrupts, at 1 and 10 Gbit/s.
    pub(crate) const EITR_INTERVAL_SHIFT: u32 = 3;
    /// Mask set.
    pub(crate) const EIMS: usize = 0x0880;
    /// Mask clear.
    pub(crate) const EIMC: usize = 0x0888;
    /// Causes masked by sending their MSI-X message.
    pub(crate) const EIAM: usize = 0x0890;
    pub(crate) const GPIE: usize = 0x0898;
    pub(crate) const GPIE_MULTIPLE_MSIX: u32 = 1 << 4;
    pub(crate) const GPIE_PBA_SUPPORT: u32 = 1 << 31;
    /// Which vector queues 2n and 2n + 1 use: a byte each for receive and transmit of either.
    pub(crate) const IVAR: usize = 0x0900;
    /// Which vector the other causes use, in the second byte.
    pub(crate) const IVAR_MISC: usize = 0x0a00;
    pub(crate) const IVAR_VALID: u32 = 1 << 7;

    /// Link status change.
    pub(crate) const LSC: u32 = 1 << 20;
    /// Any cause that has no queue; with MSI-X only.
    pub(crate) const OTHER: u32 = 1 << 31;
}

/// Receive: filters (8.2.3.7) and DMA (8.2.3.8).
pub(super) mod receive {
    pub(crate) const RDRXCTL: usize = 0x2f00;
    pub(crate) const RDRXCTL_CRC_STRIP: u32 = 1 << 1;
    /// The DMA engines are ready after a reset.
    pub(crate) const RDRXCTL_DMA_INIT_DONE: u32 = 1 << 3;
    pub(crate) const RDRXCTL_RSC_FIRST_SIZE: u32 = 0x1f << 17;
    /// Both to be set, says the register's description.
    pub(crate) const RDRXCTL_RESERVED_25_26: u32 = 0b11 << 25;

    pub(crate) const RXCTRL: usize = 0x3000;
    pub(crate) const RXCTRL_RXEN: u32 = 1 << 0;
    /// Sizes of the eight packet buffers, in bytes from bit 10 on.
    pub(crate) const RXPBSIZE: usize = 0x3c00;

    /// Halts the receive path, which RXEN must not be set without.
    pub(crate) const SECRXCTRL: usize = 0x8d00;
    pub(crate) const SECRXCTRL_RX_DIS: u32 = 1 << 1;
    pub(crate) const SECRXSTAT: usize = 0x8d04;
    pub(crate) const SECRXSTAT_READY: u32 = 1 << 0;

    pub(crate) const RXCSUM: usize = 0x5000;
    /// The RSS hash in the descriptor, not the sum of a fragment.
    pub(crate) const RXCSUM_PCSD: u32 = 1 << 13;
    pub(crate) const RFCTL: usize = 0x5008;
    /// No receive side coalescing.
    pub(crate) const RFCTL_RSC_DIS: u32 = 1 << 5;

    pub(crate) const FCTRL: usize = 0x5080;
    pub(crate) const FCTRL_MULTICAST_PROMISCUOUS: u32 = 1 << 8;
    pub(crate) const FCTRL_UNICAST_PROMISCUOUS: u32 = 1 << 9;
    /// Accept broadcasts.
    pub(crate) const FCTRL_BAM: u32 = 1 << 10;
    pub(crate) const MCSTCTRL: usize = 0x5090;
    /// The multicast table is looked at, by bits 47 to 36 of an address.
    pub(crate) const MCSTCTRL_MFE: u32 = 1 << 2;
    /// Multicast table array: 128 words.
    pub(crate) const MTA: usize = 0x5200;
    pub(crate) const VLNCTRL: usize = 0x5088;
    /// EtherType of a tag.
    pub(crate) const VLNCTRL_VET: u32 = 0x8100;
    /// The VLAN table is looked at.
    pub(crate) const VLNCTRL_VFE: u32 = 1 << 30;
    /// VLAN filter table array: a bit for each VLAN.
    pub(crate) const VFTA: usize = 0xa000;

    pub(crate) const MRQC: usize = 0x5818;
    /// RSS alone.
    pub(crate) const MRQC_RSS: u32 = 0b0001;
    /// What the hash covers: TCP over IPv4, IPv4, IPv6, TCP over IPv6, UDP over IPv4 and IPv6.
    pub(crate) const MRQC_FIELDS: u32 = 1 << 16 | 1 << 17 | 1 << 20 | 1 << 21 | 1 << 22 | 1 << 23;
    /// Redirection table: 128 entries of a byte.
    pub(crate) const RETA: usize = 0x5c00;
    /// The key: 40 bytes.
    pub(crate) const RSSRK: usize = 0x5c80;

    /// From a queue's registers to the next queue's.
    pub(crate) const QUEUE: usize = 0x40;
    pub(crate) const RDBAL: usize = 0x1000;
    pub(crate) const RDBAH: usize = 0x1004;
    pub(crate) const RDLEN: usize = 0x1008;
    pub(crate) const RDH: usize = 0x1010;
    pub(crate) const SRRCTL: usize = 0x1014;
    /// In SRRCTL: the buffer's size in its low bits, in KiB.
    pub(crate) const SRRCTL_SIZE_SHIFT: u32 = 10;
    /// Advanced descriptors with one buffer.
    pub(crate) const SRRCTL_ONE_BUFFER: u32 = 0b001 << 25;
    /// A frame for a queue without descriptors is dropped, and does not hold up the other queues.
    pub(crate) const SRRCTL_DROP_EN: u32 = 1 << 28;
    pub(crate) const RDT: usize = 0x1018;
    pub(crate) const RXDCTL: usize = 0x1028;
    /// Strip VLAN tags.
    pub(crate) const RXDCTL_VME: u32 = 1 << 30;
}

/// Packet buffers of either direction, one for each traffic class there could be.
pub(super) const PACKET_BUFFERS: usize = 8;

/// In RXDCTL and TXDCTL: the queue is on.
pub(super) const QUEUE_ENABLE: u32 = 1 << 25;

/// Transmit (8.2.3.9).
pub(super) mod transmit {
    pub(crate) const DMATXCTL: usize = 0x4a80;
    pub(crate) const DMATXCTL_TE: u32 = 1 << 0;
    /// Bytes of requests under way; the datasheet's value without DCB (4.6.11.3.4).
    pub(crate) const DTXMXSZRQ: usize = 0x8100;
    pub(crate) const DTXMXSZRQ_MOST: u32 = 0xfff;
    /// Sizes of the eight packet buffers, in bytes from bit 10 on, and from how many KiB on each is
    /// full.
    pub(crate) const TXPBSIZE: usize = 0xcc00;
    pub(crate) const TXPBTHRESH: usize = 0x4950;

    pub(crate) const TDBAL: usize = 0x6000;
    pub(crate) const TDBAH: usize = 0x6004;
    pub(crate) const TDLEN: usize = 0x6008;
    pub(crate) const TDH: usize = 0x6010;
    pub(crate) const TDT: usize = 0x6018;
    pub(crate) const TXDCTL: usize = 0x6028;
    /// Head write-back address; bit 0 turns it on.
    pub(crate) const TDWBAL: usize = 0x6038;
    /// Descriptors fetched ahead, and how many must be there to make it worthwhile. Write-backs
    /// come at once, with a threshold of 0.
    pub(crate) const TXDCTL_PREFETCH: u32 = 36 | 8 << 8;
}

/// The MAC (8.2.3.22).
pub(super) mod mac {
    pub(crate) const HLREG0: usize = 0x4240;
    /// Append the frame check sequence to what is sent, and strip it from what is received.
    pub(crate) const HLREG0_TXCRCEN: u32 = 1 << 0;
    pub(crate) const HLREG0_RXCRCSTRP: u32 = 1 << 1;
    pub(crate) const HLREG0_JUMBOEN: u32 = 1 << 2;
    /// Pad short frames.
    pub(crate) const HLREG0_TXPADEN: u32 = 1 << 10;
    pub(crate) const HLREG0_LPBK: u32 = 1 << 15;
    /// Longest frame with its check sequence, without a VLAN tag; in the high half.
    pub(crate) const MAXFRS: usize = 0x4268;
    pub(crate) const MAXFRS_SHIFT: u32 = 16;

    pub(crate) const MFLCN: usize = 0x4294;
    /// PAUSE frames go no further than the MAC, which obeys them.
    pub(crate) const MFLCN_DPF: u32 = 1 << 1;
    pub(crate) const MFLCN_RFCE: u32 = 1 << 3;
    pub(crate) const AUTOC: usize = 0x42a0;
    /// Begins to set up the link as the other fields say. The EEPROM filled them in.
    pub(crate) const AUTOC_RESTART: u32 = 1 << 12;
    pub(crate) const LINKS: usize = 0x42a4;
    pub(crate) const LINKS_UP: u32 = 1 << 30;
    pub(crate) const LINKS_SPEED_SHIFT: u32 = 28;
    pub(crate) const LINKS_SPEED_MASK: u32 = 0b11;
}

/// Statistics, cleared by reading (8.2.3.23).
pub(super) mod statistics {
    /// Frames dropped for want of a descriptor, by queue counter: all queues use the first.
    pub(crate) const QPRDC0: usize = 0x1430;
    /// Frames missed for want of room in each of the eight packet buffers.
    pub(crate) const MPC: usize = 0x3fa0;
    /// Counts of damaged frames: CRC, illegal bytes, error bytes, length; too short, fragments, too
    /// long, jabber.
    pub(crate) const DAMAGED: [usize; 8] =
        [0x4000, 0x4004, 0x4008, 0x4040, 0x40a4, 0x40a8, 0x40ac, 0x40b0];
}

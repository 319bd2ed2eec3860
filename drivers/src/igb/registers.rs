//! Registers that these controllers have and older ones do not, or have elsewhere: offsets in BAR 0
//! and bits, by the names that chapter 8 of the Intel 82576EB Gigabit Ethernet Controller Datasheet
//! (revision 2.63) describes them under. What did not change since the 8254x is in
//! `intel::gigabit`.

use crate::intel::Semaphore;

/// The part of BAR 0 that the driver uses.
pub(super) const SIZE: usize = 0x1_0000;

/// In CTRL (8.2.1): blocks new master requests, the first step of stopping DMA.
pub(super) const CTRL_GIO_MASTER_DISABLE: u32 = 1 << 2;
/// In STATUS (8.2.2): master requests are enabled or still under way.
pub(super) const STATUS_GIO_MASTER_ENABLE: u32 = 1 << 19;
/// In STATUS: which of the device's ports this is.
pub(super) const STATUS_LAN_ID_SHIFT: u32 = 2;
pub(super) const STATUS_LAN_ID_MASK: u32 = 0b11;

/// Extended device control, CTRL_EXT (8.2.3).
pub(super) mod ctrl_ext {
    pub(crate) const OFFSET: usize = 0x0018;
    /// 0 is the internal copper PHY.
    pub(crate) const LINK_MODE: u32 = 0b11 << 22;
    /// Tells the firmware that there is a driver.
    pub(crate) const DRV_LOAD: u32 = 1 << 28;
}

/// NVM control, EEC (8.4.1).
pub(super) mod eec {
    pub(crate) const OFFSET: usize = 0x0010;
    /// The device has read its configuration from NVM after a reset.
    pub(crate) const AUTO_RD: u32 = 1 << 9;
}

/// Management data interface control, MDIC (8.2.4): the data is in its low half.
pub(super) mod mdic {
    pub(crate) const OFFSET: usize = 0x0020;
    pub(crate) const REGISTER_SHIFT: u32 = 16;
    /// The internal PHY's address.
    pub(crate) const INTERNAL_PHY: u32 = 1 << 21;
    pub(crate) const WRITE: u32 = 1 << 26;
    pub(crate) const READ: u32 = 2 << 26;
    pub(crate) const READY: u32 = 1 << 28;
    pub(crate) const ERROR: u32 = 1 << 30;
}

/// SWSM and SW_FW_SYNC.
pub(super) const SEMAPHORE: Semaphore =
    Semaphore { swsm: 0x5b50, sw_fw_sync: 0x5b5c, firmware_shift: 16 };
/// In SW_FW_SYNC: the PHY of a port.
pub(super) const SYNC_PHY: [u32; 4] = [1 << 1, 1 << 2, 1 << 5, 1 << 6];

/// Interrupts (8.8). With MSI-X, causes of queues go to bits of EICR as IVAR says, others through
/// ICR to the bit that IVAR_MISC says; a bit is an entry of the MSI-X table. Otherwise ICR has them
/// all.
pub(super) mod interrupt {
    pub(crate) const GPIE: usize = 0x1514;
    /// Reading ICR always clears it.
    pub(crate) const GPIE_NSICR: u32 = 1 << 0;
    /// Multiple_MSIX: a bit of EICR for each entry.
    pub(crate) const GPIE_MULTIPLE_MSIX: u32 = 1 << 4;
    /// PBA_SUPPORT: the pending bit of an entry goes with its cause.
    pub(crate) const GPIE_PBA: u32 = 1 << 31;

    /// Extended cause, cleared by writing ones; mask set; mask clear.
    pub(crate) const EICR: usize = 0x1580;
    pub(crate) const EIMS: usize = 0x1524;
    pub(crate) const EIMC: usize = 0x1528;

    /// In ICR (8.8.9): a receive descriptor was written back.
    pub(crate) const RXDW: u32 = 1 << 7;

    /// Time between interrupts of an entry, in microseconds.
    pub(crate) const EITR: usize = 0x1680;
    pub(crate) const EITR_INTERVAL_SHIFT: u32 = 2;

    /// Which entry a queue uses: a byte each.
    pub(crate) const IVAR: usize = 0x1700;
    pub(crate) const IVAR_WORDS: usize = 8;
    pub(crate) const IVAR_RECEIVE_SHIFT: u32 = 0;
    pub(crate) const IVAR_TRANSMIT_SHIFT: u32 = 8;
    pub(crate) const IVAR_VALID: u32 = 1 << 7;
    /// Which entry all else uses, but for the TCP timer.
    pub(crate) const IVAR_MISC: usize = 0x1740;
    pub(crate) const IVAR_MISC_OTHER_SHIFT: u32 = 8;
}

/// A receive queue (8.10), at [`QUEUE`] bytes from the one before.
pub(super) mod receive {
    pub(crate) const RDBAL: usize = 0xc000;
    pub(crate) const RDBAH: usize = 0xc004;
    pub(crate) const RDLEN: usize = 0xc008;
    pub(crate) const SRRCTL: usize = 0xc00c;
    pub(crate) const RDH: usize = 0xc010;
    pub(crate) const RDT: usize = 0xc018;
    pub(crate) const RXDCTL: usize = 0xc028;
    /// Frames dropped because the queue had no descriptor; cleared by reading.
    pub(crate) const RQDPC: usize = 0xc030;

    /// Size of the packet buffer in units of 1 KiB.
    pub(crate) const SRRCTL_PACKET_UNIT: usize = 1 << 10;
    /// Advanced descriptors with one buffer: no header split.
    pub(crate) const SRRCTL_ONE_BUFFER: u32 = 1 << 25;
    /// A frame that finds no descriptor is dropped, and does not hold up the other queues.
    pub(crate) const SRRCTL_DROP_EN: u32 = 1 << 31;
}

/// A transmit queue (8.12), at [`QUEUE`] bytes from the one before.
pub(super) mod transmit {
    pub(crate) const TDBAL: usize = 0xe000;
    pub(crate) const TDBAH: usize = 0xe004;
    pub(crate) const TDLEN: usize = 0xe008;
    pub(crate) const TDH: usize = 0xe010;
    pub(crate) const TDT: usize = 0xe018;
    pub(crate) const TXDCTL: usize = 0xe028;
    /// Head write-back address; bit 0 of the low half enables it.
    pub(crate) const TDWBAL: usize = 0xe038;
}

/// From a queue's registers to those of the next.
pub(super) const QUEUE: usize = 0x40;

/// Receive, of all queues (8.10).
pub(super) mod filter {
    /// Longest frame, with tag and frame check sequence, while RCTL.LPE lets long ones through.
    pub(crate) const RLPML: usize = 0x5004;
    /// In RXCSUM: the hash takes the place of the fragment checksum in write-backs. RSS needs it.
    pub(crate) const RXCSUM_PCSD: u32 = 1 << 13;
    /// Multiple receive queues command: RSS, by TCP ports or else addresses.
    pub(crate) const MRQC: usize = 0x5818;
    pub(crate) const MRQC_RSS: u32 = 0b010;
    pub(crate) const MRQC_TCP_IPV4: u32 = 1 << 16;
    pub(crate) const MRQC_IPV4: u32 = 1 << 17;
    pub(crate) const MRQC_IPV6: u32 = 1 << 20;
    pub(crate) const MRQC_TCP_IPV6: u32 = 1 << 21;
    /// Redirection table, and key of the hash.
    pub(crate) const RETA: usize = 0x5c00;
    pub(crate) const RSSRK: usize = 0x5c80;
    /// DMA VM offload, of the I350 only, for each queue: take VLAN tags out and report them. Bit 29
    /// would hide them.
    pub(crate) const DVMOLR: usize = 0xc038;
    pub(crate) const DVMOLR_STRVLAN: u32 = 1 << 30;
}

/// Descriptor control of either direction, RXDCTL (8.10.10) and TXDCTL (8.12.13).
pub(super) mod dctl {
    pub(crate) const PREFETCH_SHIFT: u32 = 0;
    pub(crate) const HOST_SHIFT: u32 = 8;
    pub(crate) const WRITE_BACK_SHIFT: u32 = 16;
    /// Stays 0 until the direction as a whole is enabled.
    pub(crate) const ENABLE: u32 = 1 << 25;
}

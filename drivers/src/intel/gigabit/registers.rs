//! Registers that all of them have: offsets in BAR 0 and bits, by the names that chapter 13 of the
//! manual describes them under; the 82574 datasheet has the same in its chapter 10.

/// The part of BAR 0 that the driver uses.
pub(crate) const SIZE: usize = 0x5c00;

/// Device control, CTRL.
pub(crate) mod ctrl {
    pub(crate) const OFFSET: usize = 0x0000;
    /// Full duplex, where autonegotiation does not decide.
    pub(crate) const FD: u32 = 1 << 0;
    /// Set link up: the MAC follows the PHY.
    pub(crate) const SLU: u32 = 1 << 6;
    pub(crate) const FORCE_SPEED: u32 = 1 << 11;
    pub(crate) const FORCE_DUPLEX: u32 = 1 << 12;
    /// Device reset; clears itself.
    pub(crate) const RST: u32 = 1 << 26;
    /// Reserved, to be written as 0.
    pub(crate) const RESERVED_29: u32 = 1 << 29;
    /// Obey PAUSE frames, and send them.
    pub(crate) const RFCE: u32 = 1 << 27;
    pub(crate) const TFCE: u32 = 1 << 28;
    /// Take VLAN tags out of received frames, and insert them in sent ones.
    pub(crate) const VME: u32 = 1 << 30;
    pub(crate) const PHY_RST: u32 = 1 << 31;
}

/// Device status, STATUS.
pub(crate) mod status {
    pub(crate) const OFFSET: usize = 0x0008;
    pub(crate) const FD: u32 = 1 << 0;
    pub(crate) const LU: u32 = 1 << 1;
    pub(crate) const SPEED_SHIFT: u32 = 6;
    pub(crate) const SPEED_MASK: u32 = 0b11;
}

/// Flow control: station and type of the frames that ask for a pause, 01:80:c2:00:00:01 and MAC
/// control (IEEE 802.3, 31B.1).
pub(crate) mod flow_control {
    pub(crate) const FCAL: usize = 0x0028;
    pub(crate) const FCAH: usize = 0x002c;
    pub(crate) const FCT: usize = 0x0030;
    pub(crate) const STATION_LOW: u32 = 0x00c2_8001;
    pub(crate) const STATION_HIGH: u32 = 0x0000_0100;
    pub(crate) const TYPE: u32 = 0x8808;
}

/// NVM read, EERD.
pub(crate) mod eerd {
    pub(crate) const OFFSET: usize = 0x0014;
    pub(crate) const START: u32 = 1 << 0;
    pub(crate) const DATA_SHIFT: u32 = 16;
}

/// Interrupts.
pub(crate) mod interrupt {
    /// Cause: cleared by reading while all are masked, and by writing ones.
    pub(crate) const ICR: usize = 0x00c0;
    /// Throttling, in units of 256 ns between interrupts.
    pub(crate) const ITR: usize = 0x00c4;
    /// Mask set.
    pub(crate) const IMS: usize = 0x00d0;
    /// Mask clear.
    pub(crate) const IMC: usize = 0x00d8;
    pub(crate) const TXDW: u32 = 1 << 0;
    pub(crate) const LSC: u32 = 1 << 2;
    pub(crate) const RXO: u32 = 1 << 6;
    pub(crate) const RXT0: u32 = 1 << 7;
}

/// Receive.
pub(crate) mod receive {
    pub(crate) const RCTL: usize = 0x0100;
    pub(crate) const RCTL_EN: u32 = 1 << 1;
    /// Accept every unicast frame, and every multicast one.
    pub(crate) const RCTL_UPE: u32 = 1 << 3;
    pub(crate) const RCTL_MPE: u32 = 1 << 4;
    /// Accept frames longer than 1522 bytes.
    pub(crate) const RCTL_LPE: u32 = 1 << 5;
    /// Accept broadcasts.
    pub(crate) const RCTL_BAM: u32 = 1 << 15;
    /// Accept tagged frames of the VLANs in VFTA only.
    pub(crate) const RCTL_VFE: u32 = 1 << 18;
    /// Strip the frame check sequence.
    pub(crate) const RCTL_SECRC: u32 = 1 << 26;

    /// RCTL.BSIZE and RCTL.BSEX for buffers of that many bytes: a power of two up to 16 KiB.
    pub(crate) fn buffer_size(bytes: usize) -> u32 {
        const BSEX: u32 = 1 << 25;
        match bytes {
            0..=2048 => 0,
            2049..=4096 => BSEX | 0b11 << 16,
            4097..=8192 => BSEX | 0b10 << 16,
            _ => BSEX | 0b01 << 16,
        }
    }

    pub(crate) const RDBAL: usize = 0x2800;
    pub(crate) const RDBAH: usize = 0x2804;
    pub(crate) const RDLEN: usize = 0x2808;
    pub(crate) const RDH: usize = 0x2810;
    pub(crate) const RDT: usize = 0x2818;
    /// Interrupt delays, which throttling replaces.
    pub(crate) const RDTR: usize = 0x2820;
    pub(crate) const RXDCTL: usize = 0x2828;
    pub(crate) const RADV: usize = 0x282c;

    pub(crate) const RXCSUM: usize = 0x5000;
    pub(crate) const RXCSUM_IPOFL: u32 = 1 << 8;
    pub(crate) const RXCSUM_TUOFL: u32 = 1 << 9;

    /// Multicast table array: 128 words.
    pub(crate) const MTA: usize = 0x5200;
    /// Station address, low and high half.
    pub(crate) const RAL0: usize = 0x5400;
    pub(crate) const RAH0: usize = 0x5404;
    /// In RAH: the address is valid.
    pub(crate) const RAH_AV: u32 = 1 << 31;
}

/// VLANs.
pub(crate) mod vlan {
    /// The Ethernet type of tagged frames.
    pub(crate) const VET: usize = 0x0038;
    pub(crate) const TYPE: u32 = 0x8100;
    /// VLAN filter table array: a bit for each VLAN.
    pub(crate) const VFTA: usize = 0x5600;
}

/// Transmit.
pub(crate) mod transmit {
    pub(crate) const TCTL: usize = 0x0400;
    pub(crate) const TCTL_EN: u32 = 1 << 1;
    /// Pad short frames.
    pub(crate) const TCTL_PSP: u32 = 1 << 3;
    /// Collision threshold 15 and distance 63, for half duplex.
    pub(crate) const TCTL_COLLISION: u32 = 0xf << 4 | 0x3f << 12;
    pub(crate) const TCTL_COLLISION_MASK: u32 = 0xff << 4 | 0x3ff << 12;
    /// Inter-packet gap; the value is the datasheet's for copper.
    pub(crate) const TIPG: usize = 0x0410;
    pub(crate) const TIPG_COPPER: u32 = 8 | 8 << 10 | 6 << 20;

    pub(crate) const TDBAL: usize = 0x3800;
    pub(crate) const TDBAH: usize = 0x3804;
    pub(crate) const TDLEN: usize = 0x3808;
    pub(crate) const TDH: usize = 0x3810;
    pub(crate) const TDT: usize = 0x3818;
    pub(crate) const TIDV: usize = 0x3820;
    pub(crate) const TXDCTL: usize = 0x3828;
    pub(crate) const TADV: usize = 0x382c;
}

/// Descriptor control of either direction, RXDCTL and TXDCTL: thresholds count descriptors.
pub(crate) mod dctl {
    pub(crate) const GRANULARITY_DESCRIPTORS: u32 = 1 << 24;
    pub(crate) const PREFETCH_SHIFT: u32 = 0;
    pub(crate) const HOST_SHIFT: u32 = 8;
    pub(crate) const WRITE_BACK_SHIFT: u32 = 16;
}

/// Statistics, cleared by reading.
pub(crate) mod statistics {
    /// MPC, frames missed for want of a descriptor or FIFO space; then of damaged frames CRCERRS,
    /// ALGNERRC, SYMERRS, RXERRC and RLEC.
    pub(crate) const ERRORS: [usize; 6] = [0x4010, 0x4000, 0x4004, 0x4008, 0x400c, 0x4040];
}

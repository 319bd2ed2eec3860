//! Registers and bits that the 82574L has beside those of the 8254x.

/// Device control, CTRL.
pub(super) mod ctrl {
    /// Blocks new master requests: first step of stopping DMA.
    pub(crate) const GIO_MASTER_DISABLE: u32 = 1 << 2;
}

/// Device status, STATUS.
pub(super) mod status {
    /// Master requests are enabled or still under way.
    pub(crate) const GIO_MASTER_ENABLE: u32 = 1 << 19;
}

/// NVM control, EECD.
pub(super) mod eecd {
    pub(crate) const OFFSET: usize = 0x0010;
    /// The device has read its configuration from NVM after a reset.
    pub(crate) const AUTO_RD: u32 = 1 << 9;
}

/// NVM read, EERD.
pub(super) mod eerd {
    pub(crate) const DONE: u32 = 1 << 1;
    pub(crate) const ADDRESS_SHIFT: u32 = 2;
}

/// Extended device control, CTRL_EXT.
pub(super) mod ctrl_ext {
    pub(crate) const OFFSET: usize = 0x0018;
    /// Auto-mask on an MSI-X message, and on a read of ICR. Neither is used.
    pub(crate) const EIAME: u32 = 1 << 24;
    pub(crate) const IAME: u32 = 1 << 27;
}

/// Extended configuration control, EXTCNF_CTRL: the semaphore for the management data interface.
pub(super) mod extcnf_ctrl {
    pub(crate) const OFFSET: usize = 0x0f00;
    pub(crate) const MDIO_SW_OWNERSHIP: u32 = 1 << 5;
}

/// Interrupts by MSI-X.
pub(super) mod interrupt {
    /// Causes cleared by sending their MSI-X message.
    pub(crate) const EIAC: usize = 0x00dc;
    /// Which MSI-X entry a cause uses.
    pub(crate) const IVAR: usize = 0x00e4;
    /// Throttling of MSI-X entry 0.
    pub(crate) const EITR0: usize = 0x00e8;

    pub(crate) const RXQ0: u32 = 1 << 20;
    pub(crate) const TXQ0: u32 = 1 << 22;
    /// Any cause that has no queue; with MSI-X only.
    pub(crate) const OTHER: u32 = 1 << 24;

    /// Receive queue 0, transmit queue 0 and other causes valid, all in MSI-X entry 0.
    pub(crate) const IVAR_ALL_IN_0: u32 = 1 << 3 | 1 << 11 | 1 << 19;
}

/// Receive filter control.
pub(super) mod receive {
    pub(crate) const RFCTL: usize = 0x5008;
    /// No iSCSI, NFS write and NFS read filters.
    pub(crate) const RFCTL_NO_FILTERS: u32 = 1 << 0 | 1 << 6 | 1 << 7;
    /// No early interrupt for a TCP acknowledgement.
    pub(crate) const RFCTL_ACK_DIS: u32 = 1 << 12;
    /// Extended descriptors.
    pub(crate) const RFCTL_EXTEN: u32 = 1 << 15;
}

/// Transmit descriptor control, TXDCTL.
pub(super) mod txdctl {
    /// Reserved, to be written as 1.
    pub(crate) const RESERVED_22: u32 = 1 << 22;
}

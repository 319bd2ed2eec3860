//! Configuration space offsets and bits: PCI Express Base Specification 6.0, chapter 7. Offsets of
//! a capability's registers are relative to the capability.

/// Vendor id; all ones where no function answers (7.5.1.1.1).
pub(crate) const VENDOR_ID: u16 = 0x00;
/// Command (7.5.1.1.3); bits in [`pci_types::CommandRegister`].
pub(crate) const COMMAND: u16 = 0x04;
/// Status (7.5.1.1.4).
pub(crate) const STATUS: u16 = 0x06;
pub(crate) const STATUS_CAPABILITIES: u16 = 1 << 4;
/// Class code, sub-class and base class bytes as a word (7.5.1.1.6).
pub(crate) const CLASS: u16 = 0x0a;
/// Header type (7.5.1.1.9).
pub(crate) const HEADER_TYPE: u16 = 0x0e;
pub(crate) const HEADER_MULTI_FUNCTION: u8 = 1 << 7;
pub(crate) const HEADER_LAYOUT: u8 = 0x7f;
/// First base address register (7.5.1.2.1).
pub(crate) const BAR0: u16 = 0x10;
/// Subsystem vendor id, and subsystem id in the upper half (7.5.1.2.3).
pub(crate) const SUBSYSTEM: u16 = 0x2c;
/// Capabilities pointer (7.5.1.1.11).
pub(crate) const CAPABILITIES: u16 = 0x34;
/// Interrupt line, written by firmware (7.5.1.1.12).
pub(crate) const INTERRUPT_LINE: u16 = 0x3c;
/// Interrupt pin: 0 where a function has no INTx (7.5.1.1.13).
pub(crate) const INTERRUPT_PIN: u16 = 0x3d;

/// Type 1 header (7.5.1.3).
pub(crate) mod bridge {
    pub(crate) const SECONDARY_BUS: u16 = 0x19;
    pub(crate) const SUBORDINATE_BUS: u16 = 0x1a;
    /// Its limit is in the upper half of the double word, as the prefetchable window's is.
    pub(crate) const MEMORY_BASE: u16 = 0x20;
    pub(crate) const PREFETCH_BASE: u16 = 0x24;
    pub(crate) const PREFETCH_BASE_UPPER: u16 = 0x28;
    pub(crate) const PREFETCH_LIMIT_UPPER: u16 = 0x2c;
    /// Double words of bus numbers and memory windows; ports are not used.
    pub(crate) const ASSIGNED: [u16; 5] = [
        SECONDARY_BUS & !0b11,
        MEMORY_BASE,
        PREFETCH_BASE,
        PREFETCH_BASE_UPPER,
        PREFETCH_LIMIT_UPPER,
    ];
}

/// Capability ids (PCI Code and ID Assignment Specification, section 2).
pub(crate) mod id {
    pub(crate) const MSI: u8 = 0x05;
    pub(crate) const VENDOR: u8 = 0x09;
    pub(crate) const EXPRESS: u8 = 0x10;
    pub(crate) const MSI_X: u8 = 0x11;
}

/// MSI capability (7.7.1).
pub(crate) mod msi {
    pub(crate) const CONTROL: u16 = 0x02;
    pub(crate) const CONTROL_ENABLE: u16 = 1 << 0;
    /// Multiple message enable: how many messages software granted, 0 for one.
    pub(crate) const CONTROL_GRANTED: u16 = 0b111 << 4;
    pub(crate) const CONTROL_64_BIT: u16 = 1 << 7;
    /// Messages can be masked one by one.
    pub(crate) const CONTROL_MASKABLE: u16 = 1 << 8;
    pub(crate) const ADDRESS: u16 = 0x04;
    pub(crate) const ADDRESS_UPPER: u16 = 0x08;
    pub(crate) const DATA_32: u16 = 0x08;
    pub(crate) const DATA_64: u16 = 0x0c;
    /// A bit for each message.
    pub(crate) const MASK_32: u16 = 0x0c;
    pub(crate) const MASK_64: u16 = 0x10;
}

/// MSI-X capability and table (7.7.2).
pub(crate) mod msix {
    pub(crate) const CONTROL: u16 = 0x02;
    pub(crate) const CONTROL_TABLE_SIZE: u16 = 0x7ff;
    pub(crate) const CONTROL_FUNCTION_MASK: u16 = 1 << 14;
    pub(crate) const CONTROL_ENABLE: u16 = 1 << 15;
    /// Offset of the table in the BAR named by the low three bits.
    pub(crate) const TABLE: u16 = 0x04;
    pub(crate) const TABLE_BAR: u32 = 0b111;
    /// Size of a table entry, and offsets in it.
    pub(crate) const ENTRY: usize = 16;
    pub(crate) const ENTRY_ADDRESS: usize = 0x0;
    pub(crate) const ENTRY_ADDRESS_UPPER: usize = 0x4;
    pub(crate) const ENTRY_DATA: usize = 0x8;
    pub(crate) const ENTRY_CONTROL: usize = 0xc;
    pub(crate) const ENTRY_MASKED: u32 = 1 << 0;
}

/// PCI Express capability (7.5.3).
pub(crate) mod express {
    pub(crate) const CAPABILITIES: u16 = 0x02;
    /// Device/port type.
    pub(crate) const TYPE_SHIFT: u16 = 4;
    pub(crate) const TYPE_MASK: u16 = 0xf;
    pub(crate) const TYPE_ROOT_PORT: u16 = 4;
    pub(crate) const TYPE_DOWNSTREAM_PORT: u16 = 6;
    pub(crate) const SLOT_IMPLEMENTED: u16 = 1 << 8;
    /// Interrupt message number: the MSI-X entry hot-plug events use.
    pub(crate) const MESSAGE_SHIFT: u16 = 9;
    pub(crate) const MESSAGE_MASK: u16 = 0x1f;
    pub(crate) const LINK_CAPABILITIES: u16 = 0x0c;
    pub(crate) const LINK_CAPABILITIES_ACTIVE_REPORTING: u32 = 1 << 20;
    pub(crate) const LINK_STATUS: u16 = 0x12;
    pub(crate) const LINK_STATUS_ACTIVE: u16 = 1 << 13;
    pub(crate) const SLOT_CAPABILITIES: u16 = 0x14;
    pub(crate) const SLOT_CONTROL: u16 = 0x18;
    pub(crate) const SLOT_STATUS: u16 = 0x1a;
}

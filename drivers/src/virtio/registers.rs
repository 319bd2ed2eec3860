//! Layouts that `virtio-spec` has as private fields only: offsets from the Virtual I/O Device
//! specification, version 1.3.

/// Vendor id of every virtio function (4.1.2).
pub(super) const VENDOR: u16 = 0x1af4;
/// Network device: its transitional id, and 0x1040 + its device type (4.1.2.1, 5.1.1).
pub(super) const NET_IDS: [u16; 2] = [0x1000, 0x1041];

/// `struct virtio_pci_cap` (4.1.4).
pub(super) mod capability {
    pub(crate) const CFG_TYPE: u8 = 3;
    pub(crate) const BAR: u8 = 4;
    pub(crate) const OFFSET: u8 = 8;
    pub(crate) const LENGTH: u8 = 12;
    /// Of a notification capability (4.1.4.4).
    pub(crate) const NOTIFY_OFF_MULTIPLIER: u8 = 16;
}

/// `struct virtio_pci_common_cfg` (4.1.4.3).
pub(super) mod common {
    /// Up to and with QUEUE_DEVICE: what every device has.
    pub(crate) const SIZE: usize = 0x38;
    pub(crate) const DEVICE_FEATURE_SELECT: usize = 0x00;
    pub(crate) const DEVICE_FEATURE: usize = 0x04;
    pub(crate) const DRIVER_FEATURE_SELECT: usize = 0x08;
    pub(crate) const DRIVER_FEATURE: usize = 0x0c;
    pub(crate) const CONFIG_MSIX_VECTOR: usize = 0x10;
    pub(crate) const DEVICE_STATUS: usize = 0x14;
    pub(crate) const CONFIG_GENERATION: usize = 0x15;
    pub(crate) const QUEUE_SELECT: usize = 0x16;
    pub(crate) const QUEUE_SIZE: usize = 0x18;
    pub(crate) const QUEUE_MSIX_VECTOR: usize = 0x1a;
    pub(crate) const QUEUE_ENABLE: usize = 0x1c;
    pub(crate) const QUEUE_NOTIFY_OFF: usize = 0x1e;
    pub(crate) const QUEUE_DESC: usize = 0x20;
    pub(crate) const QUEUE_DRIVER: usize = 0x28;
    pub(crate) const QUEUE_DEVICE: usize = 0x30;
    /// In the two vector registers: none.
    pub(crate) const NO_VECTOR: u16 = 0xffff;
}

/// `struct virtio_net_config` (5.1.4).
pub(super) mod net {
    pub(crate) const MAC: usize = 0;
    pub(crate) const STATUS: usize = 6;
    pub(crate) const MTU: usize = 10;
    pub(crate) const SPEED: usize = 12;
    pub(crate) const DUPLEX: usize = 16;
    pub(crate) const DUPLEX_FULL: u8 = 1;
    pub(crate) const SPEED_UNKNOWN: u32 = u32::MAX;
}

/// The IOMMU: its id, a feature, and a field of `struct virtio_iommu_config` (5.13.2 to 5.13.4).
pub(super) mod iommu {
    pub(crate) const ID: u16 = 0x1040 + 23;
    pub(crate) const F_BYPASS_CONFIG: u32 = 1 << 6;
    pub(crate) const BYPASS: usize = 36;
}

/// Queues without multiqueue (5.1.2).
pub(super) const RECEIVE_QUEUE: u16 = 0;
pub(super) const TRANSMIT_QUEUE: u16 = 1;

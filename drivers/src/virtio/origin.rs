//! Whose a virtio device is.
//!
//! No feature says that a device is the hypervisor's own. Hardware should offer
//! VIRTIO_F_ORDER_PLATFORM, and VIRTIO_F_ACCESS_PLATFORM where addresses are translated for it
//! (Virtual I/O Device 1.3, 6.1), but hardware that was made for machines without an IOMMU offers
//! neither, and hypervisors offer the second in the name of their own devices. The ids of virtio
//! are those of hardware as well, and makers of hardware may leave the subsystem's at what virtio
//! says for all. So there is a list of what is known, and all else counts as hardware: that costs a
//! mark for each page, while a page that should have been marked is lost in a migration.

use ::virtio::net::F;

/// Subsystem of the modern devices of QEMU (`docs/specs/pci-ids.rst` there), and nobody else's.
/// Whoever moves their data, QEMU answers for it: its own code and vhost's backends log what they
/// write, and of hardware behind one (vDPA) QEMU goes between when a migration begins.
const QEMU: (u16, u16) = (0x1af4, 0x1100);

/// Whether the hypervisor's dirty log is known to see what the device writes, by the ids of its
/// subsystem and what was agreed on.
pub(super) fn is_logged(subsystem: (u16, u16), features: F) -> bool {
    // A standby is half of a pair that only a hypervisor makes (5.1.3, VIRTIO_NET_F_STANDBY).
    let is_hypervisors = subsystem == QEMU || features.contains(F::STANDBY);
    is_hypervisors && !features.contains(F::ORDER_PLATFORM)
}

//! The 82576, which QEMU calls igb, and the I350.
//!
//! Several queues in each direction, advanced descriptors, and an MSI-X entry for each queue. The
//! datasheet is Intel's for the 82576EB Gigabit Ethernet Controller, revision 2.63; the I350 has
//! the same registers but for the few in `controller.rs`. What is said of QEMU is in its
//! `hw/net/igb_core.c`.

mod controller;
mod hardware;
mod phy;
mod registers;

use controller::{Intel82576, IntelI350};
use hardware::Igb;

/// Vendor and device id.
pub const INTEL_82576: (u16, u16) = (0x8086, 0x10c9);
/// Vendor and device id of the copper I350.
pub const INTEL_I350: (u16, u16) = (0x8086, 0x1521);

/// An 82576.
pub(crate) type Hardware82576 = Igb<Intel82576>;
/// An I350.
pub(crate) type HardwareI350 = Igb<IntelI350>;

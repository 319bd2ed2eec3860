//! The 82576, which QEMU calls igb, and the I350.
//!
//! Several queues in each direction, advanced descriptors, and an MSI-X entry for each queue. The datasheet is
//! Intel's for the 82576EB Gigabit Ethernet Controller, revision 2.63; the I350 has the same registers but
//! for the few of a [`Controller`]. What is said of QEMU is in its `hw/net/igb_core.c`.

mod hardware;
mod phy;
mod registers;

use crate::intel::gigabit::registers as common;
use crate::intel::{AdvancedReceive, ReceiveErrors, Table};
use hardware::Igb;
use unikernel::mmio::Mmio;
use unikernel::nic::Queues;

/// Vendor and device id.
pub const INTEL_82576: (u16, u16) = (0x8086, 0x10c9);
/// Vendor and device id of the copper I350.
pub const INTEL_I350: (u16, u16) = (0x8086, 0x1521);

/// An 82576.
pub(crate) type Hardware82576 = Igb<Intel82576>;
/// An I350.
pub(crate) type HardwareI350 = Igb<IntelI350>;

/// In what the controllers of the family differ.
pub(crate) trait Controller: 'static {
    /// Which word of IVAR, and which byte of it, a receive queue has; the next byte is the transmit
    /// queue's of the same number.
    fn interrupt_allocation(queue: usize) -> (usize, u32);

    /// Has it take VLAN tags out of received frames and let those of `table` through.
    fn enable_vlan(registers: &Mmio, table: &Table);
}

/// 16 queues.
pub(crate) enum Intel82576 {}

impl Controller for Intel82576 {
    /// Datasheet 7.3.1.2: queues 0 to 7 have the lower halves of the words, 8 to 15 the upper ones.
    fn interrupt_allocation(queue: usize) -> (usize, u32) {
        (queue % 8, queue as u32 / 8 * 2)
    }

    fn enable_vlan(registers: &Mmio, table: &Table) {
        table.write(registers, common::vlan::VFTA);
    }
}

/// 8 queues.
pub(crate) enum IntelI350 {}

impl Controller for IntelI350 {
    /// Intel Ethernet Controller I350 datasheet, 7.3.1.2: two queues share a word.
    fn interrupt_allocation(queue: usize) -> (usize, u32) {
        (queue / 2, queue as u32 % 2 * 2)
    }

    fn enable_vlan(registers: &Mmio, table: &Table) {
        // A write may be lost, the specification update says; Linux's driver writes ten times, too.
        for _ in 0..10 {
            table.write(registers, common::vlan::VFTA);
        }
        // The queues' own bits count, not CTRL.VME alone.
        for queue in 0..Queues::MAX {
            let offset = registers::filter::DVMOLR + queue * registers::QUEUE;
            registers.set32(offset, registers::filter::DVMOLR_STRVLAN);
        }
    }
}

/// Receive errors of a write-back (datasheet 7.1.5.2).
pub(crate) enum Errors {}

impl ReceiveErrors for Errors {
    const FRAME: u64 = 1 << 31;
    const TRANSPORT: u64 = 1 << 29;
    const IP: u64 = 1 << 30;
}

type Receive = AdvancedReceive<Errors>;

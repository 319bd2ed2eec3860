//! In what the 82576 and the I350 differ.

use super::registers::{QUEUE, filter};
use crate::intel::gigabit::registers as shared;
use crate::intel::{AdvancedReceive, ReceiveErrors, Table};
use unikernel::mmio::Mmio;
use unikernel::nic::Queues;

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
        table.write(registers, shared::vlan::VFTA);
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
            table.write(registers, shared::vlan::VFTA);
        }
        // The queues' own bits count, not CTRL.VME alone.
        for queue in 0..Queues::MAX {
            let offset = filter::DVMOLR + queue * QUEUE;
            registers.set32(offset, filter::DVMOLR_STRVLAN);
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

/// Their receive descriptors.
pub(super) type Receive = AdvancedReceive<Errors>;

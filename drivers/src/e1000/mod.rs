//! The 82540EM and 82545EM, which QEMU calls e1000 and e1000-82545em.
//!
//! Sections are those of Intel's PCI/PCI-X Family of Gigabit Ethernet Controllers Software
//! Developer's Manual (317453). What is said of QEMU is in its `hw/net/e1000.c`.
//!
//! They are conventional PCI devices: DMA is posted writes that nobody counts, and the interrupt is
//! a pin where the device has no MSI, as QEMU's has none.

mod descriptors;
mod registers;

use crate::common::{pause, wait_for};
use crate::intel::gigabit::{Causes, Gigabit, Mac, registers as shared};
use descriptors::Legacy;
use registers::*;
use unikernel::mmio::Mmio;
use unikernel::pci::Signalling;

/// Vendor and device id of the 82540EM.
pub const INTEL_82540EM: (u16, u16) = (0x8086, 0x100e);
/// Vendor and device id of the 82545EM with a copper PHY.
pub const INTEL_82545EM: (u16, u16) = (0x8086, 0x100f);

/// What requests on the bus may take to end once both directions are off. No register tells.
const QUIESCE_US: u64 = 10_000;
/// CTRL.RST clears itself after a microsecond.
const RESET_US: u64 = 1_000;
/// Reading the NVM after a reset takes this long; no register tells when it is done.
const RELOAD_US: u64 = 5_000;

/// The device.
pub(crate) type Hardware = Gigabit<Intel8254x>;

/// What is the 8254x's own.
pub(crate) enum Intel8254x {}

impl Mac for Intel8254x {
    type Receive = Legacy;

    const FAMILY: &'static str = "e1000";
    const NVM_DONE: u32 = eerd::DONE;
    const NVM_ADDRESS_SHIFT: u32 = eerd::ADDRESS_SHIFT;
    const TXDCTL: u32 = 0;

    async fn end_mastering(registers: &Mmio) -> bool {
        // A read pushes what the device has posted to memory before its answer (PCI 3.0, 3.2.5).
        pause(QUIESCE_US).await;
        registers.read32(shared::status::OFFSET);
        true
    }

    async fn reset(registers: &Mmio) -> bool {
        registers.set32(shared::ctrl::OFFSET, shared::ctrl::RST);
        // Nothing may be read for a microsecond after RST.
        pause(1).await;
        let is_done =
            wait_for(RESET_US, || registers.read32(shared::ctrl::OFFSET) & shared::ctrl::RST == 0)
                .await;
        pause(RELOAD_US).await;
        is_done
    }

    fn prepare_receive(_registers: &Mmio) {}

    fn route_interrupts(registers: &Mmio, _signalling: Signalling) -> Causes {
        Causes::of_8254x(registers)
    }
}

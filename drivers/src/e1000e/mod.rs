//! The 82574L, which QEMU calls e1000e.
//!
//! An 8254x with more: MSI-X, extended receive descriptors, and a way to end DMA in an orderly
//! manner. The datasheet is Intel's for the 82574 GbE Controller Family, revision 3.4; registers
//! are in its chapter 10. What is said of QEMU is in its `hw/net/e1000e_core.c`.

mod descriptors;
mod registers;

use crate::common::{pause, wait_for};
use crate::intel::gigabit::{Causes, Gigabit, Mac, THROTTLE, registers as shared};
use descriptors::Extended;
use registers::*;
use unikernel::mmio::Mmio;
use unikernel::pci::Signalling;

/// Vendor and device id.
pub const INTEL_82574L: (u16, u16) = (0x8086, 0x10d3);

/// Master requests end within 100 ms after CTRL.GIO_MASTER_DISABLE was set, or something is wrong.
const QUIESCE_US: u64 = 100_000;
/// A reset and the reading of the NVM that follows take a few milliseconds.
const RESET_US: u64 = 50_000;
/// The semaphore.
const SEMAPHORE_US: u64 = 10_000;

/// The device.
pub(crate) type Hardware = Gigabit<Intel82574>;

/// What is the 82574L's own.
pub(crate) enum Intel82574 {}

impl Mac for Intel82574 {
    type Receive = Extended;

    const FAMILY: &'static str = "e1000e";
    const NVM_DONE: u32 = eerd::DONE;
    const NVM_ADDRESS_SHIFT: u32 = eerd::ADDRESS_SHIFT;
    const TXDCTL: u32 = txdctl::RESERVED_22;

    async fn end_mastering(registers: &Mmio) -> bool {
        registers.set32(shared::ctrl::OFFSET, ctrl::GIO_MASTER_DISABLE);
        wait_for(QUIESCE_US, || {
            registers.read32(shared::status::OFFSET) & status::GIO_MASTER_ENABLE == 0
        })
        .await
    }

    async fn reset(registers: &Mmio) -> bool {
        // Firmware must not be in the middle of talking to the PHY. It gives way in time,
        // or is not there.
        let owner = extcnf_ctrl::MDIO_SW_OWNERSHIP;
        wait_for(SEMAPHORE_US, || {
            registers.set32(extcnf_ctrl::OFFSET, owner);
            registers.read32(extcnf_ctrl::OFFSET) & owner != 0
        })
        .await;
        registers.set32(shared::ctrl::OFFSET, shared::ctrl::RST);
        // Nothing may be read for a microsecond after RST.
        pause(1).await;
        let is_done = wait_for(RESET_US, || {
            let ctrl = registers.read32(shared::ctrl::OFFSET);
            let eecd = registers.read32(eecd::OFFSET);
            ctrl & shared::ctrl::RST == 0 && eecd & eecd::AUTO_RD != 0
        })
        .await;
        if is_done {
            registers.clear32(extcnf_ctrl::OFFSET, owner);
            registers.clear32(shared::ctrl::OFFSET, ctrl::GIO_MASTER_DISABLE);
        }
        is_done
    }

    fn prepare_receive(registers: &Mmio) {
        let filters = receive::RFCTL_NO_FILTERS | receive::RFCTL_ACK_DIS;
        registers.write32(receive::RFCTL, filters | receive::RFCTL_EXTEN);
    }

    /// Causes are masked and acknowledged by the driver, the same way for MSI-X, MSI and the pin:
    /// automatic masking differs between them, and between the device and QEMU's model.
    fn route_interrupts(registers: &Mmio, signalling: Signalling) -> Causes {
        registers.clear32(ctrl_ext::OFFSET, ctrl_ext::IAME | ctrl_ext::EIAME);
        if signalling != Signalling::MsiX {
            return Causes::of_8254x(registers);
        }
        registers.write32(interrupt::EIAC, 0);
        registers.write32(interrupt::IVAR, interrupt::IVAR_ALL_IN_0);
        registers.write32(interrupt::EITR0, THROTTLE);
        Causes {
            receive: interrupt::RXQ0 | interrupt::OTHER | shared::interrupt::LSC,
            transmit: interrupt::TXQ0,
            cleared_by_reading: false,
        }
    }
}

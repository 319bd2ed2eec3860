//! What the ports of a device share with each other and with firmware, such as a PHY: SW_FW_SYNC
//! says who has it, and SWSM who may change that (82576 datasheet, 4.7; 82599 datasheet, 10.5.4).

use crate::common::wait_for;
use embassy_futures::yield_now;
use unikernel::mmio::Mmio;
use unikernel::time::now_ns;

/// In SWSM, set by reading it: whoever reads 0 has it, among drivers.
const SMBI: u32 = 1 << 0;
/// In SWSM: can be set only while firmware has not.
const SWESMBI: u32 = 1 << 1;

/// Firmware lets go within milliseconds. Who does not is not there any more.
const PATIENCE_US: u64 = 10_000;

/// Where a family has its semaphores: offsets in BAR 0.
pub(crate) struct Semaphore {
    pub(crate) swsm: usize,
    pub(crate) sw_fw_sync: usize,
    /// In SW_FW_SYNC, from software's bit of a resource to firmware's.
    pub(crate) firmware_shift: u32,
}

impl Semaphore {
    /// Takes the resources whose bits those are in SW_FW_SYNC, if need be from whoever does not let
    /// go of them.
    pub(crate) async fn acquire(&self, registers: &Mmio, bits: u32) {
        let all = bits | bits << self.firmware_shift;
        let take = |owners| if owners & all == 0 { owners | bits } else { owners };
        let deadline = now_ns() + PATIENCE_US * 1000;
        while self.change(registers, take).await & all != 0 {
            if now_ns() >= deadline {
                self.change(registers, |owners| owners | bits).await;
                return;
            }
            yield_now().await;
        }
    }

    /// Gives them back.
    pub(crate) async fn release(&self, registers: &Mmio, bits: u32) {
        self.change(registers, |owners| owners & !bits).await;
    }

    /// Changes SW_FW_SYNC while nobody else does, and returns what it was.
    async fn change(&self, registers: &Mmio, change: impl Fn(u32) -> u32) -> u32 {
        wait_for(PATIENCE_US, || registers.read32(self.swsm) & SMBI == 0).await;
        wait_for(PATIENCE_US, || {
            registers.set32(self.swsm, SWESMBI);
            registers.read32(self.swsm) & SWESMBI != 0
        })
        .await;
        let owners = registers.read32(self.sw_fw_sync);
        registers.write32(self.sw_fw_sync, change(owners));
        registers.clear32(self.swsm, SMBI | SWESMBI);
        owners
    }
}

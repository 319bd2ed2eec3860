//! The internal copper PHY (datasheet 3.5), which firmware may be talking to as well.

use super::registers::{SEMAPHORE, STATUS_LAN_ID_MASK, STATUS_LAN_ID_SHIFT, SYNC_PHY, mdic};
use crate::common::wait_for;
use crate::intel::gigabit::registers::status;
use unikernel::mmio::Mmio;

/// A transaction takes 64 bit times of at least 400 ns.
const PATIENCE_US: u64 = 10_000;

/// Control register (IEEE 802.3, 22.2.4.1). Writing it so also ends power-down, bit 11.
const CONTROL: u32 = 0;
const CONTROL_RESTART: u16 = 1 << 9;
const CONTROL_NEGOTIATE: u16 = 1 << 12;
/// Status register (22.2.4.2).
const STATUS: u32 = 1;
const STATUS_LINK: u16 = 1 << 2;
const STATUS_NEGOTIATED: u16 = 1 << 5;

/// Has the PHY negotiate, unless it has a link that it negotiated: getting one takes seconds.
/// `false` if it does not answer.
pub(super) async fn negotiate(registers: &Mmio) -> bool {
    let port = registers.read32(status::OFFSET) >> STATUS_LAN_ID_SHIFT & STATUS_LAN_ID_MASK;
    let phy = SYNC_PHY[port as usize];
    SEMAPHORE.acquire(registers, phy).await;
    let done = match transact(registers, mdic::READ | STATUS << mdic::REGISTER_SHIFT).await {
        Some(status) if status & STATUS_LINK != 0 && status & STATUS_NEGOTIATED != 0 => true,
        _ => {
            let value = u32::from(CONTROL_NEGOTIATE | CONTROL_RESTART);
            let command = mdic::WRITE | CONTROL << mdic::REGISTER_SHIFT | value;
            transact(registers, command).await.is_some()
        }
    };
    SEMAPHORE.release(registers, phy).await;
    done
}

/// Reads or writes a register of the PHY.
async fn transact(registers: &Mmio, command: u32) -> Option<u16> {
    registers.write32(mdic::OFFSET, command | mdic::INTERNAL_PHY);
    let mut answer = 0;
    let done = wait_for(PATIENCE_US, || {
        answer = registers.read32(mdic::OFFSET);
        answer & mdic::READY != 0
    })
    .await;
    (done && answer & mdic::ERROR == 0).then_some(answer as u16)
}

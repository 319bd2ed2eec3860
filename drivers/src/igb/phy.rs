//! The internal copper PHY (datasheet 3.5), which firmware may be talking to as well.

use super::registers::{STATUS_LAN_ID_MASK, STATUS_LAN_ID_SHIFT, mdic, semaphore};
use crate::intel::gigabit::registers::status;
use crate::intel::wait_for;
use unikernel::mmio::Mmio;

/// The semaphore; a transaction takes 64 bit times of at least 400 ns.
const PATIENCE_US: u64 = 10_000;

/// Control register (IEEE 802.3, 22.2.4.1). Writing it so also ends power-down, bit 11.
const CONTROL: u32 = 0;
const CONTROL_RESTART: u16 = 1 << 9;
const CONTROL_NEGOTIATE: u16 = 1 << 12;
/// Status register (22.2.4.2).
const STATUS: u32 = 1;
const STATUS_LINK: u16 = 1 << 2;
const STATUS_NEGOTIATED: u16 = 1 << 5;

/// Has the PHY negotiate, unless it has a link that it negotiated: getting one takes seconds. `false` if it
/// does not answer.
pub(super) fn negotiate(registers: &Mmio) -> bool {
    let phy = lock(registers);
    let done = match transact(registers, mdic::READ | STATUS << mdic::REGISTER_SHIFT) {
        Some(status) if status & STATUS_LINK != 0 && status & STATUS_NEGOTIATED != 0 => true,
        _ => {
            let value = u32::from(CONTROL_NEGOTIATE | CONTROL_RESTART);
            let command = mdic::WRITE | CONTROL << mdic::REGISTER_SHIFT | value;
            transact(registers, command).is_some()
        }
    };
    registers.clear32(semaphore::SW_FW_SYNC, phy);
    done
}

/// Reads or writes a register of the PHY.
fn transact(registers: &Mmio, command: u32) -> Option<u16> {
    registers.write32(mdic::OFFSET, command | mdic::INTERNAL_PHY);
    let mut answer = 0;
    let done = wait_for(PATIENCE_US, || {
        answer = registers.read32(mdic::OFFSET);
        answer & mdic::READY != 0
    });
    (done && answer & mdic::ERROR == 0).then_some(answer as u16)
}

/// Takes the port's PHY (datasheet 4.7). Whoever does not let go of it in time is not there any more: firmware
/// does within milliseconds, and no other software has this function.
fn lock(registers: &Mmio) -> u32 {
    use semaphore::*;
    let port = registers.read32(status::OFFSET) >> STATUS_LAN_ID_SHIFT & STATUS_LAN_ID_MASK;
    let phy = PHY[port as usize];
    let taken = wait_for(PATIENCE_US, || {
        wait_for(PATIENCE_US, || registers.read32(SWSM) & SMBI == 0);
        wait_for(PATIENCE_US, || {
            registers.set32(SWSM, SWESMBI);
            registers.read32(SWSM) & SWESMBI != 0
        });
        let owners = registers.read32(SW_FW_SYNC);
        let is_free = owners & (phy | phy << FIRMWARE_SHIFT) == 0;
        if is_free {
            registers.write32(SW_FW_SYNC, owners | phy);
        }
        registers.clear32(SWSM, SMBI | SWESMBI);
        is_free
    });
    if !taken {
        registers.set32(SW_FW_SYNC, phy);
    }
    phy
}

//! The PC's interval timer (Intel 8254), where there is no better one to tell time by.

use x86_64::instructions::port::Port;

/// How fast it counts.
pub(crate) const HZ: u64 = 1_193_182;
/// The bits of its count.
pub(crate) const MASK: u32 = 0xffff;

const COUNTER: u16 = 0x40;
const CONTROL: u16 = 0x43;
/// Counter 0, two bytes, mode 2: from 65536 down to one, over and over, which is as firmware leaves
/// it on a PC. The others have gates that not every machine has a register for.
const OVER_AND_OVER: u8 = 0x34;
/// Holds counter 0 still until it has been read.
const LATCH: u8 = 0x00;

/// Has it count.
pub(crate) fn start() {
    out(CONTROL, OVER_AND_OVER);
    // 65536.
    out(COUNTER, 0);
    out(COUNTER, 0);
}

/// What it has counted, up, in the bits of [`MASK`]. Where there is none, it never changes.
pub(crate) fn read() -> u32 {
    out(CONTROL, LATCH);
    let [low, high] = [(); 2].map(|()| {
        // SAFETY: a latched counter is read one byte after the other, without any other effect.
        unsafe { Port::<u8>::new(COUNTER).read() }
    });
    u32::from(u16::from_le_bytes([low, high]).wrapping_neg())
}

fn out(port: u16, value: u8) {
    // SAFETY: the ports of the timer, which only this module touches.
    unsafe { Port::new(port).write(value) };
}

//! COM1, polled.

use core::sync::atomic::{AtomicBool, Ordering};

use uart_16550::{Config, Uart16550};
use x86_64::instructions::port::Port;

const COM1: u16 = 0x3f8;
/// Line status register and its "transmit FIFO is empty" bit (PC16550D, 8.4).
const LINE_STATUS: u16 = COM1 + 5;
const TRANSMIT_EMPTY: u8 = 1 << 5;
/// Bytes the transmit FIFO takes once it is empty.
const FIFO: usize = 16;
/// Status reads before bytes are given up: a console that nobody drains must not hang the machine.
/// At 115200 baud a full FIFO takes 1.4 ms, each read of an ISA port about 1 µs.
const PATIENCE: u32 = 20_000;

/// Bytes were given up, and none were taken since. They are then given up at once, or all that
/// there are would cost that patience again.
static STUCK: AtomicBool = AtomicBool::new(false);

/// Sets the line to 115200 baud, 8n1, FIFO on.
///
/// A machine without COM1 is as good as any other, only silent.
pub(crate) fn init() {
    // SAFETY: ports 3f8h to 3ffh belong to COM1 on every PC, and only this module touches them.
    if let Ok(mut uart) = unsafe { Uart16550::new_port(COM1) } {
        let _ = uart.init(Config::default());
    }
}

/// Whether it takes bytes now.
pub(crate) fn is_ready() -> bool {
    // SAFETY: reading COM1's line status has no side effect we depend on.
    let is_ready = unsafe { Port::<u8>::new(LINE_STATUS).read() } & TRANSMIT_EMPTY != 0;
    if is_ready {
        STUCK.store(false, Ordering::Relaxed);
    }
    is_ready
}

/// Writes bytes as they are, as far as somebody takes them.
pub(crate) fn write(bytes: &[u8]) {
    for chunk in bytes.chunks(FIFO) {
        let patience = if STUCK.load(Ordering::Relaxed) { 1 } else { PATIENCE };
        if !(0..patience).any(|_| is_ready()) {
            STUCK.store(true, Ordering::Relaxed);
            return;
        }
        put(chunk);
    }
}

/// Writes a few bytes, when it [is ready](is_ready): 16 are what it takes.
pub(crate) fn put(bytes: &[u8]) {
    let mut data = Port::<u8>::new(COM1);
    // Not `rep outsb`: KVM runs that through its instruction emulator, byte by byte.
    for &byte in bytes {
        // SAFETY: the port is COM1's transmit FIFO, and takes a byte whether it has room or not.
        unsafe { data.write(byte) };
    }
}

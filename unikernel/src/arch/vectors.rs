//! Which interrupt vector is whose.

/// Vectors 0 to 31 are the processor's own.
pub(super) const EXCEPTIONS: u8 = 32;
/// The two 8259s' sixteen lines.
pub(super) const LINES: u8 = 0x20;
/// Message-signalled interrupts.
pub(super) const FIRST_MESSAGE: u8 = 0x30;
/// Message-signalled interrupts there are for all devices together.
pub(crate) const MESSAGES: usize = 64;
/// The local APIC's timer.
pub(super) const TIMER: u8 = 0xf0;
/// The local APIC's "nothing there after all", which wants no end-of-interrupt.
pub(super) const SPURIOUS: u8 = 0xff;

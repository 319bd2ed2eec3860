//! The two 8259A interrupt controllers, for devices that know only INTx.
//!
//! The Interrupt Line register that firmware wrote names an input of these controllers, so they
//! need no ACPI interpreter to be used; the I/O APIC would. They reach the processor through the
//! local APIC's LINT0 ("virtual wire", Intel MultiProcessor Specification, section 3.6.2.2).

use core::sync::atomic::{AtomicBool, AtomicU16, Ordering};

use x86_64::instructions::port::Port;

use super::vectors::LINES;

const FIRST_COMMAND: u16 = 0x20;
const SECOND_COMMAND: u16 = 0xa0;
/// The line of the first controller on which the second one hangs.
const CASCADE: u8 = 2;
/// OCW2 "specific end of interrupt", the level in the low bits.
const SPECIFIC_EOI: u8 = 0x60;
/// OCW3 "read the in-service register next".
const READ_IN_SERVICE: u8 = 0x0b;

static PRESENT: AtomicBool = AtomicBool::new(false);
/// Masked lines; all but the cascade at first.
static MASK: AtomicU16 = AtomicU16::new(!(1 << CASCADE));

fn out(port: u16, value: u8) {
    // SAFETY: the ports of the 8259s, which only this module touches.
    unsafe { Port::new(port).write(value) };
}

/// Moves the lines to their vectors, all masked (8259A datasheet, "Initialization Command Words").
/// Trigger modes stay as firmware set them in the edge/level control register.
///
/// `present`: ACPI says that the machine has the controllers. They are masked in any case.
pub(crate) fn init(present: bool) {
    PRESENT.store(present, Ordering::Relaxed);
    for (command, base, cascade) in
        [(FIRST_COMMAND, LINES, 1 << CASCADE), (SECOND_COMMAND, LINES + 8, CASCADE)]
    {
        out(command, 0x11); // ICW1: edge, cascaded, ICW4 follows
        out(command + 1, base); // ICW2
        out(command + 1, cascade); // ICW3
        out(command + 1, 0x01); // ICW4: 8086 mode
    }
    write_mask(MASK.load(Ordering::Relaxed));
}

fn write_mask(mask: u16) {
    let [first, second] = mask.to_le_bytes();
    out(FIRST_COMMAND + 1, first);
    out(SECOND_COMMAND + 1, second);
}

/// Whether the machine has these controllers.
pub(crate) fn has_lines() -> bool {
    PRESENT.load(Ordering::Relaxed)
}

/// Stops `line` from interrupting.
pub(crate) fn mask(line: u8) {
    critical_section::with(|_| write_mask(MASK.fetch_or(1 << line, Ordering::Relaxed) | 1 << line));
}

/// Lets `line` interrupt.
pub(crate) fn unmask(line: u8) {
    critical_section::with(|_| {
        write_mask(MASK.fetch_and(!(1 << line), Ordering::Relaxed) & !(1 << line));
    });
}

/// Masks and acknowledges `line`. False for a spurious interrupt, which lines 7 and 15 stand for
/// when a request went away before the processor took it.
pub(super) fn acknowledge(line: u8) -> bool {
    let command = if line < 8 { FIRST_COMMAND } else { SECOND_COMMAND };
    let spurious = line % 8 == 7 && in_service(command) & 0x80 == 0;
    if !spurious {
        mask(line);
        out(command, SPECIFIC_EOI | (line % 8));
    }
    // The first controller does not know that the second one's request was spurious.
    if line >= 8 {
        out(FIRST_COMMAND, SPECIFIC_EOI | CASCADE);
    }
    !spurious
}

fn in_service(command: u16) -> u8 {
    out(command, READ_IN_SERVICE);
    // SAFETY: reading the register selected above has no side effect.
    unsafe { Port::new(command).read() }
}

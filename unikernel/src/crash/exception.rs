//! Processor exceptions: all but one are bugs here, and end in a dump and the machine's end.

use core::fmt;

use x86_64::registers::control::{Cr2, Cr3};

use super::end;
use super::nmi::on_nmi;
use crate::arch::interrupts::Frame;
use crate::console;

/// Names by vector (Intel SDM volume 3, table 6-1).
const NAMES: [&str; 22] = [
    "divide error",
    "debug",
    "non-maskable interrupt",
    "breakpoint",
    "overflow",
    "bound range exceeded",
    "invalid opcode",
    "no FPU",
    "double fault",
    "coprocessor overrun",
    "invalid TSS",
    "segment not present",
    "stack fault",
    "general protection",
    "page fault",
    "reserved",
    "x87 error",
    "alignment check",
    "machine check",
    "SIMD error",
    "virtualization exception",
    "control protection",
];
const NMI: u64 = 2;
const DOUBLE_FAULT: u64 = 8;
const PAGE_FAULT: u64 = 14;

// From entry.s.
unsafe extern "C" {
    static stack_guard: u8;
    static stack_bottom: u8;
}

/// Prints the context on the console and ends the machine. Returns from what is no fault.
pub(crate) fn on_exception(frame: &Frame) {
    if frame.vector == NMI {
        return on_nmi(frame);
    }
    console::finish();
    let name = NAMES.get(frame.vector as usize).unwrap_or(&"reserved");
    let cr2 = Cr2::read_raw();
    crate::println!(
        "exception: {name} (vector {}, error code {:#x}) at {:#x}",
        frame.vector,
        frame.error_code,
        frame.rip
    );
    if frame.vector == PAGE_FAULT {
        crate::println!("  {} {cr2:#x}", Access(frame.error_code));
    } else if frame.error_code != 0 && frame.vector != DOUBLE_FAULT {
        crate::println!("  {}", Selector(frame.error_code));
    }
    let guard = &raw const stack_guard as u64..&raw const stack_bottom as u64;
    if matches!(frame.vector, PAGE_FAULT | DOUBLE_FAULT) && guard.contains(&cr2) {
        crate::println!("  the stack overflowed into its guard page");
    }
    let registers = [
        ("rax", frame.rax, "rbx", frame.rbx, "rcx", frame.rcx),
        ("rdx", frame.rdx, "rsi", frame.rsi, "rdi", frame.rdi),
        ("rbp", frame.rbp, "rsp", frame.rsp, "r8 ", frame.r8),
        ("r9 ", frame.r9, "r10", frame.r10, "r11", frame.r11),
        ("r12", frame.r12, "r13", frame.r13, "r14", frame.r14),
        ("r15", frame.r15, "rip", frame.rip, "rfl", frame.rflags),
        ("cr2", cr2, "cr3", Cr3::read().0.start_address().as_u64(), "cs ", frame.cs),
    ];
    for (a, x, b, y, c, z) in registers {
        crate::println!("  {a} {x:016x}  {b} {y:016x}  {c} {z:016x}");
    }
    end(frame.rbp)
}

/// A page fault's error code in words (Intel SDM volume 3, section 4.7).
struct Access(u64);

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has = |bit: u32| self.0 & 1 << bit != 0;
        let access = if has(4) {
            "instruction fetch from"
        } else if has(1) {
            "write to"
        } else {
            "read of"
        };
        let cause = if has(3) {
            "an entry with reserved bits set"
        } else if has(0) {
            "a page that forbids it"
        } else {
            "an unmapped page"
        };
        write!(f, "{access} {cause}:")
    }
}

/// The error code of a segment-related fault in words (Intel SDM volume 3, section 6.13).
struct Selector(u64);

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = match self.0 >> 1 & 3 {
            0 => "GDT",
            2 => "LDT",
            _ => "IDT",
        };
        write!(f, "{table} entry {}", self.0 >> 3)
    }
}

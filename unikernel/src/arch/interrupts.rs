//! Interrupt vectors: the descriptor table, and who handles what.

use core::arch::global_asm;

use x86_64::VirtAddr;
use x86_64::instructions::segmentation::{CS, Segment};
use x86_64::instructions::tables::lidt;
use x86_64::structures::DescriptorTablePointer;

use super::{exceptions, lapic, pic, segments};
use crate::irq::{self, MESSAGES, MsiMessage};

/// Vectors 0 to 31 are the processor's own.
const EXCEPTIONS: u8 = 32;
/// The two 8259s' sixteen lines.
pub(super) const LINES: u8 = 0x20;
/// Message-signalled interrupts.
const FIRST_MESSAGE: u8 = 0x30;
const LAST_MESSAGE: u8 = FIRST_MESSAGE + (MESSAGES as u8 - 1);
/// The local APIC's timer.
pub(super) const TIMER: u8 = 0xf0;
/// The local APIC's "nothing there after all", which wants no end-of-interrupt.
pub(super) const SPURIOUS: u8 = 0xff;

/// The interrupted context, as interrupts.s lays it out on the stack.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Frame {
    pub(super) r15: u64,
    pub(super) r14: u64,
    pub(super) r13: u64,
    pub(super) r12: u64,
    pub(super) r11: u64,
    pub(super) r10: u64,
    pub(super) r9: u64,
    pub(super) r8: u64,
    pub(super) rbp: u64,
    pub(super) rdi: u64,
    pub(super) rsi: u64,
    pub(super) rdx: u64,
    pub(super) rcx: u64,
    pub(super) rbx: u64,
    pub(super) rax: u64,
    pub(super) vector: u64,
    pub(super) error_code: u64,
    pub(super) rip: u64,
    pub(super) cs: u64,
    pub(super) rflags: u64,
    pub(super) rsp: u64,
    pub(super) ss: u64,
}

global_asm!(include_str!("interrupts.s"), dispatch = sym dispatch);

unsafe extern "C" {
    /// 256 entries of 16 bytes.
    static interrupt_entries: [[u8; 16]; 256];
}

/// A 64-bit interrupt gate (Intel SDM volume 3, section 6.14.1).
#[derive(Clone, Copy)]
#[repr(C, align(16))]
struct Gate {
    offset_0: u16,
    selector: u16,
    stack: u8,
    kind: u8,
    offset_16: u16,
    offset_32: u32,
    reserved: u32,
}

impl Gate {
    const MISSING: Self = Self {
        offset_0: 0,
        selector: 0,
        stack: 0,
        kind: 0,
        offset_16: 0,
        offset_32: 0,
        reserved: 0,
    };
    /// Present, ring 0, interrupt gate: interrupts stay off in the handler.
    const INTERRUPT: u8 = 0x8e;

    fn new(handler: u64, stack: u8) -> Self {
        Self {
            offset_0: handler as u16,
            selector: CS::get_reg().0,
            stack,
            kind: Self::INTERRUPT,
            offset_16: (handler >> 16) as u16,
            offset_32: (handler >> 32) as u32,
            reserved: 0,
        }
    }
}

static mut IDT: [Gate; 256] = [Gate::MISSING; 256];

/// Loads the table.
///
/// # Safety
/// Called once, after the segments are loaded.
pub(super) unsafe fn init() {
    let idt = &raw mut IDT;
    // SAFETY: called once, so this is the only reference there ever is.
    let idt = unsafe { &mut *idt };
    for (vector, gate) in idt.iter_mut().enumerate() {
        // SAFETY: taking the address of a symbol that interrupts.s defines.
        let entry = unsafe { &raw const interrupt_entries[vector] };
        let stack = match vector {
            2 => segments::NMI_STACK,
            8 => segments::DOUBLE_FAULT_STACK,
            18 => segments::MACHINE_CHECK_STACK,
            _ => 0,
        };
        *gate = Gate::new(entry as u64, stack);
    }
    let pointer = DescriptorTablePointer {
        limit: (size_of_val(idt) - 1) as u16,
        base: VirtAddr::from_ptr(idt),
    };
    // SAFETY: the table is static and every gate leads to an entry that restores the context.
    unsafe { lidt(&pointer) };
}

extern "C" fn dispatch(frame: &Frame) {
    match frame.vector as u8 {
        vector if vector < EXCEPTIONS => exceptions::die(frame),
        TIMER => {
            lapic::end_of_interrupt();
            crate::time::on_timer();
        }
        vector @ FIRST_MESSAGE..=LAST_MESSAGE => {
            lapic::end_of_interrupt();
            irq::raise_message((vector - FIRST_MESSAGE).into());
        }
        vector @ LINES..FIRST_MESSAGE => {
            if pic::acknowledge(vector - LINES) {
                irq::raise_line(vector - LINES);
            }
        }
        // Spurious, or a vector nobody was given.
        SPURIOUS => {}
        _ => lapic::end_of_interrupt(),
    }
}

/// The message that raises `irq`'s message `index` on this processor
/// (Intel SDM volume 3, section 11.11: physical destination, fixed, edge).
pub(crate) fn message(index: usize) -> MsiMessage {
    let destination = u64::from(lapic::id() & 0xff) << 12;
    MsiMessage { address: 0xfee0_0000 | destination, data: u32::from(FIRST_MESSAGE) + index as u32 }
}

pub(crate) use pic::{has_lines, mask, unmask};

//! The interrupt descriptor table, and what a handler does.
//!
//! A handler does next to nothing: it ends the interrupt and notes what was raised. The executor
//! asks for that with [`take_raised`] between two rounds of its tasks, and wakes whoever waits. So
//! no code above this module runs in a handler, where it could find the heap or any other
//! structure half-changed, but for two: an exception is passed on at once, since all but a
//! non-maskable interrupt are the end of the machine; and the timer's interrupt has a watch, for
//! which the executor is what it has doubts about.

use core::arch::global_asm;
use core::cell::Cell;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use critical_section::Mutex;
use x86_64::VirtAddr;
use x86_64::instructions::hlt;
use x86_64::instructions::interrupts::enable_and_hlt;
use x86_64::instructions::segmentation::{CS, Segment};
use x86_64::instructions::tables::lidt;
use x86_64::structures::DescriptorTablePointer;

use super::vectors::{EXCEPTIONS, FIRST_MESSAGE, LINES, MESSAGES, SPURIOUS, TIMER};
use super::{lapic, pic, segments};

const LAST_MESSAGE: u8 = FIRST_MESSAGE + (MESSAGES as u8 - 1);

/// The interrupted context, as interrupts.s lays it out on the stack.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Frame {
    pub(crate) r15: u64,
    pub(crate) r14: u64,
    pub(crate) r13: u64,
    pub(crate) r12: u64,
    pub(crate) r11: u64,
    pub(crate) r10: u64,
    pub(crate) r9: u64,
    pub(crate) r8: u64,
    pub(crate) rbp: u64,
    pub(crate) rdi: u64,
    pub(crate) rsi: u64,
    pub(crate) rdx: u64,
    pub(crate) rcx: u64,
    pub(crate) rbx: u64,
    pub(crate) rax: u64,
    pub(crate) vector: u64,
    pub(crate) error_code: u64,
    pub(crate) rip: u64,
    pub(crate) cs: u64,
    pub(crate) rflags: u64,
    pub(crate) rsp: u64,
    pub(crate) ss: u64,
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

/// What an interrupt means.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Raised {
    /// The local APIC's timer has expired.
    Timer,
    /// An 8259's line is asserted, and masked by now.
    Line(u8),
    /// A device has sent the message of that number.
    Message(usize),
}

// What was raised and not taken yet: a bit each.
static MESSAGES_RAISED: AtomicU64 = AtomicU64::new(0);
/// The lines, from bit 0, and the timer.
static OTHERS_RAISED: AtomicU64 = AtomicU64::new(0);
const TIMER_BIT: u32 = 63;

const _: () = assert!(MESSAGES <= 64, "a bit for each message");

/// The processor runs a handler. Handlers do not nest: interrupts are off in them.
static IN_HANDLER: AtomicBool = AtomicBool::new(false);

static ON_EXCEPTION: Mutex<Cell<fn(&Frame)>> = Mutex::new(Cell::new(|_| {
    loop {
        hlt();
    }
}));

/// What is told of the timer's interrupts.
pub(crate) type TimerWatch = fn(&Frame, bool);

static ON_TIMER: Mutex<Cell<Option<TimerWatch>>> = Mutex::new(Cell::new(None));
/// The processor waits for an interrupt, and has nothing else to do.
static IS_ASLEEP: AtomicBool = AtomicBool::new(false);

/// Has `watch` called at each interrupt of the timer that comes while the processor is not asleep.
/// It is told what was interrupted, and whether the timer's interrupt before this one was not
/// [taken](take_raised) yet. It runs in the handler.
pub(crate) fn set_timer_watch(watch: TimerWatch) {
    critical_section::with(|section| ON_TIMER.borrow(section).set(Some(watch)));
}

/// Switches interrupts on and sleeps until one comes. None is lost in between: `sti` takes effect
/// only after the `hlt` behind it has begun (Intel SDM volume 2, STI).
pub(crate) fn enable_and_sleep() {
    IS_ASLEEP.store(true, Ordering::Relaxed);
    enable_and_hlt();
    IS_ASLEEP.store(false, Ordering::Relaxed);
}

/// Has exceptions passed on to `handler`.
pub(super) fn set_exception_handler(handler: fn(&Frame)) {
    critical_section::with(|section| ON_EXCEPTION.borrow(section).set(handler));
}

/// Whether this is called from an interrupt handler.
#[inline]
pub(crate) fn in_handler() -> bool {
    IN_HANDLER.load(Ordering::Relaxed)
}

/// Whether something was raised since it was last taken.
pub(crate) fn is_raised() -> bool {
    MESSAGES_RAISED.load(Ordering::Acquire) | OTHERS_RAISED.load(Ordering::Acquire) != 0
}

/// Takes what was raised, each thing once however often it was.
pub(crate) fn take_raised() -> impl Iterator<Item = Raised> {
    let others = bits(OTHERS_RAISED.swap(0, Ordering::Acquire)).map(|bit| match bit {
        TIMER_BIT => Raised::Timer,
        line => Raised::Line(line as u8),
    });
    let messages = bits(MESSAGES_RAISED.swap(0, Ordering::Acquire));
    others.chain(messages.map(|message| Raised::Message(message as usize)))
}

/// The numbers of the bits that are set.
fn bits(mut word: u64) -> impl Iterator<Item = u32> {
    core::iter::from_fn(move || {
        let bit = word.trailing_zeros();
        word &= word.wrapping_sub(1);
        (bit < u64::BITS).then_some(bit)
    })
}

extern "C" fn dispatch(frame: &Frame) {
    let vector = frame.vector as u8;
    if vector < EXCEPTIONS {
        return critical_section::with(|section| ON_EXCEPTION.borrow(section).get())(frame);
    }
    IN_HANDLER.store(true, Ordering::Relaxed);
    interrupt(vector, frame);
    IN_HANDLER.store(false, Ordering::Relaxed);
}

fn interrupt(vector: u8, frame: &Frame) {
    match vector {
        TIMER => {
            lapic::end_of_interrupt();
            let before = OTHERS_RAISED.fetch_or(1 << TIMER_BIT, Ordering::Release);
            let watch = critical_section::with(|section| ON_TIMER.borrow(section).get());
            if let Some(watch) = watch.filter(|_| !IS_ASLEEP.load(Ordering::Relaxed)) {
                watch(frame, before & 1 << TIMER_BIT != 0);
            }
        }
        FIRST_MESSAGE..=LAST_MESSAGE => {
            lapic::end_of_interrupt();
            MESSAGES_RAISED.fetch_or(1 << (vector - FIRST_MESSAGE), Ordering::Release);
        }
        LINES..FIRST_MESSAGE => {
            if pic::acknowledge(vector - LINES) {
                OTHERS_RAISED.fetch_or(1 << (vector - LINES), Ordering::Release);
            }
        }
        // Spurious, or a vector nobody was given.
        SPURIOUS => {}
        _ => lapic::end_of_interrupt(),
    }
}

/// Address and data of the write that raises message `index` on this processor
/// (Intel SDM volume 3, section 11.11: physical destination, fixed, edge).
pub(crate) fn message(index: usize) -> (u64, u32) {
    let destination = u64::from(lapic::id() & 0xff) << 12;
    (0xfee0_0000 | destination, u32::from(FIRST_MESSAGE) + index as u32)
}

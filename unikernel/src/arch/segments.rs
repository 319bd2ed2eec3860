//! Segments and the task state segment: flat, ring 0 only, with stacks of their own for the
//! faults that may find the current one unusable.

use core::cell::UnsafeCell;

use x86_64::VirtAddr;
use x86_64::instructions::segmentation::{CS, SS, Segment};
use x86_64::instructions::tables::load_tss;
use x86_64::registers::segmentation::SegmentSelector;
use x86_64::structures::gdt::{Descriptor, GlobalDescriptorTable};
use x86_64::structures::tss::TaskStateSegment;

/// Interrupt stack table slots, as the gates name them (1 to 7; 0 means "stay on this stack").
pub(super) const DOUBLE_FAULT_STACK: u8 = 1;
pub(super) const NMI_STACK: u8 = 2;
pub(super) const MACHINE_CHECK_STACK: u8 = 3;

const STACK_SIZE: usize = 16 << 10;

#[repr(C, align(16))]
struct Stack(UnsafeCell<[u8; STACK_SIZE]>);

// SAFETY: only the processor writes to a stack, and there is one processor.
unsafe impl Sync for Stack {}

static STACKS: [Stack; 3] = [const { Stack(UnsafeCell::new([0; STACK_SIZE])) }; 3];

static mut TSS: TaskStateSegment = TaskStateSegment::new();
static mut GDT: GlobalDescriptorTable = GlobalDescriptorTable::new();

/// Loads the tables.
///
/// # Safety
/// Called once, before anything else uses them.
pub(super) unsafe fn init() {
    let tss = &raw mut TSS;
    // SAFETY: called once, so this is the only reference there ever is.
    let tss = unsafe { &mut *tss };
    let mut stacks = [VirtAddr::zero(); 7];
    for (slot, stack) in stacks.iter_mut().zip(&STACKS) {
        *slot = VirtAddr::from_ptr(stack.0.get()) + STACK_SIZE as u64;
    }
    tss.interrupt_stack_table = stacks;
    let gdt = &raw mut GDT;
    // SAFETY: as above.
    let gdt = unsafe { &mut *gdt };
    let code = gdt.append(Descriptor::kernel_code_segment());
    let tss = gdt.append(Descriptor::tss_segment(tss));
    gdt.load();
    // SAFETY: the selector names a 64-bit code segment of the table just loaded.
    unsafe { CS::set_reg(code) };
    // SAFETY: a null SS is valid in 64-bit mode at ring 0.
    unsafe { SS::set_reg(SegmentSelector(0)) };
    // SAFETY: the selector names the task state segment of the table just loaded.
    unsafe { load_tss(tss) };
}

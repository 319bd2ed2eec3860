//! The kernel heap.
//!
//! Interrupt handlers must not allocate: the allocator's lock spins, and there is one processor.

use core::ops::Range;

use linked_list_allocator::LockedHeap;

#[global_allocator]
static HEAP: LockedHeap = LockedHeap::empty();

/// Gives the heap its memory: physical addresses, mapped, nobody else's.
///
/// # Safety
/// The range is identity-mapped, writable, and used by nothing else from now on. Called once.
pub(crate) unsafe fn init(range: Range<u64>) {
    let len = (range.end - range.start) as usize;
    // SAFETY: the caller's promise is the one `init` asks for.
    unsafe { HEAP.lock().init(range.start as *mut u8, len) };
}

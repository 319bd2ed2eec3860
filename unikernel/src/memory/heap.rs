//! The kernel heap.
//!
//! Interrupt handlers cannot use it: they may have interrupted whoever has its lock, and on one
//! processor that one would never get to give the lock back. They do not, since no code but
//! `arch`'s runs in them; should that change, the heap says so instead of waiting for ever.

use core::alloc::{GlobalAlloc, Layout};
use core::ops::Range;
use core::ptr::{NonNull, null_mut};

use linked_list_allocator::{Heap, LockedHeap};

use super::heap_use::HeapUse;
use crate::arch::interrupts::in_handler;

struct KernelHeap(LockedHeap);

#[global_allocator]
static HEAP: KernelHeap = KernelHeap(LockedHeap::empty());

impl KernelHeap {
    #[inline]
    fn with<R>(&self, f: impl FnOnce(&mut Heap) -> R) -> R {
        assert!(!in_handler(), "an interrupt handler uses the heap");
        // One processor, no handler: whoever has the lock cannot be anybody else.
        let mut heap = self.0.try_lock().expect("the heap is used while it is being changed");
        f(&mut heap)
    }
}

// SAFETY: memory comes from `Heap`, which gives out each piece once, of the layout asked for.
unsafe impl GlobalAlloc for KernelHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let block = self.with(|heap| heap.allocate_first_fit(layout));
        block.map_or(null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let Some(block) = NonNull::new(block) else { return };
        // SAFETY: the caller promises that `alloc` gave the block, for this layout.
        self.with(|heap| unsafe { heap.deallocate(block, layout) });
    }
}

/// Gives the heap its memory: physical addresses, mapped, nobody else's.
///
/// # Safety
/// The range is identity-mapped, writable, and used by nothing else from now on. Called once.
pub(crate) unsafe fn init(range: Range<u64>) {
    let len = (range.end - range.start) as usize;
    // SAFETY: the caller's promise is the one `init` asks for.
    HEAP.with(|heap| unsafe { heap.init(range.start as *mut u8, len) });
}

/// How full it is.
pub(super) fn used() -> HeapUse {
    HEAP.with(|heap| HeapUse { size: heap.size(), free: heap.free() })
}

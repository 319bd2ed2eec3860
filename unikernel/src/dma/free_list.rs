//! A list of free runs of one size that knows its length.
//!
//! A Treiber stack: lock-free, last in first out, so that the memory handed out next is the memory
//! most likely still in the cache. Head, length and a tag against ABA share one word, hence one
//! compare-and-exchange for each change, the count included.

use super::atomic::{AtomicU32, AtomicU64, Ordering};

/// No slot. Slots and lengths are below it: [`SLOT_BITS`] have room for 8 GiB of slots.
pub(crate) const NONE: u32 = (1 << SLOT_BITS) - 1;

const SLOT_BITS: u32 = 22;
/// One run more. There are fewer than the length has room for.
const ONE: u64 = 1 << SLOT_BITS;
/// One change more. The tag is in the highest bits, so what it overflows with is gone.
const CHANGE: u64 = 1 << (2 * SLOT_BITS);

/// The list. Its links are kept by whoever has it, one for each slot.
#[derive(Debug)]
pub(crate) struct FreeList {
    /// From the lowest bit: the first slot, the length, a tag that each change advances.
    head: AtomicU64,
}

impl FreeList {
    /// An empty list.
    pub(crate) fn new() -> Self {
        Self { head: AtomicU64::new(u64::from(NONE)) }
    }

    /// How many runs it has.
    #[inline]
    pub(crate) fn len(&self) -> u32 {
        length(self.head.load(Ordering::Relaxed))
    }

    /// Takes the run that was put in last.
    #[inline]
    pub(crate) fn pop(&self, next: &[AtomicU32]) -> Option<u32> {
        let mut old = self.head.load(Ordering::Acquire);
        loop {
            let slot = old as u32 & NONE;
            if slot == NONE {
                return None;
            }
            // Somebody else may have taken the slot and overwritten its link; then the tag has
            // moved on, and the exchange fails.
            let following = next[slot as usize].load(Ordering::Relaxed);
            let new = with_slot(old.wrapping_add(CHANGE - ONE), following);
            let (taken, seen) = (Ordering::Acquire, Ordering::Acquire);
            match self.head.compare_exchange_weak(old, new, taken, seen) {
                Ok(_) => return Some(slot),
                Err(now) => old = now,
            }
        }
    }

    /// Puts a run in.
    #[inline]
    pub(crate) fn push(&self, slot: u32, next: &[AtomicU32]) {
        let mut old = self.head.load(Ordering::Relaxed);
        loop {
            next[slot as usize].store(old as u32 & NONE, Ordering::Relaxed);
            let new = with_slot(old.wrapping_add(CHANGE + ONE), slot);
            let (given, seen) = (Ordering::Release, Ordering::Relaxed);
            match self.head.compare_exchange_weak(old, new, given, seen) {
                Ok(_) => return,
                Err(now) => old = now,
            }
        }
    }
}

/// The same word with that slot as the first.
#[inline]
fn with_slot(head: u64, slot: u32) -> u64 {
    head & !u64::from(NONE) | u64::from(slot)
}

#[inline]
fn length(head: u64) -> u32 {
    (head >> SLOT_BITS) as u32 & NONE
}

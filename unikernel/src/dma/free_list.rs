//! A list of free runs of one size that knows its length.
//!
//! A Treiber stack: lock-free, last in first out, so that the memory handed out next is the memory
//! most likely still in the cache. Head, length and a tag against ABA share one word, hence one
//! compare-and-exchange for each change, the count included.

use super::atomic::{AtomicU32, AtomicU64, Ordering};

/// No slot. Slots and lengths are below it: [`SLOT_BITS`] have room for 8 GiB of slots.
pub(crate) const NONE: u32 = (1 << SLOT_BITS) - 1;

const SLOT_BITS: u32 = 22;
const TAG_SHIFT: u32 = 2 * SLOT_BITS;

/// The list. Its links are kept by whoever has it, one for each slot.
#[derive(Debug)]
pub(crate) struct FreeList {
    /// From the lowest bit: the first slot, the length, a tag that each change advances.
    head: AtomicU64,
}

impl FreeList {
    /// An empty list.
    pub(crate) fn new() -> Self {
        Self { head: AtomicU64::new(head(0, 0, NONE)) }
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
            let new = head(old, length(old) - 1, following);
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
            let new = head(old, length(old) + 1, slot);
            let (given, seen) = (Ordering::Release, Ordering::Relaxed);
            match self.head.compare_exchange_weak(old, new, given, seen) {
                Ok(_) => return,
                Err(now) => old = now,
            }
        }
    }
}

/// The word that follows `old`.
fn head(old: u64, length: u32, slot: u32) -> u64 {
    let tag = (old >> TAG_SHIFT).wrapping_add(1);
    tag << TAG_SHIFT | u64::from(length) << SLOT_BITS | u64::from(slot)
}

fn length(head: u64) -> u32 {
    (head >> SLOT_BITS) as u32 & NONE
}

//! Which run of slots is free, and what the others are used for.
//!
//! A run is 2^order contiguous slots, aligned to its own size. Each order has a free list; what no
//! list has is carved off the pool's untouched rest. Runs are neither split nor merged: a ring that
//! is given back waits for the next ring of that size instead of being eaten by packet buffers, so
//! a driver that left can always come back.
//!
//! Lock-free: the lists are Treiber stacks whose head carries a tag against ABA. Links and states
//! are kept here, in ordinary memory, never in the slots. No `unsafe`; `tests/model-check` compiles
//! this file against loom's atomics.

use super::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use alloc::boxed::Box;

/// Bytes in a slot, as in Linux' swiotlb. A full Ethernet frame fits, and two fit a page.
pub const SLOT_SIZE: usize = 2048;

/// Runs have 1 to 2^5 slots: 2 KiB to 64 KiB, the largest ring of the Intel NICs (4096 × 16 bytes).
pub(crate) const MAX_ORDER: u8 = 5;

/// No slot.
pub(crate) const NONE: u32 = u32::MAX;

/// What a run is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Use {
    /// Nothing. What it contains will never be read.
    Free = 0,
    /// The CPU fills it.
    Cpu = 1,
    /// A device reads it.
    ToDevice = 2,
    /// A device may be writing it.
    FromDevice = 3,
    /// A device wrote it, the CPU is to read it.
    Received = 4,
    /// A ring: a device may be writing parts of it at any time.
    Coherent = 5,
    /// As [`Use::FromDevice`], for a device whose writes the hypervisor's log sees.
    FromHypervisor = 6,
    /// As [`Use::Received`], from such a device.
    ReceivedLogged = 7,
}

impl Use {
    fn from_bits(bits: u8) -> Self {
        match bits {
            0 => Self::Free,
            1 => Self::Cpu,
            2 => Self::ToDevice,
            3 => Self::FromDevice,
            4 => Self::Received,
            6 => Self::FromHypervisor,
            7 => Self::ReceivedLogged,
            _ => Self::Coherent,
        }
    }

    /// Whether what it contains may be known to the guest and not to the hypervisor's log.
    pub(crate) fn is_caught_up(self) -> bool {
        !matches!(self, Self::Free | Self::FromHypervisor | Self::ReceivedLogged)
    }
}

/// The books of a pool.
#[derive(Debug)]
pub(crate) struct Slots {
    /// For a run's first slot: its [`Use`] in bits 0–3 and its order in bits 4–7.
    states: Box<[AtomicU8]>,
    /// For a free run's first slot: the next one of its list.
    next: Box<[AtomicU32]>,
    /// By order: the list's first slot in bits 0–31, a tag that each change advances in bits 32–63.
    heads: [AtomicU64; MAX_ORDER as usize + 1],
    /// The first slot never used so far.
    frontier: AtomicU32,
    /// The device address of slot 0 in units of slots: runs are aligned as devices see them.
    origin: u64,
}

impl Slots {
    /// `count` free slots, the first of which devices see at `origin` × [`SLOT_SIZE`].
    pub(crate) fn new(count: u32, origin: u64) -> Self {
        Self {
            states: (0..count).map(|_| AtomicU8::new(0)).collect(),
            next: (0..count).map(|_| AtomicU32::new(NONE)).collect(),
            heads: core::array::from_fn(|_| AtomicU64::new(u64::from(NONE))),
            frontier: AtomicU32::new(0),
            origin,
        }
    }

    /// How many slots there are.
    pub(crate) fn count(&self) -> u32 {
        self.states.len() as u32
    }

    /// Takes a run of 2^`order` slots and returns its first slot.
    #[inline]
    pub(crate) fn take(&self, order: u8, purpose: Use) -> Option<u32> {
        let slot = self.pop(order).or_else(|| self.carve(order))?;
        self.set(slot, order, purpose);
        Some(slot)
    }

    /// Gives a run back.
    #[inline]
    pub(crate) fn give_back(&self, slot: u32, order: u8) {
        self.set(slot, order, Use::Free);
        self.push(slot, order);
    }

    /// Notes what a run is used for from now on.
    #[inline]
    pub(crate) fn set(&self, slot: u32, order: u8, purpose: Use) {
        // Relaxed: only catch-up and statistics read states, and catch-up's argument needs no order
        // between this store and the run's content (docs/marking-argument.md).
        self.states[slot as usize].store(purpose as u8 | order << 4, Ordering::Relaxed);
    }

    /// The order and use of the run that starts at `slot`.
    pub(crate) fn get(&self, slot: u32) -> (u8, Use) {
        let bits = self.states[slot as usize].load(Ordering::Relaxed);
        (bits >> 4, Use::from_bits(bits & 15))
    }

    /// Every run used so far as (first slot, order, use), in ascending order; free ones too.
    pub(crate) fn runs(&self) -> impl Iterator<Item = (u32, u8, Use)> {
        self.runs_from(0)
    }

    /// The same from a run's first slot on, which it stays for ever.
    pub(crate) fn runs_from(&self, mut slot: u32) -> impl Iterator<Item = (u32, u8, Use)> {
        let end = self.frontier.load(Ordering::Relaxed);
        core::iter::from_fn(move || {
            (slot < end).then(|| {
                let (order, purpose) = self.get(slot);
                let first = slot;
                slot += 1 << order;
                (first, order, purpose)
            })
        })
    }

    /// How many slots are free.
    pub(crate) fn free(&self) -> u32 {
        let used: u32 =
            self.runs().filter(|run| run.2 != Use::Free).map(|(_, order, _)| 1 << order).sum();
        self.count() - used
    }

    fn pop(&self, order: u8) -> Option<u32> {
        let head = &self.heads[usize::from(order)];
        let mut old = head.load(Ordering::Acquire);
        loop {
            let slot = old as u32;
            if slot == NONE {
                return None;
            }
            // May be overwritten by others that took the slot since; then the tag has moved on and
            // the exchange fails.
            let next = self.next[slot as usize].load(Ordering::Relaxed);
            match head.compare_exchange_weak(
                old,
                advance(old, next),
                Ordering::Acquire,
                Ordering::Acquire,
            ) {
                Ok(_) => return Some(slot),
                Err(now) => old = now,
            }
        }
    }

    fn push(&self, slot: u32, order: u8) {
        let head = &self.heads[usize::from(order)];
        let mut old = head.load(Ordering::Relaxed);
        loop {
            self.next[slot as usize].store(old as u32, Ordering::Relaxed);
            match head.compare_exchange_weak(
                old,
                advance(old, slot),
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(now) => old = now,
            }
        }
    }

    /// Takes a run off the untouched rest. The slots skipped for its alignment become free ones.
    #[cold]
    fn carve(&self, order: u8) -> Option<u32> {
        let size = 1u64 << order;
        let mut from = self.frontier.load(Ordering::Relaxed);
        loop {
            let start = (self.origin + u64::from(from)).next_multiple_of(size) - self.origin;
            let end = start + size;
            if end > u64::from(self.count()) {
                return None;
            }
            match self.frontier.compare_exchange_weak(
                from,
                end as u32,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => {
                    (from..start as u32).for_each(|skipped| self.push(skipped, 0));
                    return Some(start as u32);
                }
                Err(now) => from = now,
            }
        }
    }
}

fn advance(head: u64, slot: u32) -> u64 {
    ((head >> 32).wrapping_add(1) << 32) | u64::from(slot)
}

//! Which run of slots is free, and what the others are used for.
//!
//! A run is 2^order contiguous slots, aligned to its own size. Free runs wait in lists, one for
//! each order; what no list has is carved off the pool's untouched rest.
//!
//! A buffer gets no other memory than that: were runs split for buffers, the first shortage of
//! short ones would use up the long ones for good. Rings have lists of their own, so that a driver
//! that left can always come back. A ring may also take a longer run, of which it leaves the rest,
//! and as a last resort free neighbours that together are long enough.
//!
//! Lock-free. Links and states are kept here, in ordinary memory, never in the slots. No `unsafe`;
//! `tests/model-check` compiles this file against loom's atomics.

use super::atomic::{AtomicU8, AtomicU32, Ordering};
use super::free_list::{FreeList, NONE};
use alloc::boxed::Box;
use alloc::vec::Vec;

/// Bytes in a slot, as in Linux' swiotlb. A full Ethernet frame fits, and two fit a page.
pub const SLOT_SIZE: usize = 2048;

/// Runs have 1 to 2^5 slots: 2 KiB to 64 KiB, the largest ring of the Intel NICs (4096 × 16 bytes).
pub(crate) const MAX_ORDER: u8 = 5;

/// The part of the pool that applications leave free, see [`Slots::may_keep`]: a quarter.
const RESERVE: u32 = 4;

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

/// Free runs of one kind of memory, by order.
type Lists = [FreeList; MAX_ORDER as usize + 1];

/// The books of a pool.
#[derive(Debug)]
pub(crate) struct Slots {
    /// For a run's first slot: its [`Use`] in bits 0–3 and its order in bits 4–7.
    states: Box<[AtomicU8]>,
    /// For a free run's first slot: the next one of its list.
    next: Box<[AtomicU32]>,
    /// Free runs that last were buffers, or nothing so far.
    buffers: Lists,
    /// Free runs that last were rings.
    rings: Lists,
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
            buffers: core::array::from_fn(|_| FreeList::new()),
            rings: core::array::from_fn(|_| FreeList::new()),
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
        let lists = self.lists(purpose);
        let slot = lists[usize::from(order)].pop(&self.next);
        let slot = slot.or_else(|| self.find(order, purpose))?;
        self.set(slot, order, purpose);
        Some(slot)
    }

    /// Gives back a run that was last used for `purpose`.
    #[inline]
    pub(crate) fn give_back(&self, slot: u32, order: u8, purpose: Use) {
        self.free_run(self.lists(purpose), slot, order);
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

    /// Runs used so far as (first slot, order, use), free ones too, in ascending order from `slot`
    /// on, which is 0 or once was a run's first.
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

    /// How many slots are free. While others take and give back, a little off.
    pub(crate) fn free(&self) -> u32 {
        self.untouched() + in_lists(&self.buffers) + in_lists(&self.rings)
    }

    /// Whether an application may keep one more received buffer of that order: more than the
    /// reserve is free for such buffers. A few loads, for every packet.
    #[inline]
    pub(crate) fn may_keep(&self, order: u8) -> bool {
        let like_it = self.buffers[usize::from(order)].len() << order;
        self.untouched() + like_it > self.count() / RESERVE
    }

    #[inline]
    fn untouched(&self) -> u32 {
        self.count() - self.frontier.load(Ordering::Relaxed)
    }

    #[inline]
    fn lists(&self, purpose: Use) -> &Lists {
        if purpose == Use::Coherent { &self.rings } else { &self.buffers }
    }

    #[inline]
    fn free_run(&self, lists: &Lists, slot: u32, order: u8) {
        self.set(slot, order, Use::Free);
        lists[usize::from(order)].push(slot, &self.next);
    }

    /// A run where the list of that order has none.
    #[cold]
    fn find(&self, order: u8, purpose: Use) -> Option<u32> {
        let run = self.carve(order);
        if run.is_some() || purpose != Use::Coherent {
            return run;
        }
        let [rings, buffers] = [&self.rings, &self.buffers];
        (self.split(rings, order).or_else(|| self.split(buffers, order)))
            .or_else(|| self.gather(rings, order).or_else(|| self.gather(buffers, order)))
    }

    /// Takes a run off the untouched rest. The slots skipped for its alignment become free ones.
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
                    (from..start as u32).for_each(|slot| self.free_run(&self.buffers, slot, 0));
                    return Some(start as u32);
                }
                Err(now) => from = now,
            }
        }
    }

    /// The first part of the smallest run that is large enough; the other parts become free runs.
    fn split(&self, lists: &Lists, order: u8) -> Option<u32> {
        let (slot, found) = (order..=MAX_ORDER).find_map(|order| {
            lists[usize::from(order)].pop(&self.next).map(|slot| (slot, order))
        })?;
        for half in (order..found).rev() {
            // Shorter first: whoever walks the runs must not step over the half that is free next.
            self.set(slot, half, Use::Free);
            self.free_run(lists, slot + (1 << half), half);
        }
        Some(slot)
    }

    /// Free neighbours that make up a run. Meanwhile the lists have less than is free.
    ///
    /// Whoever walks the runs from a slot inside of it finds the shorter ones, free, and is in step
    /// again where it ends.
    fn gather(&self, lists: &Lists, order: u8) -> Option<u32> {
        let mut runs: Vec<(u32, u8)> = Vec::new();
        for (list, order) in lists.iter().zip(0..) {
            runs.extend(core::iter::from_fn(|| list.pop(&self.next)).map(|slot| (slot, order)));
        }
        runs.sort_unstable();
        // Which possible run of that order a slot is in.
        let place = |slot: u32| (self.origin + u64::from(slot)) >> order;
        let size = |runs: &[(u32, u8)]| runs.iter().map(|run| 1 << run.1).sum::<u32>();
        let mut places = runs.chunk_by(|a, b| place(a.0) == place(b.0));
        let found = places.find(|runs| size(runs) == 1 << order).map(|runs| runs[0].0);
        for (slot, order) in runs {
            if found.map(place) != Some(place(slot)) {
                lists[usize::from(order)].push(slot, &self.next);
            }
        }
        found
    }
}

#[inline]
fn in_lists(lists: &Lists) -> u32 {
    lists.iter().zip(0..).map(|(list, order)| list.len() << order).sum()
}

use core::ops::Range;

use super::atomic::{AtomicU64, Ordering, fence};
use super::marking::Marking;
#[cfg(not(target_os = "none"))]
use super::page_log::PageLog;
use super::slots::{MAX_ORDER, SLOT_SIZE, Slots, Use};
use super::{Error, PAGE_SIZE, Policy, PoolMemory};

/// All the memory devices can see, and who has it.
///
/// One for the machine, in a `static` or leaked: buffers refer to it for as long as they live.
#[derive(Debug)]
pub struct Pool {
    pub(super) memory: PoolMemory,
    pub(super) slots: Slots,
    marking: Marking,
    counters: Counters,
    #[cfg(not(target_os = "none"))]
    pub(super) log: PageLog,
}

#[derive(Debug, Default)]
struct Counters {
    received: AtomicU64,
    marked: AtomicU64,
    caught_up: AtomicU64,
}

/// What the pool counted since boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Pages marked as devices finished with them, catch-up not included.
    pub pages_marked: u64,
    /// Pages marked by catch-up.
    pub pages_caught_up: u64,
    /// Buffers received from devices. Exact as long as one CPU receives at a time.
    pub buffers_received: u64,
    /// Slots nobody has at the moment.
    pub slots_free: u32,
    /// Slots in all.
    pub slots: u32,
}

/// What a call of [`Pool::catch_up`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    /// Pages marked.
    pub pages: u64,
    /// Where the next slice begins; `None` when all is marked.
    pub next: Option<u32>,
}

/// Pages after which a slice of catch-up ends, short of the run it is in. A fault on a logged page
/// takes microseconds on hardware and a third of a millisecond in nested emulation, where this is
/// still less than a receive ring holds.
const SLICE_PAGES: u64 = 16;

impl Pool {
    /// A pool of that memory, all of it free.
    pub fn new(memory: PoolMemory, policy: Policy) -> Self {
        let slot = SLOT_SIZE as u64;
        Self {
            slots: Slots::new((memory.len() / SLOT_SIZE) as u32, memory.device_address() / slot),
            marking: Marking::new(policy),
            counters: Counters::default(),
            #[cfg(not(target_os = "none"))]
            log: PageLog::new(memory.len() / PAGE_SIZE),
            memory,
        }
    }

    /// The hypervisor logs, as one agent sees it: from now on, completed memory is marked (unless
    /// the policy forbids). Balanced by [`Pool::stop_marking`]; several agents may overlap.
    pub fn start_marking(&self) {
        self.marking.start();
    }

    /// The hypervisor logs no longer, as one agent sees it.
    pub fn stop_marking(&self) {
        self.marking.stop();
    }

    /// Nothing will tell when the hypervisor logs: mark always (unless the policy forbids).
    pub fn mark_always(&self) {
        self.marking.pin();
    }

    /// Marks the pages in use, of which a device may have written any unseen, a slice at a time:
    /// from `from`, 0 for the first slice, on. A first write to a logged page costs a fault, and a
    /// NIC is to be served in between. To be called after [`Pool::start_marking`] until
    /// [`Slice::next`] is `None`, and before acknowledging.
    pub fn catch_up(&self, from: u32) -> Slice {
        let mut slice = Slice { pages: 0, next: None };
        if !self.marking.mode().marks() {
            return slice;
        }
        // The flag first, then the states: a run seen as free here is posted to a device, if ever,
        // under a flag that is on (docs/marking-argument.md).
        fence(Ordering::SeqCst);
        let mut last = None;
        for (slot, order, _) in self.slots.runs_from(from).filter(|run| run.2.is_caught_up()) {
            let start = slot as usize * SLOT_SIZE;
            // Runs that share a page go into one slice: one mark is enough for them.
            if slice.pages >= SLICE_PAGES && last != Some(start / PAGE_SIZE) {
                slice.next = Some(slot);
                break;
            }
            for part in pages_of(start..start + (SLOT_SIZE << order)) {
                let page = Some(part.start / PAGE_SIZE);
                if page == last {
                    continue;
                }
                // A device may be writing this run now. It begins at the front, and only the
                // longest frame a buffer can have comes to the last byte. In a ring it may be at
                // any byte; the mark, an atomic add of nothing, takes nothing from it there.
                self.touch(part.end - 1);
                last = page;
                slice.pages += 1;
            }
        }
        self.counters.caught_up.fetch_add(slice.pages, Ordering::Relaxed);
        slice
    }

    /// Pages marked since boot, caught-up ones included.
    pub fn pages_marked(&self) -> u64 {
        self.counters.marked.load(Ordering::Relaxed)
            + self.counters.caught_up.load(Ordering::Relaxed)
    }

    /// The policy given at boot.
    pub fn policy(&self) -> Policy {
        self.marking.policy()
    }

    /// Whether completed memory is being marked.
    pub fn is_marking(&self) -> bool {
        self.marking.mode().marks()
    }

    /// Whether the hypervisor is logging, as far as the agents have told.
    pub fn is_logging(&self) -> bool {
        self.marking.mode().logging()
    }

    /// What was counted so far.
    pub fn statistics(&self) -> Statistics {
        Statistics {
            pages_marked: self.counters.marked.load(Ordering::Relaxed),
            pages_caught_up: self.counters.caught_up.load(Ordering::Relaxed),
            buffers_received: self.counters.received.load(Ordering::Relaxed),
            slots_free: self.slots.free(),
            slots: self.slots.count(),
        }
    }

    /// A device has completed this range of the pool, which is not empty, and the CPU is about to
    /// read it: marks it if that is called for, and returns whether the hypervisor is logging.
    #[inline]
    pub(super) fn completed(&self, range: Range<usize>) -> bool {
        // What the device wrote is read after the done bit that said so. On x86 this orders the
        // compiler only.
        fence(Ordering::Acquire);
        let mode = self.marking.mode();
        if mode.is_idle() {
            return false;
        }
        if mode.marks() {
            self.mark(range);
        }
        mode.logging()
    }

    /// Counts a received buffer. A load and a store: with one receiving CPU that is exact, and a
    /// locked instruction for each packet would cost more than the count is worth.
    #[inline]
    pub(super) fn count_received(&self) {
        let count = self.counters.received.load(Ordering::Relaxed);
        self.counters.received.store(count + 1, Ordering::Relaxed);
    }

    /// One mark for each page of the range, first page last: who sees the beginning of a frame in
    /// the log finds the rest there too.
    ///
    /// A load and a store are enough to count them: should two CPUs mark at once, some are missing
    /// from the statistics, which is all that the count is for, and no mark is.
    #[inline]
    fn mark(&self, range: Range<usize>) {
        debug_assert!(!range.is_empty());
        let first = range.start;
        let pages = match (range.end - 1) / PAGE_SIZE - first / PAGE_SIZE {
            0 => 1,
            _ => self.mark_behind(range),
        };
        self.touch(first);
        let count = self.counters.marked.load(Ordering::Relaxed);
        self.counters.marked.store(count + pages, Ordering::Relaxed);
    }

    /// Marks all pages of a range but the first, the last one first. Returns how many it has.
    #[cold]
    fn mark_behind(&self, range: Range<usize>) -> u64 {
        let second = (range.start / PAGE_SIZE + 1) * PAGE_SIZE;
        pages_of(second..range.end).rev().map(|part| self.touch(part.start)).count() as u64 + 1
    }

    #[inline]
    fn touch(&self, offset: usize) {
        self.memory.touch(offset);
        self.cpu_wrote(offset..offset + 1);
    }

    /// Tells the host's page log, which has no hardware to see it, that the CPU wrote.
    #[inline]
    pub(super) fn cpu_wrote(&self, range: Range<usize>) {
        #[cfg(not(target_os = "none"))]
        self.log.wrote(range);
        #[cfg(target_os = "none")]
        let _ = range;
    }

    #[inline]
    pub(super) fn run<const RING: bool>(
        &'static self,
        order: u8,
        purpose: Use,
    ) -> Option<Run<RING>> {
        Some(Run { slot: self.slots.take(order, purpose)?, order: order.into(), pool: self })
    }

    pub(super) fn run_of<const RING: bool>(
        &'static self,
        bytes: usize,
        purpose: Use,
    ) -> Result<Run<RING>, Error> {
        let order = bytes.div_ceil(SLOT_SIZE).max(1).checked_next_power_of_two();
        let order = order.map_or(u32::MAX, usize::trailing_zeros);
        if order > u32::from(MAX_ORDER) {
            return Err(Error::TooLong { bytes });
        }
        self.run(order as u8, purpose).ok_or(Error::Exhausted { bytes })
    }
}

/// Cuts a range of the pool at page boundaries.
fn pages_of(range: Range<usize>) -> impl DoubleEndedIterator<Item = Range<usize>> {
    let end = if range.is_empty() { 0 } else { range.end.div_ceil(PAGE_SIZE) };
    (range.start / PAGE_SIZE..end)
        .map(move |page| range.start.max(page * PAGE_SIZE)..range.end.min((page + 1) * PAGE_SIZE))
}

/// A run of slots somebody has; it goes back to the pool when dropped. The only handle there is,
/// which is what makes its holder the range's exclusive owner. Whether it is a ring's is in its
/// type: a look into the books when it is given back would be one for each packet.
#[derive(Debug)]
pub(super) struct Run<const RING: bool = false> {
    pub(super) pool: &'static Pool,
    slot: u32,
    /// A word, so that a run has no padding: moving it would copy that as well.
    order: u32,
}

impl<const RING: bool> Run<RING> {
    /// Length in bytes.
    #[inline]
    pub(super) fn capacity(&self) -> usize {
        SLOT_SIZE << self.order
    }

    /// It has 2^this slots.
    #[inline]
    pub(super) fn order(&self) -> u8 {
        self.order as u8
    }

    /// Where it begins in the pool.
    #[inline]
    pub(super) fn offset(&self) -> usize {
        self.slot as usize * SLOT_SIZE
    }

    /// Where it begins as devices see it.
    #[inline]
    pub(super) fn device_address(&self) -> u64 {
        self.pool.memory.device_address() + self.offset() as u64
    }

    /// Notes another use.
    #[inline]
    pub(super) fn becomes(&self, purpose: Use) {
        self.pool.slots.set(self.slot, self.order(), purpose);
    }

    /// A range of the run as a range of the pool, checked.
    #[inline]
    pub(super) fn range(&self, range: Range<usize>) -> Result<Range<usize>, Error> {
        if range.start > range.end || range.end > self.capacity() {
            let end = range.end.max(range.start);
            return Err(Error::OutOfRange { end, capacity: self.capacity() });
        }
        Ok(self.offset() + range.start..self.offset() + range.end)
    }
}

impl<const RING: bool> Drop for Run<RING> {
    #[inline]
    fn drop(&mut self) {
        let purpose = if RING { Use::Coherent } else { Use::Cpu };
        self.pool.slots.give_back(self.slot, self.order(), purpose);
    }
}

//! The kernel's module of that name, as far as it takes part: its files, and what they stand on.

/// Where those files find their atomics.
pub(crate) mod atomic {
    use std::cell::Cell;

    pub(crate) use loom::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

    thread_local! {
        /// The fence that is left out. Loom runs all threads of a model on the one that asked.
        static WITHOUT: Cell<Option<Ordering>> = const { Cell::new(None) };
    }

    /// To see what a fence is good for: those of that kind do nothing in this test any more.
    pub(crate) fn leave_out(fence: Ordering) {
        WITHOUT.set(Some(fence));
    }

    pub(crate) fn fence(order: Ordering) {
        if WITHOUT.get() != Some(order) {
            loom::sync::atomic::fence(order);
        }
    }
}

#[allow(dead_code, unreachable_pub, reason = "part of another crate")]
#[path = "../../../../unikernel/src/dma/error.rs"]
mod error;

#[path = "../../../../unikernel/src/dma/free_list.rs"]
mod free_list;

#[allow(dead_code, unreachable_pub, reason = "part of another crate")]
#[path = "../../../../unikernel/src/dma/slots.rs"]
pub(crate) mod slots;

#[allow(dead_code, unreachable_pub, reason = "part of another crate")]
#[path = "../../../../unikernel/src/dma/marking.rs"]
pub(crate) mod marking;

#[allow(dead_code, unreachable_pub, reason = "part of another crate")]
#[path = "../../../../unikernel/src/dma/pool.rs"]
mod pool;

pub(crate) use error::Error;
pub(crate) use marking::Policy;
pub(crate) use memory::PoolMemory;
pub(crate) use pool::Pool;
use slots::Use;

pub(crate) const PAGE_SIZE: usize = 4096;
pub(crate) const MAX_RUN: usize = slots::SLOT_SIZE << slots::MAX_ORDER;

mod memory {
    use std::ops::Range;

    use super::atomic::{AtomicU32, Ordering};

    /// One page, and what a hypervisor that copies it after the last mark is sure to get. The
    /// device's write and marks are atomic changes of the page, which order nothing else.
    #[derive(Debug, Default)]
    pub(crate) struct PoolMemory {
        page: AtomicU32,
        logged: AtomicU32,
    }

    impl PoolMemory {
        pub(super) fn len(&self) -> usize {
            super::PAGE_SIZE
        }

        pub(super) fn device_address(&self) -> u64 {
            0
        }

        pub(super) fn touch(&self, _: usize) {
            let page = self.page.fetch_add(0, Ordering::Relaxed);
            self.logged.fetch_max(page, Ordering::Relaxed);
        }

        pub(super) fn device_writes(&self) {
            self.page.fetch_add(1, Ordering::Relaxed);
        }

        pub(super) fn logged(&self) -> u32 {
            self.logged.load(Ordering::Acquire)
        }
    }

    /// Marks are enough here.
    #[derive(Debug)]
    pub(super) struct PageLog;

    impl PageLog {
        pub(super) fn new(_: usize) -> Self {
            Self
        }

        pub(super) fn wrote(&self, _: Range<usize>) {}
    }
}

/// Where the pool finds what stands in for hardware on the host.
mod page_log {
    pub(super) use super::memory::PageLog;
}

impl Pool {
    /// The receive path of one buffer, from posting it on; what `Stream` and drivers do.
    pub(crate) fn receive_one(&'static self, doorbell: impl Fn()) {
        let run = self.run::<false>(0, Use::FromDevice).expect("there is one");
        doorbell();
        self.memory.device_writes();
        // The done bit was seen: this is later than the write.
        self.completed(run.offset()..run.offset() + 1);
        run.becomes(Use::Received);
        std::mem::forget(run);
    }

    /// How many of the device's writes the hypervisor is sure to have.
    pub(crate) fn logged(&self) -> u32 {
        self.memory.logged()
    }
}

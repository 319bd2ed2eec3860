use core::ops::Range;
use core::sync::atomic::{AtomicBool, Ordering};
use std::boxed::Box;
use std::vec::Vec;

use super::PAGE_SIZE;

/// A hypervisor's dirty log: pages the CPU wrote while it was on.
#[derive(Debug)]
pub struct PageLog {
    on: AtomicBool,
    dirty: Box<[AtomicBool]>,
}

impl PageLog {
    pub(super) fn new(pages: usize) -> Self {
        let dirty = (0..pages).map(|_| AtomicBool::new(false)).collect();
        Self { on: AtomicBool::new(false), dirty }
    }

    /// Starts logging with a clean log.
    pub fn start(&self) {
        self.take();
        self.on.store(true, Ordering::SeqCst);
    }

    /// Stops logging.
    pub fn stop(&self) {
        self.on.store(false, Ordering::SeqCst);
    }

    /// The dirty pages' numbers in ascending order; they are clean from now on.
    pub fn take(&self) -> Vec<usize> {
        (0..self.dirty.len()).filter(|&n| self.dirty[n].swap(false, Ordering::SeqCst)).collect()
    }

    pub(super) fn wrote(&self, range: Range<usize>) {
        if self.on.load(Ordering::SeqCst) && !range.is_empty() {
            for page in &self.dirty[range.start / PAGE_SIZE..=(range.end - 1) / PAGE_SIZE] {
                page.store(true, Ordering::SeqCst);
            }
        }
    }
}

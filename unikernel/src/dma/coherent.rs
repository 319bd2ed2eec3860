use core::marker::PhantomData;
use core::ops::Range;
use core::sync::atomic::{Ordering, fence};

use zerocopy::{FromBytes, IntoBytes};

use super::pool::Run;

/// An array that the CPU and a device share at all times: a descriptor ring, a head write-back.
///
/// Elements are read and written whole and volatile; every index is checked. Dropping it gives the
/// memory back: a driver does that only once the device cannot reach it any more.
#[derive(Debug)]
#[must_use = "dropping it gives the memory back while a device may still have its address"]
pub struct Coherent<T> {
    run: Run,
    len: usize,
    element: PhantomData<T>,
}

impl<T: FromBytes + IntoBytes> Coherent<T> {
    pub(super) fn new(run: Run, len: usize) -> Self {
        const { assert!(size_of::<T>() != 0 && align_of::<T>() <= super::SLOT_SIZE) };
        let range = run.offset()..run.offset() + run.capacity();
        // SAFETY: the run was just taken, and no device has been told of it.
        unsafe { run.pool.memory.bytes_mut(range.clone()) }.fill(0);
        run.pool.cpu_wrote(range);
        Self { run, len, element: PhantomData }
    }

    /// The address to give to the device.
    pub fn device_address(&self) -> u64 {
        self.run.device_address()
    }

    /// Number of elements.
    #[inline]
    #[allow(clippy::len_without_is_empty, reason = "a ring is not a collection")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Reads an element, which a device may be writing: parts of it may be old and parts new.
    ///
    /// # Panics
    /// If `index` is not below [`Coherent::len`].
    #[inline]
    pub fn read(&self, index: usize) -> T {
        self.run.pool.memory.read(self.offset(index))
    }

    /// Reads an element if the device is done with it: `done` tells from a first read, and what is
    /// returned comes from a second one, so that no part of it is older than the done bit.
    ///
    /// # Panics
    /// If `index` is not below [`Coherent::len`].
    #[inline]
    pub fn read_if(&self, index: usize, done: impl FnOnce(&T) -> bool) -> Option<T> {
        done(&self.read(index)).then(|| {
            fence(Ordering::Acquire);
            self.read(index)
        })
    }

    /// Writes an element. What the CPU wrote to memory before is visible to the device first.
    ///
    /// # Panics
    /// If `index` is not below [`Coherent::len`].
    #[inline]
    pub fn write(&mut self, index: usize, value: T) {
        let offset = self.offset(index);
        fence(Ordering::Release);
        self.run.pool.memory.write(offset, value);
        self.run.pool.cpu_wrote(offset..offset + size_of::<T>());
    }

    /// Marks elements that the device wrote back, if marking is on: once for each batch reaped,
    /// before the first of them is handed to the device again.
    ///
    /// # Panics
    /// If the range ends above [`Coherent::len`]; a batch that wraps is two ranges.
    #[inline]
    pub fn mark(&self, range: Range<usize>) {
        if !range.is_empty() {
            let last = self.offset(range.end - 1);
            self.run.pool.completed(self.offset(range.start)..last + size_of::<T>());
        }
    }

    #[inline]
    fn offset(&self, index: usize) -> usize {
        assert!(index < self.len, "element {index} of a ring of {}", self.len);
        self.run.offset() + index * size_of::<T>()
    }
}

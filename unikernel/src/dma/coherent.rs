use core::ops::Range;
use core::sync::atomic::{Ordering, fence};

use zerocopy::{FromBytes, IntoBytes};

use super::Error;
use super::memory::Elements;
use super::pool::{Pool, Run};
use super::slots::Use;

/// That a device has reported memory as completed: a driver saw it in a ring, and has it to show
/// when it takes the memory back.
#[derive(Debug)]
pub struct Completed(());

impl Completed {
    #[cfg(not(target_os = "none"))]
    pub(super) fn by_a_fake() -> Self {
        Self(())
    }
}

impl Pool {
    /// Zeroed memory for `count` elements that the CPU and a device share: a ring. Its device
    /// address is a multiple of `align`.
    ///
    /// # Errors
    /// [`Error::TooLong`] above [`MAX_RUN`](super::MAX_RUN), [`Error::Alignment`] above that or if
    /// not a power of two, [`Error::Exhausted`].
    pub fn coherent<T>(&'static self, count: usize, align: usize) -> Result<Coherent<T>, Error>
    where
        T: FromBytes + IntoBytes,
    {
        if !align.is_power_of_two() || align > super::MAX_RUN {
            return Err(Error::Alignment { align });
        }
        let bytes = count.saturating_mul(size_of::<T>());
        // Runs are aligned to their size, so a larger alignment is a larger run.
        let run = self.run_of(bytes.max(align), Use::Coherent)?;
        Ok(Coherent::new(run, count))
    }
}

/// An array that the CPU and a device share at all times: a descriptor ring, a head write-back.
///
/// Elements are read and written whole and volatile; every index is checked. Dropping it gives the
/// memory back, so a driver puts it in the device's [`Dma`](crate::pci::Dma).
#[derive(Debug)]
#[must_use = "dropping it gives the memory back while a device may still have its address"]
pub struct Coherent<T> {
    run: Run<true>,
    elements: Elements<T>,
}

impl<T: FromBytes + IntoBytes> Coherent<T> {
    fn new(run: Run<true>, len: usize) -> Self {
        const { assert!(size_of::<T>() != 0 && align_of::<T>() <= super::SLOT_SIZE) };
        let range = run.offset()..run.offset() + run.capacity();
        // SAFETY: the run was just taken, and no device has been told of it.
        unsafe { run.pool.memory.bytes_mut(range.clone()) }.fill(0);
        run.pool.cpu_wrote(range);
        // SAFETY: the run is this ring's alone from here on, and outlives the elements.
        let elements = unsafe { run.pool.memory.elements(run.offset(), len) };
        Self { run, elements }
    }

    /// The address to give to the device.
    pub fn device_address(&self) -> u64 {
        self.run.device_address()
    }

    /// Number of elements.
    #[inline]
    #[allow(clippy::len_without_is_empty, reason = "a ring is not a collection")]
    pub fn len(&self) -> usize {
        self.elements.len()
    }

    /// Reads an element, which a device may be writing: parts of it may be old and parts new.
    ///
    /// # Panics
    /// If `index` is not below [`Coherent::len`].
    #[inline]
    pub fn read(&self, index: usize) -> T {
        self.elements.read(index)
    }

    /// Reads the element in which a device reports, and looks for the report with `report`. If
    /// there is one, what the device wrote before it is read after this.
    ///
    /// # Panics
    /// If `index` is not below [`Coherent::len`].
    #[inline]
    pub fn completed<R>(
        &self,
        index: usize,
        report: impl FnOnce(T) -> Option<R>,
    ) -> Option<(R, Completed)> {
        let report = report(self.read(index))?;
        // On x86 this orders the compiler only.
        fence(Ordering::Acquire);
        Some((report, Completed(())))
    }

    /// Writes an element. What the CPU wrote to memory before is visible to the device first.
    ///
    /// # Panics
    /// If `index` is not below [`Coherent::len`].
    #[inline]
    pub fn write(&mut self, index: usize, value: T) {
        fence(Ordering::Release);
        self.elements.write(index, value);
        let offset = self.run.offset() + index * size_of::<T>();
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
        assert!(index < self.len(), "element {index} of a ring of {}", self.len());
        self.run.offset() + index * size_of::<T>()
    }
}

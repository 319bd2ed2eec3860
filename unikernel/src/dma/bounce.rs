//! Memory that a device cannot or may not reach, copied through the pool.

use core::marker::PhantomData;
use core::ops::Range;

use super::pool::Run;
use super::stream::use_of;
use super::{DeviceWrites, Direction, Error, Pool, ToDevice};

/// Memory outside the pool, mapped for a device by way of a copy inside.
///
/// The device sees the copy. The owner's memory and the copy meet where the directions say: at
/// [`Pool::map`] and `sync_for_device` towards the device, at `sync_for_cpu` and `unmap` towards
/// the CPU.
#[derive(Debug)]
#[must_use = "dropping it gives the copy back while a device may still have its address"]
pub struct Mapping<M, D: Direction> {
    run: Run,
    memory: M,
    len: usize,
    direction: PhantomData<D>,
}

impl Pool {
    /// Maps `memory` for a device that can form addresses up to `mask`.
    ///
    /// # Errors
    /// [`Error::TooLong`] above [`MAX_RUN`](super::MAX_RUN), [`Error::Exhausted`],
    /// [`Error::AboveMask`] if the copy would be out of the device's reach.
    pub fn map<D: Direction, M: AsRef<[u8]>>(
        &'static self,
        memory: M,
        mask: u64,
    ) -> Result<Mapping<M, D>, Error> {
        self.check_mask(mask)?;
        let len = memory.as_ref().len();
        let run = self.run_of(len, use_of::<D>())?;
        let mut mapping = Mapping { run, memory, len, direction: PhantomData };
        if D::DEVICE_READS {
            mapping.copy_out(0..len)?;
        }
        Ok(mapping)
    }
}

impl<M: AsRef<[u8]>, D: Direction> Mapping<M, D> {
    /// The address to give to the device.
    pub fn device_address(&self) -> u64 {
        self.run.device_address()
    }

    /// The owner's memory: what the CPU wrote, and what was last brought over from the device.
    pub fn memory(&self) -> &M {
        &self.memory
    }

    /// The owner's memory, to be changed. The device sees it after `sync_for_device`.
    pub fn memory_mut(&mut self) -> &mut M {
        &mut self.memory
    }

    /// Hands a range to the device: brings over what the CPU wrote, if the device reads.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] if the range is not inside the memory.
    pub fn sync_for_device(&mut self, range: Range<usize>) -> Result<(), Error> {
        let range = self.checked(range)?;
        if D::DEVICE_READS { self.copy_out(range) } else { Ok(()) }
    }

    fn copy_out(&mut self, range: Range<usize>) -> Result<(), Error> {
        let source = self.memory.as_ref().get(range.clone());
        let capacity = self.memory.as_ref().len();
        let source = source.ok_or(Error::OutOfRange { end: range.end, capacity })?;
        let target = self.run.range(range)?;
        // SAFETY: the run is this mapping's alone, and the caller says it is the CPU's turn.
        unsafe { self.run.pool.memory.bytes_mut(target.clone()) }.copy_from_slice(source);
        self.run.pool.cpu_wrote(target);
        // Before whatever tells the device.
        core::sync::atomic::fence(core::sync::atomic::Ordering::Release);
        Ok(())
    }

    fn checked(&self, range: Range<usize>) -> Result<Range<usize>, Error> {
        if range.start <= range.end && range.end <= self.len {
            Ok(range)
        } else {
            Err(Error::OutOfRange { end: range.end.max(range.start), capacity: self.len })
        }
    }
}

impl<M> Mapping<M, ToDevice> {
    /// The device has read it: gives the memory back.
    pub fn unmap(self) -> M {
        self.memory
    }
}

impl<M: AsRef<[u8]> + AsMut<[u8]>, D: DeviceWrites> Mapping<M, D> {
    /// The device has written this range: brings it over, marked if marking is on, and returns it.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] if the range is not inside the memory.
    pub fn sync_for_cpu(&mut self, range: Range<usize>) -> Result<&[u8], Error> {
        let range = self.checked(range)?;
        let source = self.run.range(range.clone())?;
        self.run.pool.completed(source.clone());
        let capacity = self.memory.as_ref().len();
        let target = self.memory.as_mut().get_mut(range.clone());
        let target = target.ok_or(Error::OutOfRange { end: range.end, capacity })?;
        // SAFETY: the run is this mapping's alone, and the device has completed the range.
        target.copy_from_slice(unsafe { self.run.pool.memory.bytes(source) });
        Ok(target)
    }

    /// The device has written `len` bytes and is done: brings them over and gives the memory back.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] if the device claims more than it was given.
    pub fn unmap_written(mut self, len: usize) -> Result<M, Error> {
        self.sync_for_cpu(0..len)?;
        Ok(self.memory)
    }
}

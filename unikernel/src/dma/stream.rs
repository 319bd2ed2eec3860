//! Streaming memory while a device owns it.

use core::marker::PhantomData;
use core::ops::{Deref, DerefMut, Range};
use core::sync::atomic::{Ordering, fence};

use super::pool::Run;
use super::slots::Use;
use super::{Error, RxBuffer, TxBuffer};

mod sealed {
    pub trait Sealed {}
}

/// Which way data flows. Implemented by [`FromDevice`], [`FromHypervisor`], [`ToDevice`] and
/// [`Bidirectional`] only.
pub trait Direction: sealed::Sealed + 'static {
    /// Whether the device writes: only then is there something to mark.
    const DEVICE_WRITES: bool;
    /// Whether the hypervisor's log sees what the device writes, so that nothing is to be marked.
    const LOGGED: bool = false;
    /// Whether the device reads: only then is what the CPU wrote for it.
    const DEVICE_READS: bool;
}

/// A direction in which the device writes.
pub trait DeviceWrites: Direction {}

/// The device writes, the CPU reads.
#[derive(Debug)]
pub enum FromDevice {}
/// The hypervisor writes in a device's name, as for virtio, and its log sees it; the CPU reads.
#[derive(Debug)]
pub enum FromHypervisor {}
/// The CPU writes, the device reads.
#[derive(Debug)]
pub enum ToDevice {}
/// Both write, both read, in turns.
#[derive(Debug)]
pub enum Bidirectional {}

impl sealed::Sealed for FromDevice {}
impl sealed::Sealed for FromHypervisor {}
impl sealed::Sealed for ToDevice {}
impl sealed::Sealed for Bidirectional {}

impl Direction for FromDevice {
    const DEVICE_WRITES: bool = true;
    const DEVICE_READS: bool = false;
}
impl Direction for FromHypervisor {
    const DEVICE_WRITES: bool = true;
    const LOGGED: bool = true;
    const DEVICE_READS: bool = false;
}
impl Direction for ToDevice {
    const DEVICE_WRITES: bool = false;
    const DEVICE_READS: bool = true;
}
impl Direction for Bidirectional {
    const DEVICE_WRITES: bool = true;
    const DEVICE_READS: bool = true;
}

impl DeviceWrites for FromDevice {}
impl DeviceWrites for Bidirectional {}

/// What a run is used for while a device has it.
pub(super) fn use_of<D: Direction>() -> Use {
    match (D::DEVICE_WRITES, D::LOGGED) {
        (true, true) => Use::FromHypervisor,
        (true, false) => Use::FromDevice,
        (false, _) => Use::ToDevice,
    }
}

/// A buffer in a device's hands. There is no way to its bytes but through [`Stream::receive`],
/// [`Stream::unmap`] and [`Stream::sync_for_cpu`], each of which says that the device is done:
///
/// ```compile_fail
/// # fn f(stream: unikernel::dma::Stream<unikernel::dma::FromDevice>) {
/// let first: u8 = stream[0]; // the device may be writing it
/// # }
/// ```
///
/// and none of which leaves the device's address valid for a second use:
///
/// ```compile_fail
/// # fn f(stream: unikernel::dma::Stream<unikernel::dma::FromDevice>) {
/// let buffer = stream.receive(64);
/// let again = stream.receive(64);
/// # }
/// ```
///
/// Dropping it gives the memory back to the pool: a driver does that only once the device cannot
/// reach it any more.
#[derive(Debug)]
#[must_use = "dropping it gives the memory back while a device may still have its address"]
pub struct Stream<D: Direction> {
    run: Run,
    direction: PhantomData<D>,
}

impl<D: Direction> Stream<D> {
    #[inline]
    pub(super) fn new(run: Run) -> Self {
        // What the CPU wrote comes before the descriptor that hands it over.
        fence(Ordering::Release);
        run.becomes(use_of::<D>());
        Self { run, direction: PhantomData }
    }

    /// The address to give to the device.
    #[inline]
    pub fn device_address(&self) -> u64 {
        self.run.device_address()
    }

    /// Length in bytes.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.run.capacity()
    }

    /// Lends a range to the CPU, marked if the device writes unseen, while the rest stays the device's.
    /// It goes back to the device when the result is dropped.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] if the range is not inside the buffer.
    pub fn sync_for_cpu(&mut self, range: Range<usize>) -> Result<Synced<'_, D>, Error> {
        let range = self.run.range(range)?;
        if D::LOGGED {
            fence(Ordering::Acquire);
        } else if D::DEVICE_WRITES {
            self.run.pool.completed(range.clone());
        }
        Ok(Synced { stream: self, range })
    }
}

impl Stream<FromDevice> {
    /// The device has written `len` bytes and is done: the buffer becomes the CPU's, marked if
    /// marking is on. Call it after the descriptor's done bit is seen.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] if the device claims more than it was given; the buffer goes back to
    /// the pool.
    #[inline]
    pub fn receive(self, len: usize) -> Result<RxBuffer, Error> {
        // A device that wrote nothing may still have touched the first bytes.
        let range = self.run.range(0..len.max(1))?;
        let pool = self.run.pool;
        let logged = pool.completed(range);
        self.run.becomes(Use::Received);
        pool.count_received();
        Ok(RxBuffer::new(self.run, len, logged))
    }
}

impl Stream<FromHypervisor> {
    /// The device has written `len` bytes and is done: the buffer becomes the CPU's. Never marked,
    /// and never [`logged`](RxBuffer::logged).
    ///
    /// # Errors
    /// As [`Stream::<FromDevice>::receive`].
    #[inline]
    pub fn receive(self, len: usize) -> Result<RxBuffer, Error> {
        self.run.range(0..len)?;
        // What the device wrote is read after what said so, as in `Pool::completed`.
        fence(Ordering::Acquire);
        self.run.becomes(Use::ReceivedLogged);
        self.run.pool.count_received();
        Ok(RxBuffer::new(self.run, len, false))
    }
}

impl Stream<ToDevice> {
    /// The device has read it: the buffer is the CPU's again.
    pub fn unmap(self) -> TxBuffer {
        self.run.becomes(Use::Cpu);
        TxBuffer::new(self.run)
    }
}

impl Stream<Bidirectional> {
    /// The device has read and written it: the buffer is the CPU's again, marked if marking is on.
    pub fn unmap(self) -> TxBuffer {
        // All of it: the device was free to write anywhere.
        self.run.pool.completed(self.run.offset()..self.run.offset() + self.run.capacity());
        TxBuffer::received(self.run)
    }
}

/// A range of a [`Stream`] lent to the CPU.
#[derive(Debug)]
#[must_use = "the device owns the range again once this is dropped"]
pub struct Synced<'a, D: Direction> {
    stream: &'a mut Stream<D>,
    range: Range<usize>,
}

impl<D: Direction> Synced<'_, D> {
    /// Gives the range back to the device, with what the CPU wrote to it.
    pub fn sync_for_device(self) {}
}

impl<D: Direction> Drop for Synced<'_, D> {
    fn drop(&mut self) {
        fence(Ordering::Release);
    }
}

impl<D: Direction> Deref for Synced<'_, D> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the stream owns the run and is borrowed; the device has completed the range.
        unsafe { self.stream.run.pool.memory.bytes(self.range.clone()) }
    }
}

impl DerefMut for Synced<'_, ToDevice> {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.bytes_mut()
    }
}

impl DerefMut for Synced<'_, Bidirectional> {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.bytes_mut()
    }
}

impl<D: Direction> Synced<'_, D> {
    fn bytes_mut(&mut self) -> &mut [u8] {
        let pool = self.stream.run.pool;
        pool.cpu_wrote(self.range.clone());
        // SAFETY: the stream owns the run and is exclusively borrowed; the device has completed
        // the range.
        unsafe { pool.memory.bytes_mut(self.range.clone()) }
    }
}

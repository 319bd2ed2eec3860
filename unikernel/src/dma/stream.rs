use core::marker::PhantomData;
use core::ops::Range;
use core::sync::atomic::{Ordering, fence};

use super::pool::{Pool, Run};
use super::slots::Use;
use super::{Completed, Error, RxBuffer};

mod sealed {
    pub trait Sealed {}
}

/// Which way data flows: [`FromDevice`], [`FromHypervisor`] or [`ToDevice`].
pub trait Direction: sealed::Sealed + 'static {}

/// The device writes, the CPU reads.
#[derive(Debug)]
pub enum FromDevice {}
/// The hypervisor writes in a device's name, as for virtio, and its log sees it; the CPU reads.
#[derive(Debug)]
pub enum FromHypervisor {}
/// The CPU writes, the device reads.
#[derive(Debug)]
pub enum ToDevice {}

impl sealed::Sealed for FromDevice {}
impl sealed::Sealed for FromHypervisor {}
impl sealed::Sealed for ToDevice {}
impl Direction for FromDevice {}
impl Direction for FromHypervisor {}
impl Direction for ToDevice {}

/// A buffer in a device's hands. There is no way to its bytes but [`Stream::receive`], which asks
/// to be shown that the device is done:
///
/// ```compile_fail
/// # fn f(stream: unikernel::dma::Stream<unikernel::dma::FromDevice>) {
/// let first: u8 = stream[0]; // the device may be writing it
/// # }
/// ```
///
/// and after which the device's address is not valid for a second use:
///
/// ```compile_fail
/// # fn f(stream: unikernel::dma::Stream<unikernel::dma::FromDevice>) {
/// let buffer = stream.receive(&unikernel::dma::fake::completed(), 64);
/// let again = stream.receive(&unikernel::dma::fake::completed(), 64);
/// # }
/// ```
///
/// Dropping it gives the memory back to the pool. So a driver keeps it in the device's
/// [`Dma`](crate::pci::Dma), which is dropped only once the device cannot reach memory any more.
#[derive(Debug)]
#[must_use = "dropping it gives the memory back while a device may still have its address"]
pub struct Stream<D: Direction> {
    run: Run,
    direction: PhantomData<D>,
}

impl Pool {
    /// One slot for a device to write to: [`SLOT_SIZE`](super::SLOT_SIZE) bytes. `None` when the
    /// pool is exhausted.
    #[inline]
    pub fn receive_stream(&'static self) -> Option<Stream<FromDevice>> {
        Some(Stream::new(self.run(0, Use::FromDevice)?))
    }

    /// Contiguous memory for a device to write to, for frames longer than a slot.
    ///
    /// # Errors
    /// [`Error::TooLong`] above [`MAX_RUN`](super::MAX_RUN), [`Error::Exhausted`].
    #[inline]
    pub fn receive_stream_of(&'static self, bytes: usize) -> Result<Stream<FromDevice>, Error> {
        Ok(Stream::new(self.run_of(bytes, Use::FromDevice)?))
    }

    /// Contiguous memory for a device whose writes the hypervisor's log sees.
    ///
    /// # Errors
    /// As [`Pool::receive_stream_of`].
    #[inline]
    pub fn hypervisor_stream_of(
        &'static self,
        bytes: usize,
    ) -> Result<Stream<FromHypervisor>, Error> {
        Ok(Stream::new(self.run_of(bytes, Use::FromHypervisor)?))
    }
}

impl<D: Direction> Stream<D> {
    #[inline]
    fn new(run: Run) -> Self {
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
}

impl Stream<ToDevice> {
    /// What the CPU wrote to a run, for a device to read.
    #[inline]
    pub(super) fn to_device(run: Run) -> Self {
        // What the CPU wrote comes before the descriptor that hands it over.
        fence(Ordering::Release);
        run.becomes(Use::ToDevice);
        Self::new(run)
    }
}

impl Stream<FromDevice> {
    /// The device has written `len` bytes and is done, as it reported: the buffer becomes the
    /// CPU's, marked if marking is on.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] if the device claims more than it was given; the buffer goes back to
    /// the pool.
    // Always: the buffer would else go through memory, written in parts and read whole at once,
    // which costs half as much again as all the rest.
    #[inline(always)]
    pub fn receive(self, _: &Completed, len: usize) -> Result<RxBuffer, Error> {
        // A device that wrote nothing may still have touched the first bytes.
        let range = self.run.range(0..len.max(1))?;
        let pool = self.run.pool;
        let logged = pool.completed(range);
        self.run.becomes(Use::Received);
        pool.count_received();
        Ok(RxBuffer::new(self.run, len, logged))
    }

    /// Another buffer of the same length. `None` when the pool has none. For each packet: what
    /// length that is need not be worked out again.
    #[inline]
    pub fn another(&self) -> Option<Self> {
        Some(Self::new(self.run.pool.run(self.run.order(), Use::FromDevice)?))
    }

    /// Marks a range that the device has written and nobody will read, if marking is on. The buffer
    /// stays the device's.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] if the range is not inside the buffer.
    pub fn mark(&self, range: Range<usize>) -> Result<(), Error> {
        let range = self.run.range(range)?;
        if !range.is_empty() {
            self.run.pool.completed(range);
        }
        Ok(())
    }
}

impl Stream<FromHypervisor> {
    /// The device has written `len` bytes and is done, as it reported: the buffer becomes the
    /// CPU's. Never marked, and never [`logged`](RxBuffer::logged).
    ///
    /// # Errors
    /// As [`Stream::<FromDevice>::receive`].
    // Always: the buffer would else go through memory, written in parts and read whole at once,
    // which costs half as much again as all the rest.
    #[inline(always)]
    pub fn receive(self, _: &Completed, len: usize) -> Result<RxBuffer, Error> {
        self.run.range(0..len)?;
        self.run.becomes(Use::ReceivedLogged);
        self.run.pool.count_received();
        Ok(RxBuffer::new(self.run, len, false))
    }
}

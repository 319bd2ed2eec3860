use core::ops::{Deref, DerefMut};

use super::pool::{Pool, Run};
use super::slots::Use;
use super::{Error, RxBuffer, Stream, ToDevice};

impl Pool {
    /// One slot for the CPU to fill: [`SLOT_SIZE`](super::SLOT_SIZE) bytes. `None` when the pool is
    /// exhausted.
    #[inline]
    pub fn transmit_buffer(&'static self) -> Option<TxBuffer> {
        Some(TxBuffer { run: self.run(0, Use::Cpu)? })
    }

    /// Contiguous memory for the CPU to fill, for frames longer than a slot.
    ///
    /// # Errors
    /// [`Error::TooLong`] above [`MAX_RUN`](super::MAX_RUN), [`Error::Exhausted`].
    pub fn transmit_buffer_of(&'static self, bytes: usize) -> Result<TxBuffer, Error> {
        Ok(TxBuffer { run: self.run_of(bytes, Use::Cpu)? })
    }
}

/// Memory for the CPU to fill, then for a device to read. What it contains at first is left over
/// from an earlier use.
#[derive(Debug)]
pub struct TxBuffer {
    run: Run,
}

impl RxBuffer {
    /// The same memory, to be changed and sent: its first bytes are the frame's.
    ///
    /// What the device wrote there is not lost in a migration: while the hypervisor logs it was
    /// marked when it was received, and if that begins later, the memory is in use until it has
    /// been sent, which catch-up covers.
    #[inline]
    #[must_use = "dropping it gives the memory back"]
    pub fn into_transmit(self) -> TxBuffer {
        let (run, frame) = self.into_run();
        run.becomes(Use::Cpu);
        let mut buffer = TxBuffer { run };
        if frame.start != 0 {
            buffer.copy_within(frame, 0);
        }
        buffer
    }
}

impl TxBuffer {
    /// Hands the first `len` bytes to a device.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] if the buffer is not that long; it goes back to the pool.
    #[inline]
    pub fn into_stream(self, len: usize) -> Result<Stream<ToDevice>, Error> {
        self.run.range(0..len)?;
        Ok(Stream::to_device(self.run))
    }
}

impl Deref for TxBuffer {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        let start = self.run.offset();
        // SAFETY: the run is this buffer's alone and no device writes it: none was given it to
        // write, or the one that was has reported it completed (`Completed`, see `RxBuffer`), and
        // what a driver and its device are trusted with is in docs/dma.md.
        unsafe { self.run.pool.memory.bytes(start..start + self.run.capacity()) }
    }
}

impl DerefMut for TxBuffer {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        let range = self.run.offset()..self.run.offset() + self.run.capacity();
        self.run.pool.cpu_wrote(range.clone());
        // SAFETY: the run is this buffer's alone, exclusively borrowed, and no device has it: as
        // above.
        unsafe { self.run.pool.memory.bytes_mut(range) }
    }
}

//! Streaming memory while the CPU owns it.

use core::ops::{Deref, DerefMut};

use super::pool::Run;
use super::slots::Use;
use super::{Bidirectional, Error, Stream, ToDevice};

/// What a device wrote, in the memory it wrote it to. Read-only: see the module's documentation.
///
/// Whoever has it may keep it as long as they like; dropping it gives the memory back.
#[derive(Debug)]
pub struct RxBuffer {
    run: Run,
    start: u32,
    len: u32,
    logged: bool,
}

impl RxBuffer {
    #[inline]
    pub(super) fn new(run: Run, len: usize, logged: bool) -> Self {
        // A run has 64 KiB at most, and `len` was checked against it.
        Self { run, start: 0, len: len as u32, logged }
    }

    /// Whether the hypervisor was logging when it was received, as far as the guest knew, and could
    /// not see it arrive: with marking on, it was marked.
    pub fn logged(&self) -> bool {
        self.logged
    }

    /// Memory of the pool that it holds, in bytes: whole slots, whatever there is in them.
    pub fn memory(&self) -> usize {
        self.run.capacity()
    }

    /// Drops up to `count` bytes from the front: a header that is not the frame's.
    pub fn advance(&mut self, count: usize) {
        let count = count.min(self.len as usize) as u32;
        self.start += count;
        self.len -= count;
    }

    /// Drops what is past the first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(u32::try_from(len).unwrap_or(u32::MAX));
    }
}

impl Deref for RxBuffer {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        let start = self.run.offset() + self.start as usize;
        // SAFETY: the run is this buffer's alone, the device completed it, and nothing here writes
        // to it.
        unsafe { self.run.pool.memory.bytes(start..start + self.len as usize) }
    }
}

impl AsRef<[u8]> for RxBuffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

/// Memory for the CPU to fill, then for a device to read. What it contains at first is left over
/// from an earlier use.
#[derive(Debug)]
pub struct TxBuffer {
    run: Run,
}

impl TxBuffer {
    #[inline]
    pub(super) fn new(run: Run) -> Self {
        Self { run }
    }

    /// A buffer whose content a device wrote, which catch-up must therefore cover.
    pub(super) fn received(run: Run) -> Self {
        run.becomes(Use::Received);
        Self { run }
    }

    /// Hands the first `len` bytes to a device.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] if the buffer is not that long; it goes back to the pool.
    #[inline]
    pub fn into_stream(self, len: usize) -> Result<Stream<ToDevice>, Error> {
        self.run.range(0..len)?;
        Ok(Stream::new(self.run))
    }

    /// Hands all of it to a device that both reads and writes.
    pub fn into_bidirectional(self) -> Stream<Bidirectional> {
        Stream::new(self.run)
    }
}

impl Deref for TxBuffer {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        let start = self.run.offset();
        // SAFETY: the run is this buffer's alone and no device has it.
        unsafe { self.run.pool.memory.bytes(start..start + self.run.capacity()) }
    }
}

impl DerefMut for TxBuffer {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        let range = self.run.offset()..self.run.offset() + self.run.capacity();
        self.run.pool.cpu_wrote(range.clone());
        // SAFETY: the run is this buffer's alone, exclusively borrowed, and no device has it.
        unsafe { self.run.pool.memory.bytes_mut(range) }
    }
}

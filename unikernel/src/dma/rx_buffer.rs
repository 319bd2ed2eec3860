use core::ops::{Deref, Range};

use super::pool::{Pool, Run};

/// What a device wrote, in the memory it wrote it to. Read-only, until it is given up
/// [to be sent](Self::into_transmit): see the module's documentation.
///
/// Whoever has it may keep it as long as they like; dropping it gives the memory back.
#[derive(Debug)]
pub struct RxBuffer {
    run: Run,
    len: u32,
    /// Where in the run it begins, times two, and whether it is [`logged`](Self::logged): three
    /// words for all of it, without padding, are moved from hand to hand.
    start_and_logged: u32,
}

impl RxBuffer {
    #[inline]
    pub(super) fn new(run: Run, len: usize, logged: bool) -> Self {
        // A run has 64 KiB at most, and `len` was checked against it.
        Self { run, len: len as u32, start_and_logged: logged.into() }
    }

    #[inline]
    fn start(&self) -> usize {
        (self.start_and_logged >> 1) as usize
    }

    /// Whether the hypervisor was logging when it was received, as far as the guest knew, and could
    /// not see it arrive: with marking on, it was marked.
    pub fn logged(&self) -> bool {
        self.start_and_logged & 1 != 0
    }

    /// Memory of the pool that it holds, in bytes: whole slots, whatever there is in them.
    pub fn memory(&self) -> usize {
        self.run.capacity()
    }

    /// Its memory, and where in that the frame is.
    #[inline]
    pub(super) fn into_run(self) -> (Run, Range<usize>) {
        let start = self.start();
        (self.run, start..start + self.len as usize)
    }

    /// Drops up to `count` bytes from the front: a header that is not the frame's.
    pub fn advance(&mut self, count: usize) {
        let count = count.min(self.len as usize) as u32;
        self.start_and_logged += count << 1;
        self.len -= count;
    }
}

impl Pool {
    /// Whether an application may keep `buffer`. False while no more than a quarter of the pool is
    /// free for buffers of its size: that reserve is for the rings of all NICs, and for what is
    /// sent. Whoever hands received buffers to an application asks first, for each; it costs a
    /// few loads.
    #[inline]
    pub fn may_keep(&self, buffer: &RxBuffer) -> bool {
        self.slots.may_keep(buffer.run.order())
    }
}

impl Deref for RxBuffer {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        let start = self.run.offset() + self.start();
        // SAFETY: the run is this buffer's alone and nothing here writes to it. A device does not
        // either: it reported the buffer completed (`Completed`), and what a driver and its device
        // are trusted with is in docs/dma.md.
        unsafe { self.run.pool.memory.bytes(start..start + self.len as usize) }
    }
}

impl AsRef<[u8]> for RxBuffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

//! Receive rings.
//!
//! Every descriptor has a buffer at all times, so there is no such thing as a lost refill: a frame is
//! handed on only if the pool has a buffer to take its place, otherwise it is dropped and its buffer
//! used again. The device owns all descriptors but one, since head = tail means that it owns none:
//!
//! ```text
//!          completed, not looked at    the device's                       tail
//!   ┌───┬────────────────────────┬──────────────────────────────────────┬───┐
//!   └───┴────────────────────────┴──────────────────────────────────────┴───┘
//!        next                     head                                  next - 1
//! ```

use super::checksum::{self, Checked};
use super::{ETHERNET_HEADER, MAX_FRAME};
use alloc::vec::Vec;
use core::marker::PhantomData;
use core::sync::atomic::{Ordering, fence};
use unikernel::dma::{Coherent, Error, FromDevice, Pool, RxBuffer, SLOT_SIZE, Stream};
use unikernel::nic::Statistics;

/// Most descriptors one call looks at, should a device complete nothing but garbage.
const PATIENCE: usize = 64;

/// What a family's write-back says. Lengths and flags are the device's word.
pub(crate) struct Completion {
    /// Bytes written to the buffer.
    pub(crate) len: usize,
    /// This descriptor ends the frame.
    pub(crate) ends_frame: bool,
    /// The device saw an error below the network layer.
    pub(crate) is_bad: bool,
    /// Checksums the device verified.
    pub(crate) checked: Checked,
}

/// A receive descriptor of two quadwords, the first of which takes the buffer's address.
///
/// The write-back has the done bit and everything [`Completion`] needs in the second quadword, so one
/// load sees them together.
pub(crate) trait ReceiveFormat {
    /// Reads the second quadword; `None` while the device owns the descriptor.
    fn completion(word: u64) -> Option<Completion>;
}

/// A ring of receive descriptors and their buffers.
pub(crate) struct ReceiveRing<F> {
    pool: &'static Pool,
    /// Two elements a descriptor.
    ring: Coherent<u64>,
    buffers: Vec<Stream<FromDevice>>,
    /// The next descriptor to look at.
    next: usize,
    /// `next` when the device was last told.
    told: usize,
    /// Inside a frame of several descriptors, which is being dropped.
    skipping: bool,
    format: PhantomData<F>,
}

impl<F: ReceiveFormat> ReceiveRing<F> {
    /// `count` descriptors, a power of two, each with a buffer.
    pub(crate) fn new(pool: &'static Pool, count: usize, align: usize) -> Result<Self, Error> {
        let ring = pool.coherent(2 * count, align)?;
        let mut buffers = Vec::with_capacity(count);
        for _ in 0..count {
            let bytes = count * SLOT_SIZE;
            buffers.push(pool.receive_stream().ok_or(Error::Exhausted { bytes })?);
        }
        let format = PhantomData;
        let mut ring = Self { pool, ring, buffers, next: 0, told: 0, skipping: false, format };
        (0..count).for_each(|index| ring.post(index));
        Ok(ring)
    }

    /// Device address of the descriptors.
    pub(crate) fn device_address(&self) -> u64 {
        self.ring.device_address()
    }

    /// Size of the descriptors in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.ring.len() * size_of::<u64>()
    }

    /// The tail to start with.
    pub(crate) fn tail(&self) -> usize {
        self.before(self.next)
    }

    /// Whether a completed descriptor waits to be looked at.
    pub(crate) fn is_pending(&self) -> bool {
        F::completion(self.ring.read(2 * self.next + 1)).is_some()
    }

    /// The next good frame. Bad ones are dropped and counted on the way.
    pub(crate) fn receive(&mut self, statistics: &mut Statistics) -> Option<RxBuffer> {
        for _ in 0..PATIENCE {
            let completion = F::completion(self.ring.read(2 * self.next + 1))?;
            // The frame is read after the done bit.
            fence(Ordering::Acquire);
            let frame = self.take(&completion, statistics);
            self.post(self.next);
            self.next = (self.next + 1) & (self.buffers.len() - 1);
            if frame.is_some() {
                return frame;
            }
        }
        None
    }

    /// Takes the frame out of the descriptor at `next` and puts another buffer in, or leaves both.
    fn take(&mut self, completion: &Completion, statistics: &mut Statistics) -> Option<RxBuffer> {
        let continues = self.skipping;
        self.skipping = !completion.ends_frame;
        if self.skipping || continues {
            // No frame that this driver asked for needs a second buffer. Counted at its end.
            statistics.bad_frame += u64::from(completion.ends_frame);
            return None;
        }
        if completion.is_bad || !(ETHERNET_HEADER..=MAX_FRAME).contains(&completion.len) {
            statistics.bad_frame += 1;
            return None;
        }
        let Some(replacement) = self.pool.receive_stream() else {
            statistics.no_buffer += 1;
            return None;
        };
        let stream = core::mem::replace(&mut self.buffers[self.next], replacement);
        let frame = stream.receive(completion.len).ok()?;
        if !checksum::is_good(&frame, completion.checked) {
            statistics.bad_checksum += 1;
            return None;
        }
        statistics.received += 1;
        statistics.received_bytes += frame.len() as u64;
        Some(frame)
    }

    /// The tail to write, if descriptors were refilled since the last call. Their write-backs are
    /// marked here, once a batch and before the device may write the same descriptors again.
    pub(crate) fn flush(&mut self) -> Option<usize> {
        if self.told == self.next {
            return None;
        }
        mark(&self.ring, self.told, self.next);
        self.told = self.next;
        Some(self.tail())
    }

    fn post(&mut self, index: usize) {
        self.ring.write(2 * index, self.buffers[index].device_address());
        // Clears the done bit.
        self.ring.write(2 * index + 1, 0);
    }

    fn before(&self, index: usize) -> usize {
        index.wrapping_sub(1) & (self.buffers.len() - 1)
    }
}

/// Marks the descriptors from `start` up to `end`, which may lie beyond the wrap.
pub(super) fn mark(ring: &Coherent<u64>, start: usize, end: usize) {
    if start <= end {
        ring.mark(2 * start..2 * end);
    } else {
        ring.mark(2 * start..ring.len());
        ring.mark(0..2 * end);
    }
}

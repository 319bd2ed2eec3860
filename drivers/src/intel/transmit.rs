//! Transmit rings.
//!
//! The device reports completion only where a descriptor asks it to: on the last one of a batch, and
//! on every [`REPORT_EVERY`]th. One report covers all descriptors before it, so completions cost one
//! write-back and one look a batch.

use super::checksum::TransmitChecksum;
use super::receive::mark;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::marker::PhantomData;
use unikernel::dma::{Coherent, Error, Pool, Stream, ToDevice};

/// Descriptors a long batch may have without a report.
const REPORT_EVERY: usize = 32;
/// Descriptors one frame can take: a context and its data.
const MOST_PER_FRAME: usize = 2;

/// Transmit descriptors of two quadwords.
pub(crate) trait TransmitFormat {
    /// In the second quadword: asks for a report.
    const REPORT: u64;
    /// In the second quadword: the report.
    const DONE: u64;

    /// Tells the device where the checksum of the frames that follow is.
    fn context(checksum: TransmitChecksum) -> [u64; 2];

    /// A frame of `len` bytes at `address`; `has_checksum` as the last context says.
    fn data(address: u64, len: usize, has_checksum: bool) -> [u64; 2];
}

/// A ring of transmit descriptors and the frames they point to.
pub(crate) struct TransmitRing<F> {
    /// Two elements a descriptor.
    ring: Coherent<u64>,
    frames: Vec<Option<Stream<ToDevice>>>,
    /// The next descriptor to fill.
    tail: usize,
    /// The oldest that is not known to be done.
    head: usize,
    /// `tail` when the device was last told.
    told: usize,
    /// The second quadword of the descriptor before `tail`.
    last: u64,
    /// Descriptors that ask for a report, oldest first.
    reports: VecDeque<usize>,
    /// The context the device has.
    context: Option<TransmitChecksum>,
    format: PhantomData<F>,
}

impl<F: TransmitFormat> TransmitRing<F> {
    /// `count` descriptors, a power of two.
    pub(crate) fn new(pool: &'static Pool, count: usize, align: usize) -> Result<Self, Error> {
        Ok(Self {
            ring: pool.coherent(2 * count, align)?,
            frames: (0..count).map(|_| None).collect(),
            tail: 0,
            head: 0,
            told: 0,
            last: 0,
            reports: VecDeque::with_capacity(count),
            context: None,
            format: PhantomData,
        })
    }

    /// Device address of the descriptors.
    pub(crate) fn device_address(&self) -> u64 {
        self.ring.device_address()
    }

    /// Size of the descriptors in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.ring.len() * size_of::<u64>()
    }

    /// Whether a frame fits, after a look at reports if it is getting tight.
    pub(crate) fn is_ready(&mut self) -> bool {
        if self.free() < self.frames.len() / 2 {
            self.reap();
        }
        self.free() >= MOST_PER_FRAME
    }

    /// Queues a frame of `len` bytes. There must be room.
    pub(crate) fn send(
        &mut self,
        frame: Stream<ToDevice>,
        len: usize,
        checksum: Option<TransmitChecksum>,
    ) {
        if checksum.is_some() && checksum != self.context {
            self.context = checksum;
            self.push(checksum.map_or([0; 2], F::context), None);
        }
        let words = F::data(frame.device_address(), len, checksum.is_some());
        self.push(words, Some(frame));
    }

    /// The tail to write, if frames were queued since the last call.
    pub(crate) fn flush(&mut self) -> Option<usize> {
        self.reap();
        if self.told == self.tail {
            return None;
        }
        if self.last & F::REPORT == 0 {
            let index = self.tail.wrapping_sub(1) & self.mask();
            self.report_at(index, self.last);
        }
        self.told = self.tail;
        Some(self.tail)
    }

    /// Gives back the frames that the device reported as sent.
    fn reap(&mut self) {
        let start = self.head;
        while let Some(&report) = self.reports.front() {
            if self.ring.read(2 * report + 1) & F::DONE == 0 {
                break;
            }
            self.reports.pop_front();
            let end = (report + 1) & self.mask();
            while self.head != end {
                self.frames[self.head] = None;
                self.head = (self.head + 1) & self.mask();
            }
        }
        mark(&self.ring, start, self.head);
    }

    fn push(&mut self, [low, high]: [u64; 2], frame: Option<Stream<ToDevice>>) {
        let index = self.tail;
        self.ring.write(2 * index, low);
        self.frames[index] = frame;
        if (index + 1).is_multiple_of(REPORT_EVERY) {
            self.report_at(index, high);
        } else {
            self.ring.write(2 * index + 1, high);
            self.last = high;
        }
        self.tail = (index + 1) & self.mask();
    }

    fn report_at(&mut self, index: usize, high: u64) {
        self.last = high | F::REPORT;
        self.ring.write(2 * index + 1, self.last);
        self.reports.push_back(index);
    }

    fn free(&self) -> usize {
        // One stays empty: head = tail means that nothing is queued.
        self.frames.len() - 1 - (self.tail.wrapping_sub(self.head) & self.mask())
    }

    fn mask(&self) -> usize {
        self.frames.len() - 1
    }
}

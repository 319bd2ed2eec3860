//! Transmit rings.
//!
//! The device reports completion only where a descriptor asks it to: on the last one of a batch,
//! and on every [`REPORT_EVERY`]th. One report covers all descriptors before it, so completions
//! cost one write-back and one look a batch.

use super::Descriptors;
use super::receive::mark;
use crate::common::Offload;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::marker::PhantomData;
use unikernel::dma::{Coherent, Error, MAX_RUN, Pool, Stream, ToDevice};

/// Descriptors a long batch may have without a report.
const REPORT_EVERY: usize = 32;

/// Transmit descriptors of two quadwords.
pub(crate) trait TransmitFormat {
    /// In the second quadword: asks for a report.
    const REPORT: u64;
    /// In the second quadword: the report.
    const DONE: u64;
    /// Longest piece of a frame that one descriptor takes.
    const MAX_PIECE: usize;

    /// Tells the device what to do to the frames that follow; `None` if there is nothing that data
    /// descriptors do not tell.
    fn context(offload: &Offload) -> Option<[u64; 2]>;

    /// A piece of a frame, to which is done what `offload` and the last context say.
    fn data(piece: &Piece, offload: &Offload) -> [u64; 2];
}

/// What one data descriptor holds of a frame.
pub(crate) struct Piece {
    /// Device address.
    pub(crate) address: u64,
    /// Length in bytes.
    pub(crate) len: usize,
    /// Length of the whole frame.
    pub(crate) frame: usize,
    /// It ends the frame.
    pub(crate) is_last: bool,
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
    /// Descriptors filled since the last that asks for a report.
    unreported: usize,
    /// Descriptors that ask for a report, oldest first.
    reports: VecDeque<usize>,
    /// The context the device has.
    context: Option<[u64; 2]>,
    format: PhantomData<F>,
}

impl<F: TransmitFormat> TransmitRing<F> {
    /// Descriptors one frame can take: a context and its pieces.
    const MOST_PER_FRAME: usize = 1 + MAX_RUN.div_ceil(F::MAX_PIECE);

    /// `count` descriptors, a power of two.
    pub(crate) fn new(pool: &'static Pool, count: usize, align: usize) -> Result<Self, Error> {
        Ok(Self {
            ring: pool.coherent(2 * count, align)?,
            frames: (0..count).map(|_| None).collect(),
            tail: 0,
            head: 0,
            told: 0,
            last: 0,
            unreported: 0,
            reports: VecDeque::with_capacity(count),
            context: None,
            format: PhantomData,
        })
    }

    /// Starts over with an empty ring. The device must not be using it.
    pub(crate) fn restart(&mut self) {
        self.mark_completed();
        self.frames.fill_with(|| None);
        self.reports.clear();
        (self.tail, self.head, self.told) = (0, 0, 0);
        (self.last, self.unreported, self.context) = (0, 0, None);
    }

    /// Marks reports that nobody looked at. The device must have stopped.
    pub(crate) fn mark_completed(&self) {
        self.ring.mark(0..self.ring.len());
    }

    /// Where the descriptors are.
    pub(crate) fn descriptors(&self) -> Descriptors {
        Descriptors {
            address: self.ring.device_address(),
            bytes: self.ring.len() * size_of::<u64>(),
            tail: self.tail,
        }
    }

    /// Whether a frame fits, after a look at reports if it is getting tight.
    pub(crate) fn is_ready(&mut self) -> bool {
        if self.free() < self.frames.len() / 2 {
            self.reap();
        }
        self.free() >= Self::MOST_PER_FRAME
    }

    /// Queues a frame of `len` bytes, at most a run. There must be room.
    // Always: what is to be done to the frame would else go through memory.
    #[inline(always)]
    pub(crate) fn send(&mut self, frame: Stream<ToDevice>, len: usize, offload: &Offload) {
        // Packets that are cut have one each: to some devices it says how much payload the packet
        // has, which they count down, and no driver of their makers uses one twice.
        if let Some(context) = F::context(offload)
            && (offload.segments.is_some() || self.context != Some(context))
        {
            self.context = Some(context);
            self.push(context, false);
        }
        // Pieces of about the same length: what is left for the last one would else be too short
        // for some devices.
        let is_one = len <= F::MAX_PIECE;
        let most = if is_one { len } else { len.div_ceil(len.div_ceil(F::MAX_PIECE)) };
        let mut at = 0;
        while len - at > most {
            let address = frame.device_address() + at as u64;
            let piece = Piece { address, len: most, frame: len, is_last: false };
            self.push(F::data(&piece, offload), false);
            at += most;
        }
        let address = frame.device_address() + at as u64;
        let piece = Piece { address, len: len - at, frame: len, is_last: true };
        let index = self.tail;
        self.push(F::data(&piece, offload), true);
        self.frames[index] = Some(frame);
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

    #[inline]
    fn push(&mut self, [low, high]: [u64; 2], ends_frame: bool) {
        let index = self.tail;
        self.ring.write(2 * index, low);
        self.unreported += 1;
        // Only the last descriptor of a frame may ask.
        if ends_frame && self.unreported >= REPORT_EVERY {
            self.report_at(index, high);
        } else {
            self.ring.write(2 * index + 1, high);
            self.last = high;
        }
        self.tail = (index + 1) & self.mask();
    }

    fn report_at(&mut self, index: usize, high: u64) {
        self.last = high | F::REPORT;
        self.unreported = 0;
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

//! Receive rings.
//!
//! Every descriptor has a buffer at all times, so there is no such thing as a lost refill: a frame
//! is handed on only if the pool has a buffer to take its place, otherwise it is dropped and its
//! buffer used again. The device owns all descriptors but one, since head = tail means that it owns
//! none:
//!
//! ```text
//!          completed, not looked at    the device's                       tail
//!   ┌───┬────────────────────────┬──────────────────────────────────────┬───┐
//!   └───┴────────────────────────┴──────────────────────────────────────┴───┘
//!        next                     head                                  next - 1
//! ```

use super::Descriptors;
use crate::common::ETHERNET_HEADER;
use crate::common::{Checked, is_good};
use alloc::vec::Vec;
use core::marker::PhantomData;
use unikernel::dma::{Coherent, Completed, Error, FromDevice, Pool, RxBuffer, SLOT_SIZE, Stream};
use unikernel::nic::{Batch, Settings, Statistics, VlanId};

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
    /// The VLAN tag that the device took out of the frame.
    pub(crate) tag: Option<u16>,
}

/// A receive descriptor of two quadwords, the first of which takes the buffer's address.
///
/// The write-back has the done bit and everything [`Completion`] needs in the second quadword, so
/// one load sees them together.
pub(crate) trait ReceiveFormat {
    /// Reads the second quadword; `None` while the device owns the descriptor.
    fn completion(word: u64) -> Option<Completion>;

    /// The length of a frame that needs no second look: whole, without a tag, and with nothing
    /// wrong that the device has found. And whether it has found all checksums to be right. The
    /// same as [`completion`](Self::completion) says, of the frames that most are, in a comparison
    /// or two.
    fn plain(word: u64) -> Option<(usize, bool)>;
}

/// A ring of receive descriptors and their buffers.
pub(crate) struct ReceiveRing<F> {
    /// Two elements a descriptor.
    ring: Coherent<u64>,
    buffers: Vec<Stream<FromDevice>>,
    /// Size of each.
    buffer: usize,
    /// Longest frame that is one.
    max_frame: usize,
    vlan: Option<VlanId>,
    /// The next descriptor to look at.
    next: usize,
    /// `next` when the device was last told.
    told: usize,
    /// Inside a frame of several descriptors, which is being dropped.
    skipping: bool,
    format: PhantomData<F>,
}

impl<F: ReceiveFormat> ReceiveRing<F> {
    /// `count` descriptors, a power of two, each with a buffer for frames as `settings` allow.
    pub(crate) fn new(
        pool: &'static Pool,
        count: usize,
        align: usize,
        settings: &Settings,
    ) -> Result<Self, Error> {
        let ring = pool.coherent(2 * count, align)?;
        let buffer = buffer_size(settings);
        let mut buffers = Vec::with_capacity(count);
        for _ in 0..count {
            let all = Error::Exhausted { bytes: count * buffer };
            buffers.push(pool.receive_stream_of(buffer).map_err(|_| all)?);
        }
        let mut ring = Self {
            ring,
            buffers,
            buffer,
            // A small MTU is about what is sent.
            max_frame: settings.max_frame().max(Settings::default().max_frame()),
            vlan: settings.vlan,
            next: 0,
            told: 0,
            skipping: false,
            format: PhantomData,
        };
        ring.restart();
        Ok(ring)
    }

    /// Gives every descriptor back to the device, what it completed included. It must not be using
    /// them.
    pub(crate) fn restart(&mut self) {
        self.mark_completed();
        (self.next, self.told, self.skipping) = (0, 0, false);
        (0..self.buffers.len()).for_each(|index| self.post(index));
    }

    /// Marks what the device completed and nobody looked at: frames that nobody will miss, but all
    /// that was written is then in the hypervisor's log, and memory the same on both sides of a
    /// migration. The device must have stopped.
    pub(crate) fn mark_completed(&mut self) {
        for index in 0..self.buffers.len() {
            if F::completion(self.ring.read(2 * index + 1)).is_some() {
                self.mark_unread(index);
            }
        }
        self.ring.mark(0..self.ring.len());
    }

    /// Marks a buffer that the device wrote and nobody reads.
    fn mark_unread(&mut self, index: usize) {
        // It is that long.
        let _ = self.buffers[index].mark(0..self.buffer);
    }

    /// Where the descriptors are.
    pub(crate) fn descriptors(&self) -> Descriptors {
        Descriptors {
            address: self.ring.device_address(),
            bytes: self.ring.len() * size_of::<u64>(),
            tail: self.tail(),
        }
    }

    /// The tail that leaves the device all descriptors but one.
    fn tail(&self) -> usize {
        self.before(self.next)
    }

    /// Whether a completed descriptor waits to be looked at.
    pub(crate) fn is_pending(&self) -> bool {
        F::completion(self.ring.read(2 * self.next + 1)).is_some()
    }

    /// Adds good frames to a batch, until it has `most` or there are no more. Bad ones are dropped
    /// and counted on the way. However many there are, it comes to an end before the tail that the
    /// device was last told, and that does not move here: a ring of garbage is some 10 µs of work.
    pub(crate) fn receive(&mut self, batch: &mut Batch, most: usize, statistics: &mut Statistics) {
        loop {
            self.receive_plain(batch, most, statistics);
            if batch.len() >= most {
                return;
            }
            let Some(frame) = self.receive_any(statistics) else { return };
            // There is room.
            let _ = batch.push(frame);
        }
    }

    /// Adds the frames that come next to a batch, as long as they are of those that most are and
    /// can be replaced. What is none of them is left for [`receive_any`](Self::receive_any).
    #[inline]
    fn receive_plain(&mut self, batch: &mut Batch, most: usize, statistics: &mut Statistics) {
        if self.vlan.is_some() || self.skipping {
            return;
        }
        let (mask, last) = (self.buffers.len() - 1, self.before(self.told));
        let lengths = ETHERNET_HEADER..=self.max_frame;
        let (mut next, mut received, mut bytes) = (self.next, 0, 0);
        while next != last && batch.len() < most {
            let completed = self.ring.completed(2 * next + 1, F::plain);
            let Some(((len, verified), done)) = completed else { break };
            if !lengths.contains(&len) {
                break;
            }
            let buffer = &mut self.buffers[next];
            let Some(replacement) = buffer.another() else { break };
            let address = replacement.device_address();
            let frame = core::mem::replace(buffer, replacement).receive(&done, len);
            self.ring.write(2 * next, address);
            // Clears the done bit.
            self.ring.write(2 * next + 1, 0);
            next = (next + 1) & mask;
            // A buffer is at least as long as the longest frame.
            let Ok(frame) = frame else { continue };
            if !verified && !is_good(&frame, Checked::default()) {
                statistics.bad_checksum += 1;
                continue;
            }
            received += 1;
            bytes += len as u64;
            // There is room.
            let _ = batch.push(frame);
        }
        self.next = next;
        statistics.received += received;
        statistics.received_bytes += bytes;
    }

    /// The next good frame, whatever there is to be looked at.
    #[inline(never)]
    fn receive_any(&mut self, statistics: &mut Statistics) -> Option<RxBuffer> {
        loop {
            // All that the device owned has been looked at. What else it completes, it was not
            // given; once around the ring, a flush could not tell from no refill at all.
            if self.next == self.before(self.told) {
                return None;
            }
            let (completion, done) = self.ring.completed(2 * self.next + 1, F::completion)?;
            let frame = self.take(&completion, &done, statistics);
            self.post(self.next);
            self.next = (self.next + 1) & (self.buffers.len() - 1);
            if frame.is_some() {
                return frame;
            }
        }
    }

    /// Takes the frame out of the descriptor at `next` and puts another buffer in, or leaves both.
    #[inline]
    fn take(
        &mut self,
        completion: &Completion,
        done: &Completed,
        statistics: &mut Statistics,
    ) -> Option<RxBuffer> {
        let Some(replacement) = self.replacement(completion, statistics) else {
            self.mark_unread(self.next);
            return None;
        };
        let stream = core::mem::replace(&mut self.buffers[self.next], replacement);
        let frame = stream.receive(done, completion.len).ok()?;
        if !is_good(&frame, completion.checked) {
            statistics.bad_checksum += 1;
            return None;
        }
        statistics.received += 1;
        statistics.received_bytes += frame.len() as u64;
        Some(frame)
    }

    /// A buffer for a descriptor whose frame is one to take.
    #[inline]
    fn replacement(
        &mut self,
        completion: &Completion,
        statistics: &mut Statistics,
    ) -> Option<Stream<FromDevice>> {
        let continues = self.skipping;
        self.skipping = !completion.ends_frame;
        if self.skipping || continues {
            // No frame that this driver asked for needs a second buffer. Counted at its end.
            statistics.bad_frame += u64::from(completion.ends_frame);
            return None;
        }
        if completion.is_bad || !(ETHERNET_HEADER..=self.max_frame).contains(&completion.len) {
            statistics.bad_frame += 1;
            return None;
        }
        if self.vlan.is_some_and(|vlan| !is_member(completion.tag, vlan)) {
            statistics.other_vlan += 1;
            return None;
        }
        let replacement = self.buffers[self.next].another();
        statistics.no_buffer += u64::from(replacement.is_none());
        replacement
    }

    /// The tail to write, if descriptors were refilled since the last call. Their write-backs are
    /// marked here, once a batch and before the device may write the same descriptors again. The
    /// refill has written to the same pages, but is no mark to rely on.
    pub(crate) fn flush(&mut self) -> Option<usize> {
        if self.told == self.next {
            return None;
        }
        mark(&self.ring, self.told, self.next);
        self.told = self.next;
        Some(self.tail())
    }

    #[inline]
    fn post(&mut self, index: usize) {
        self.ring.write(2 * index, self.buffers[index].device_address());
        // Clears the done bit.
        self.ring.write(2 * index + 1, 0);
    }

    #[inline]
    fn before(&self, index: usize) -> usize {
        index.wrapping_sub(1) & (self.buffers.len() - 1)
    }
}

/// Size of the buffers for frames as `settings` allow: a power of two of slots, and one of the
/// sizes that every family can have. A VLAN tag that stays in a frame fits in as well.
pub(crate) fn buffer_size(settings: &Settings) -> usize {
    (settings.max_frame() + VLAN_TAG).next_power_of_two().max(SLOT_SIZE)
}

/// Type and tag.
const VLAN_TAG: usize = 4;

/// Whether a tag is of that VLAN; the rest of it is priority and drop eligibility (IEEE 802.1Q,
/// 9.6).
fn is_member(tag: Option<u16>, vlan: VlanId) -> bool {
    tag.is_some_and(|tag| tag & 0xfff == vlan.get())
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

/// [`ReceiveFormat::plain`] is a shorter way to what [`ReceiveFormat::completion`] says. `right` is
/// a write-back of a plain frame with checksums that are right.
#[cfg(test)]
pub(crate) fn plain_is_what_the_completion_says<F: ReceiveFormat>(right: u64) {
    let expected = |word| {
        let completion = F::completion(word)?;
        let Checked { ip, transport, failed } = completion.checked;
        let is_whole = completion.ends_frame && !completion.is_bad && completion.tag.is_none();
        (is_whole && !failed).then_some((completion.len, ip && transport))
    };
    assert!(F::plain(right).is_some_and(|(_, verified)| verified));
    let bits = || (0..64).map(|bit| 1_u64 << bit).chain([0]);
    for change in bits().flat_map(|a| bits().map(move |b| a | b)) {
        let word = right ^ change;
        // Where something is wrong, it may be another's to say whether that matters.
        if let Some(plain) = F::plain(word) {
            assert_eq!(Some(plain), expected(word), "{word:#x}");
        }
    }
}

//! The receive queue: each descriptor has a buffer of the pool, header and frame one after the
//! other.
//!
//! No descriptor is ever without a buffer: a frame is handed on only if the pool has one to take
//! its place, otherwise it is dropped and its buffer used again.

use super::ring::{Ring, Used};
use crate::common::{Checked, ETHERNET_HEADER, is_good};
use ::virtio::net::{Hdr, HdrF, HdrGso};
use ::virtio::virtq::DescF;
use alloc::vec::Vec;
use unikernel::dma::{
    Completed, Error, FromDevice, FromHypervisor, Pool, RxBuffer, SLOT_SIZE, Stream,
};
use unikernel::nic::Statistics;
use zerocopy::FromBytes;

/// Most buffers one call looks at, should a device use them for nothing but garbage.
const PATIENCE: usize = 64;

/// A buffer of the device's.
enum Buffer {
    /// The hypervisor's dirty log sees what is written to it.
    Logged(Stream<FromHypervisor>),
    /// It does not: marked when it is received.
    Unlogged(Stream<FromDevice>),
}

impl Buffer {
    fn new(pool: &'static Pool, bytes: usize, is_logged: bool) -> Result<Self, Error> {
        Ok(match is_logged {
            true => Self::Logged(pool.hypervisor_stream_of(bytes)?),
            false => Self::Unlogged(pool.receive_stream_of(bytes)?),
        })
    }

    fn device_address(&self) -> u64 {
        match self {
            Self::Logged(stream) => stream.device_address(),
            Self::Unlogged(stream) => stream.device_address(),
        }
    }

    #[inline]
    fn receive(self, done: &Completed, len: usize) -> Result<RxBuffer, Error> {
        match self {
            Self::Logged(stream) => stream.receive(done, len),
            Self::Unlogged(stream) => stream.receive(done, len),
        }
    }

    /// Marks what the device wrote and nobody reads.
    fn mark_unread(&self) {
        if let Self::Unlogged(stream) = self {
            // It is that long.
            let _ = stream.mark(0..stream.capacity());
        }
    }
}

pub(super) struct ReceiveQueue {
    pool: &'static Pool,
    ring: Ring,
    buffers: Vec<Buffer>,
    /// Size of each.
    buffer: usize,
    is_logged: bool,
    max_frame: usize,
}

impl ReceiveQueue {
    /// A queue on `ring`, every buffer posted.
    pub(super) fn new(
        pool: &'static Pool,
        mut ring: Ring,
        max_frame: usize,
        is_logged: bool,
    ) -> Result<Self, Error> {
        let count = usize::from(ring.size());
        let buffer = buffer_size(max_frame);
        let mut buffers = Vec::with_capacity(count);
        for id in 0..count {
            let all = Error::Exhausted { bytes: count * buffer };
            let posted = Buffer::new(pool, buffer, is_logged).map_err(|_| all)?;
            ring.set_address(id, posted.device_address());
            ring.set_rest(id, buffer, DescF::WRITE, 0);
            ring.push(id);
            buffers.push(posted);
        }
        Ok(Self { pool, ring, buffers, buffer, is_logged, max_frame })
    }

    pub(super) fn ring(&mut self) -> &mut Ring {
        &mut self.ring
    }

    /// Marks what the device used and nobody looked at, so that all it wrote is in the hypervisor's
    /// log. The device must have stopped.
    pub(super) fn mark_completed(&mut self) {
        if self.is_logged {
            return;
        }
        for _ in 0..self.buffers.len() {
            let Some(used) = self.ring.pop() else { break };
            if let Some(buffer) = self.buffers.get(used.id) {
                buffer.mark_unread();
            }
        }
        self.ring.mark_completed();
    }

    /// The next good frame. Bad ones are dropped and counted on the way.
    pub(super) fn receive(&mut self, statistics: &mut Statistics) -> Option<RxBuffer> {
        for _ in 0..PATIENCE {
            let used = self.ring.pop()?;
            // Any number below the size is a buffer of the device's: all are, all the time.
            if used.id >= self.buffers.len() {
                statistics.bad_frame += 1;
                continue;
            }
            let frame = self.take(&used, statistics);
            self.ring.push(used.id);
            if frame.is_some() {
                return frame;
            }
        }
        None
    }

    /// Takes the frame out of a descriptor and puts another buffer in, or leaves both.
    fn take(&mut self, used: &Used, statistics: &mut Statistics) -> Option<RxBuffer> {
        let (id, len) = (used.id, used.len);
        let frames = ETHERNET_HEADER..=self.max_frame;
        if !len.checked_sub(size_of::<Hdr>()).is_some_and(|len| frames.contains(&len)) {
            self.buffers[id].mark_unread();
            statistics.bad_frame += 1;
            return None;
        }
        let Ok(replacement) = Buffer::new(self.pool, self.buffer, self.is_logged) else {
            self.buffers[id].mark_unread();
            statistics.no_buffer += 1;
            return None;
        };
        self.ring.set_address(id, replacement.device_address());
        let buffer = core::mem::replace(&mut self.buffers[id], replacement);
        let mut frame = buffer.receive(&used.done, len).ok()?;
        let (header, _) = Hdr::read_from_prefix(&frame).ok()?;
        frame.advance(size_of::<Hdr>());
        // Segments put together were not asked for, and would need more than one buffer.
        if header.gso_type != HdrGso::None as u8 {
            statistics.bad_frame += 1;
            return None;
        }
        // Without a checksum at all, or with one that the device looked at (5.1.6.4.2).
        let transport = header.flags.intersects(HdrF::NEEDS_CSUM | HdrF::DATA_VALID);
        if !is_good(&frame, Checked { ip: false, transport, failed: false }) {
            statistics.bad_checksum += 1;
            return None;
        }
        statistics.received += 1;
        statistics.received_bytes += frame.len() as u64;
        Some(frame)
    }
}

/// Size of a buffer for a header and a frame: a power of two of slots.
pub(super) fn buffer_size(max_frame: usize) -> usize {
    (size_of::<Hdr>() + max_frame).next_power_of_two().max(SLOT_SIZE)
}

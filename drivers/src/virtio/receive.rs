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
use unikernel::dma::{Error, FromHypervisor, Pool, RxBuffer, SLOT_SIZE, Stream};
use unikernel::nic::Statistics;
use zerocopy::FromBytes;

/// Most buffers one call looks at, should a device use them for nothing but garbage.
const PATIENCE: usize = 64;

pub(super) struct ReceiveQueue {
    pool: &'static Pool,
    ring: Ring,
    buffers: Vec<Stream<FromHypervisor>>,
    /// Size of each.
    buffer: usize,
    max_frame: usize,
}

impl ReceiveQueue {
    /// A queue on `ring`, every buffer posted.
    pub(super) fn new(
        pool: &'static Pool,
        mut ring: Ring,
        max_frame: usize,
    ) -> Result<Self, Error> {
        let count = usize::from(ring.size());
        let buffer = buffer_size(max_frame);
        let mut buffers = Vec::with_capacity(count);
        for id in 0..count {
            let all = Error::Exhausted { bytes: count * buffer };
            let stream = pool.hypervisor_stream_of(buffer).map_err(|_| all)?;
            ring.set_address(id, stream.device_address());
            ring.set_rest(id, stream.capacity(), DescF::WRITE, 0);
            ring.push(id);
            buffers.push(stream);
        }
        Ok(Self { pool, ring, buffers, buffer, max_frame })
    }

    pub(super) fn ring(&mut self) -> &mut Ring {
        &mut self.ring
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
            statistics.bad_frame += 1;
            return None;
        }
        let Ok(replacement) = self.pool.hypervisor_stream_of(self.buffer) else {
            statistics.no_buffer += 1;
            return None;
        };
        self.ring.set_address(id, replacement.device_address());
        let stream = core::mem::replace(&mut self.buffers[id], replacement);
        let mut frame = stream.receive(&used.done, len).ok()?;
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

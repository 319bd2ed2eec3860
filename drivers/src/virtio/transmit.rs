//! The transmit queue: a frame is a chain of two descriptors, one for its header and one for
//! itself.
//!
//! The descriptors of a chain stay together and headers stay where they are, so a frame costs the
//! writing of its header, its address and length, and one entry of the available ring.

use super::ring::Ring;
use ::virtio::net::Hdr;
use ::virtio::virtq::DescF;
use alloc::vec::Vec;
use unikernel::dma::{Coherent, Error, Pool, Stream, ToDevice};

pub(super) struct TransmitQueue {
    ring: Ring,
    /// By chain.
    headers: Coherent<Hdr>,
    frames: Vec<Option<Stream<ToDevice>>>,
    /// Chains without a frame.
    free: Vec<usize>,
}

impl TransmitQueue {
    /// A queue on `ring`, empty.
    pub(super) fn new(pool: &'static Pool, mut ring: Ring) -> Result<Self, Error> {
        let chains = usize::from(ring.size()) / 2;
        let headers = pool.coherent::<Hdr>(chains, 16)?;
        for chain in 0..chains {
            let (header, data) = (2 * chain, 2 * chain + 1);
            ring.set_address(header, headers.device_address() + (chain * size_of::<Hdr>()) as u64);
            ring.set_rest(header, size_of::<Hdr>(), DescF::NEXT, data);
        }
        Ok(Self {
            ring,
            headers,
            frames: (0..chains).map(|_| None).collect(),
            free: (0..chains).rev().collect(),
        })
    }

    pub(super) fn ring(&mut self) -> &mut Ring {
        &mut self.ring
    }

    /// Whether a frame fits, after a look at what was sent if it is getting tight.
    pub(super) fn is_ready(&mut self) -> bool {
        if self.free.len() < self.frames.len() / 2 {
            self.reap();
        }
        !self.free.is_empty()
    }

    /// Queues a frame of `len` bytes. There must be room.
    pub(super) fn send(&mut self, frame: Stream<ToDevice>, len: usize, header: Hdr) {
        let Some(chain) = self.free.pop() else { return };
        self.headers.write(chain, header);
        self.ring.set_address(2 * chain + 1, frame.device_address());
        self.ring.set_rest(2 * chain + 1, len, DescF::empty(), 0);
        self.frames[chain] = Some(frame);
        self.ring.push(2 * chain);
    }

    /// Gives back the frames that the device is done with: no more than it can have, however fast
    /// it says so.
    pub(super) fn reap(&mut self) {
        for _ in 0..self.frames.len() {
            let Some(used) = self.ring.pop() else { break };
            // The number is the device's word: only a chain that it had comes back.
            let frame = self.frames.get_mut(used.id / 2).filter(|_| used.id.is_multiple_of(2));
            if frame.and_then(Option::take).is_some() {
                self.free.push(used.id / 2);
            }
        }
    }
}

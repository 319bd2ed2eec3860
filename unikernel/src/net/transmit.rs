//! The way of a frame that smoltcp sends: the memory it is written to, and how it gets to the NIC.

use core::num::NonZeroU16;

use smoltcp::phy::{self, Checksum, ChecksumCapabilities, PacketMeta};

use super::path_mtu::Paths;
use super::pieces::{Cut, Fit, fit, let_be_cut};
use super::traffic::Traffic;
use crate::dma::{Pool, SLOT_SIZE, TxBuffer};
use crate::nic::{Checksums, Nic};

/// Transmit buffers in hand: a token must exist before it is known whether a frame will be written
/// to it and how long it is, and most tokens are never used.
#[derive(Default)]
pub(super) struct Spares {
    /// One slot.
    short: Option<TxBuffer>,
    /// For frames longer than a slot, where there are any.
    long: Option<TxBuffer>,
    /// Length that `long` must have; 0: no frame is that long.
    long_len: usize,
}

impl Spares {
    /// Spares for frames of up to `max` bytes. Takes the long one at once: runs of a length go back
    /// to a list of their own (`dma::slots`), so there is one again as soon as it was sent.
    pub(super) fn new(pool: &'static Pool, max: usize) -> Self {
        let long_len = if max > SLOT_SIZE { max } else { 0 };
        let long = (long_len != 0).then(|| pool.transmit_buffer_of(long_len).ok()).flatten();
        Self { short: None, long, long_len }
    }

    /// Whether there is one for a frame longer than a slot.
    pub(super) fn has_long(&self) -> bool {
        self.long.is_some()
    }

    /// Whether there are buffers for a frame of any length.
    pub(super) fn fill(&mut self, pool: &'static Pool) -> bool {
        if self.short.is_none() {
            self.short = pool.transmit_buffer();
        }
        if self.long.is_none() && self.long_len != 0 {
            self.long = pool.transmit_buffer_of(self.long_len).ok();
        }
        self.short.is_some() && (self.long.is_some() || self.long_len == 0)
    }

    /// The longest frame there are buffers for.
    pub(super) fn longest(&self) -> usize {
        self.long_len.max(SLOT_SIZE)
    }

    fn take(&mut self, len: usize) -> Option<TxBuffer> {
        if len <= SLOT_SIZE { self.short.take() } else { self.long.take() }
    }
}

/// A frame's way out.
pub(super) struct TxToken<'a> {
    pub(super) nic: Option<&'a mut (dyn Nic + 'static)>,
    pub(super) spares: Option<&'a mut Spares>,
    pub(super) scratch: &'a mut [u8],
    pub(super) traffic: &'a mut Traffic,
    /// Payload of each segment, if the device is to cut the frame.
    pub(super) segment: Option<NonZeroU16>,
    /// What the NIC fills in.
    pub(super) checksums: Checksums,
    pub(super) paths: &'a Paths,
    pub(super) pool: &'static Pool,
}

impl phy::TxToken for TxToken<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(mut self, len: usize, f: F) -> R {
        let buffer = self.spares.as_mut().and_then(|spares| spares.take(len));
        match (self.nic.take(), buffer) {
            (Some(nic), Some(mut buffer)) => {
                let result = f(&mut buffer[..len]);
                if self.paths.is_empty() {
                    self.send(nic, buffer, len, self.segment);
                } else {
                    self.fit_and_send(nic, buffer, len);
                }
                result
            }
            _ => {
                self.traffic.tx_dropped += 1;
                f(&mut self.scratch[..len])
            }
        }
    }

    fn set_meta(&mut self, meta: PacketMeta) {
        self.segment = meta.segmentation_offload_size;
    }
}

impl TxToken<'_> {
    fn send(
        &mut self,
        nic: &mut dyn Nic,
        frame: TxBuffer,
        len: usize,
        segment: Option<NonZeroU16>,
    ) {
        nic.transmit(frame, len, segment);
        self.traffic.tx_frames += 1;
        self.traffic.tx_bytes += len as u64;
    }

    /// Sends a frame that may be too long for its path.
    fn fit_and_send(&mut self, nic: &mut dyn Nic, mut frame: TxBuffer, len: usize) {
        match (fit(&frame[..len], self.paths), self.segment) {
            (Fit::AsIs, segment) => self.send(nic, frame, len, segment),
            (Fit::MayBeCut, segment) => {
                let sums = sums(self.checksums);
                let_be_cut(&mut frame[..len], self.identification(), &sums);
                self.send(nic, frame, len, segment);
            }
            (Fit::Segments(cut), Some(segment)) if cut.is_for_device() => {
                let size = segment.get().min(cut.size);
                self.send(nic, frame, len, NonZeroU16::new(size));
            }
            (Fit::Segments(cut), _) => self.send_cut(nic, &frame[..len], &cut),
        }
    }

    /// Sends a frame in segments, as far as there is room. TCP repeats the rest.
    fn send_cut(&mut self, nic: &mut dyn Nic, frame: &[u8], cut: &Cut) {
        let sums = sums(self.checksums);
        for index in 0..cut.count() {
            let buffer = nic.transmit_ready().then(|| self.pool.transmit_buffer()).flatten();
            let Some(mut segment) = buffer else {
                self.traffic.tx_dropped += 1;
                return;
            };
            let len = cut.write(index, frame, self.identification(), &sums, &mut segment);
            self.send(nic, segment, len, None);
        }
    }

    /// For a packet that may be cut; no other has it for a while.
    fn identification(&self) -> u16 {
        self.traffic.tx_frames as u16
    }
}

/// What is left for software.
fn sums(nic: Checksums) -> ChecksumCapabilities {
    let left = |filled| if filled { Checksum::None } else { Checksum::Tx };
    let mut sums = ChecksumCapabilities::ignored();
    (sums.ipv4, sums.tcp, sums.udp) = (left(nic.ipv4), left(nic.tcp), left(nic.udp));
    sums
}

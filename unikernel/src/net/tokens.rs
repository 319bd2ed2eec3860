//! What smoltcp receives and sends packets with: received buffers and transmit buffers, used in
//! place.

use core::num::NonZeroU16;

use smoltcp::phy::{self, Checksum, ChecksumCapabilities, PacketMeta};
use smoltcp::time::Instant;
use smoltcp::wire::EthernetAddress;

use super::discovery::{Discovery, Way, write_header};
use super::fragments6::{Fragments, fill_sums};
use super::frame::{self, ETHERNET_HEADER};
use super::neighbors::Kept;
use super::path_mtu::Paths;
use super::pieces::{Cut, Fit, fit, let_be_cut};
use super::spares::Spares;
use super::traffic::Traffic;
use crate::dma::{Pool, SLOT_SIZE, TxBuffer};
use crate::nic::{Checksums, Nic};

/// A received packet. Who has it is not this token's business.
pub(super) struct RxToken<'a>(pub(super) &'a [u8]);

impl phy::RxToken for RxToken<'_> {
    #[inline]
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

/// Whether there is room for a frame.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// There is.
    Some,
    /// There is none.
    None,
    /// Nobody has asked yet.
    Unknown,
}

pub(super) struct TxToken<'a> {
    pub(super) room: Room,
    pub(super) nic: Option<&'a mut (dyn Nic + 'static)>,
    pub(super) spares: &'a mut Spares,
    pub(super) scratch: &'a mut [u8],
    pub(super) traffic: &'a mut Traffic,
    pub(super) discovery: &'a mut Discovery,
    /// What the NIC fills in.
    pub(super) checksums: Checksums,
    pub(super) paths: &'a Paths,
    pub(super) pool: &'static Pool,
    /// The longest packet of the link.
    pub(super) mtu: usize,
    /// Payload of each segment, if the device is to cut the frame.
    pub(super) segment: Option<NonZeroU16>,
    pub(super) now: Instant,
}

impl phy::TxToken for TxToken<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(mut self, packet: usize, f: F) -> R {
        let len = ETHERNET_HEADER + packet;
        // Receiving goes on when the transmit side is full: the reply is what gets lost, as it
        // would on the wire.
        let buffer = self.has_room().then(|| self.spares.take(len)).flatten();
        let (Some(nic), Some(mut frame)) = (self.nic.take(), buffer) else {
            self.traffic.tx_dropped += 1;
            return f(&mut self.scratch[..packet]);
        };
        let result = f(&mut frame[ETHERNET_HEADER..len]);
        let discovery = &mut *self.discovery;
        match discovery.way(&frame[ETHERNET_HEADER..len], self.now) {
            Way::To(station) => {
                write_header(&mut frame, station, discovery.mac);
                if self.paths.is_empty() {
                    self.send(nic, frame, len, self.segment);
                } else {
                    self.fit_and_send(nic, frame, len);
                }
            }
            // Long ones would take much of the DMA memory, and belong to connections that send them
            // again.
            Way::Unknown(neighbor) if len <= SLOT_SIZE => {
                write_header(&mut frame, EthernetAddress::default(), discovery.mac);
                let kept = Kept { frame, len, segment: self.segment };
                discovery.neighbors.keep(neighbor, kept, self.now);
            }
            Way::Unknown(neighbor) => {
                discovery.neighbors.ask(neighbor, self.now);
                self.traffic.tx_dropped += 1;
            }
            Way::Nowhere => self.traffic.tx_dropped += 1,
        }
        result
    }

    fn set_meta(&mut self, meta: PacketMeta) {
        self.segment = meta.segmentation_offload_size;
    }
}

impl TxToken<'_> {
    fn has_room(&mut self) -> bool {
        match self.room {
            Room::Some => true,
            Room::None => false,
            Room::Unknown => {
                self.spares.fill(self.pool)
                    && self.nic.as_mut().is_some_and(|nic| nic.transmit_ready())
            }
        }
    }

    /// Sends an IPv6 packet that no frame holds, which `f` writes.
    pub(super) fn send_long(mut self, packet: usize, f: impl FnOnce(&mut [u8])) {
        let scratch = core::mem::take(&mut self.scratch);
        let packet = &mut scratch[..packet];
        f(packet);
        match (self.discovery.way(packet, self.now), self.nic.take()) {
            (Way::To(station), Some(nic)) => {
                let path = frame::destination(packet).and_then(|to| self.paths.to(to));
                let mtu = path.map_or(self.mtu, |path| self.mtu.min(path.mtu.into()));
                self.send_fragments(nic, packet, mtu, station);
            }
            (Way::Unknown(neighbor), _) => {
                self.discovery.neighbors.ask(neighbor, self.now);
                self.traffic.tx_dropped += 1;
            }
            _ => self.traffic.tx_dropped += 1,
        }
    }

    /// Sends a packet in fragments, as far as there is room.
    fn send_fragments(
        &mut self,
        nic: &mut dyn Nic,
        packet: &mut [u8],
        mtu: usize,
        station: EthernetAddress,
    ) {
        let Some(fragments) = Fragments::of(packet, mtu) else {
            self.traffic.tx_dropped += 1;
            return;
        };
        fill_sums(packet, &sums(self.checksums));
        // No other packet has it for a while.
        let identification = self.traffic.tx_frames as u32;
        for index in 0..fragments.count() {
            let buffer = nic.transmit_ready().then(|| self.pool.transmit_buffer()).flatten();
            let Some(mut frame) = buffer else {
                self.traffic.tx_dropped += 1;
                return;
            };
            let fragment = &mut frame[ETHERNET_HEADER..];
            let len = ETHERNET_HEADER + fragments.write(index, packet, identification, fragment);
            write_header(&mut frame, station, self.discovery.mac);
            self.send(nic, frame, len, None);
        }
    }

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
        match (fit(&frame[ETHERNET_HEADER..len], self.paths), self.segment) {
            (Fit::AsIs, segment) => self.send(nic, frame, len, segment),
            (Fit::MayBeCut, segment) => {
                let sums = sums(self.checksums);
                let_be_cut(&mut frame[..len], self.identification(), &sums);
                self.send(nic, frame, len, segment);
            }
            (Fit::Fragments(mtu), _) => {
                let station = EthernetAddress::from_bytes(&frame[..6]);
                self.send_fragments(nic, &mut frame[ETHERNET_HEADER..len], mtu, station);
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

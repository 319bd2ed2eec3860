//! What smoltcp receives and sends packets with: received buffers and transmit buffers, used in
//! place.

use core::num::NonZeroU16;

use smoltcp::phy::{self, PacketMeta};
use smoltcp::time::Instant;
use smoltcp::wire::EthernetAddress;

use super::discovery::{Discovery, Way, write_header};
use super::frame::ETHERNET_HEADER;
use super::intake::Intake;
use super::neighbors::Kept;
use super::spares::Spares;
use super::traffic::Traffic;
use crate::dma::{RxBuffer, SLOT_SIZE};
use crate::nic::Nic;

pub(super) struct RxToken<'a> {
    pub(super) buffer: RxBuffer,
    /// Where in the frame the packet is.
    pub(super) packet: usize,
    pub(super) intake: &'a mut Intake,
}

impl phy::RxToken for RxToken<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        let result = f(&self.buffer[self.packet..]);
        self.intake.observe(self.buffer);
        result
    }
}

pub(super) struct TxToken<'a> {
    pub(super) nic: Option<&'a mut (dyn Nic + 'static)>,
    pub(super) spares: Option<&'a mut Spares>,
    pub(super) scratch: &'a mut [u8],
    pub(super) traffic: &'a mut Traffic,
    pub(super) discovery: &'a mut Discovery,
    /// Payload of each segment, if the device is to cut the frame.
    pub(super) segment: Option<NonZeroU16>,
    pub(super) now: Instant,
}

impl phy::TxToken for TxToken<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, packet: usize, f: F) -> R {
        let len = ETHERNET_HEADER + packet;
        let buffer = self.spares.and_then(|spares| spares.take(len));
        let (Some(nic), Some(mut frame)) = (self.nic, buffer) else {
            self.traffic.tx_dropped += 1;
            return f(&mut self.scratch[..packet]);
        };
        let result = f(&mut frame[ETHERNET_HEADER..len]);
        let discovery = self.discovery;
        match discovery.way(&frame[ETHERNET_HEADER..len], self.now) {
            Way::To(station) => {
                write_header(&mut frame, station, discovery.mac);
                nic.transmit(frame, len, self.segment);
                self.traffic.tx_frames += 1;
                self.traffic.tx_bytes += len as u64;
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

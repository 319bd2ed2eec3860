//! Transmit descriptors with offloads (8254x manual, sections 3.3.5 to 3.3.7; 82574 datasheet,
//! chapter 7).

use crate::common::Offload;
use crate::intel::{Piece, TransmitFormat};

/// TCP/IP context and data descriptors.
pub(crate) enum Offloading {}

/// In the second quadword of both.
mod transmit {
    pub(super) const TYPE_DATA: u64 = 1 << 20;
    pub(super) const END_OF_PACKET: u64 = 1 << 24;
    /// Insert the frame check sequence.
    pub(super) const INSERT_FCS: u64 = 1 << 25;
    /// Of a context and of its data: the packet is to be cut.
    pub(super) const SEGMENT: u64 = 1 << 26;
    pub(super) const REPORT_STATUS: u64 = 1 << 27;
    /// Not a legacy descriptor.
    pub(super) const EXTENDED: u64 = 1 << 29;
    /// Insert the tag in bits 48 to 63.
    pub(super) const INSERT_TAG: u64 = 1 << 30;
    pub(super) const DONE: u64 = 1 << 32;
    /// Of a context: the packet is TCP, over IPv4.
    pub(super) const CONTEXT_TCP: u64 = 1 << 24;
    pub(super) const CONTEXT_IPV4: u64 = 1 << 25;
    /// Of data: insert the checksum of the IPv4 header, and of the transport.
    pub(super) const INSERT_IPV4: u64 = 1 << 40;
    pub(super) const INSERT_TRANSPORT: u64 = 1 << 41;
}

impl TransmitFormat for Offloading {
    const REPORT: u64 = transmit::REPORT_STATUS;
    const DONE: u64 = transmit::DONE;
    /// No more than the half of what the transmit FIFO of any of them has.
    const MAX_PIECE: usize = 8192;

    fn context(offload: &Offload) -> Option<[u64; 2]> {
        use transmit::*;
        let checksum = offload.checksum?;
        // Start, place and end (0: the packet's) of the transport checksum. That of the IPv4 header
        // is inserted only where the packet is cut, but its fields must make sense.
        let transport = u64::from(checksum.start) | u64::from(checksum.field) << 8;
        let ip = 14 | (14 + 10) << 8 | (u64::from(checksum.start) - 1) << 16;
        let mut command = EXTENDED;
        if checksum.is_tcp {
            command |= CONTEXT_TCP;
        }
        if checksum.is_ipv4 {
            command |= CONTEXT_IPV4;
        }
        if let Some(segments) = offload.segments {
            command |= SEGMENT | u64::from(segments.payload);
            command |= u64::from(segments.headers) << 40 | u64::from(segments.size.get()) << 48;
        }
        Some([transport << 32 | ip, command])
    }

    fn data(piece: &Piece, offload: &Offload) -> [u64; 2] {
        use transmit::*;
        let mut command = TYPE_DATA | EXTENDED | INSERT_FCS;
        if piece.is_last {
            command |= END_OF_PACKET;
        }
        if offload.checksum.is_some() {
            command |= INSERT_TRANSPORT;
        }
        if offload.segments.is_some() {
            command |= SEGMENT;
            if offload.checksum.is_some_and(|checksum| checksum.is_ipv4) {
                command |= INSERT_IPV4;
            }
        }
        if let Some(vlan) = offload.vlan {
            command |= INSERT_TAG | u64::from(vlan.get()) << 48;
        }
        [piece.address, piece.len as u64 | command]
    }
}

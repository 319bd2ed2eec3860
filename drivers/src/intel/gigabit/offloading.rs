//! Transmit descriptors with offloads (8254x manual, sections 3.3.5 to 3.3.7; 82574 datasheet, chapter 7).

use crate::intel::{TransmitChecksum, TransmitFormat};

/// TCP/IP context and data descriptors, without segmentation.
pub(crate) enum Offloading {}

/// In the second quadword of both.
mod transmit {
    pub(super) const TYPE_DATA: u64 = 1 << 20;
    pub(super) const END_OF_PACKET: u64 = 1 << 24;
    /// Insert the frame check sequence.
    pub(super) const INSERT_FCS: u64 = 1 << 25;
    pub(super) const REPORT_STATUS: u64 = 1 << 27;
    /// Not a legacy descriptor.
    pub(super) const EXTENDED: u64 = 1 << 29;
    pub(super) const DONE: u64 = 1 << 32;
    /// Of a context: the packet is TCP, over IPv4.
    pub(super) const CONTEXT_TCP: u64 = 1 << 24;
    pub(super) const CONTEXT_IPV4: u64 = 1 << 25;
    /// Of data: insert the transport checksum.
    pub(super) const INSERT_TRANSPORT: u64 = 1 << 41;
}

impl TransmitFormat for Offloading {
    const REPORT: u64 = transmit::REPORT_STATUS;
    const DONE: u64 = transmit::DONE;

    fn context(checksum: TransmitChecksum) -> [u64; 2] {
        use transmit::*;
        // Start, place and end (0: the packet's) of the transport checksum. That of the IPv4 header
        // is not inserted, but its fields must make sense.
        let transport = u64::from(checksum.start) | u64::from(checksum.field) << 8;
        let ip = 14 | (14 + 10) << 8 | (u64::from(checksum.start) - 1) << 16;
        let mut command = EXTENDED;
        if checksum.is_tcp {
            command |= CONTEXT_TCP;
        }
        if checksum.is_ipv4 {
            command |= CONTEXT_IPV4;
        }
        [transport << 32 | ip, command]
    }

    fn data(address: u64, len: usize, has_checksum: bool) -> [u64; 2] {
        use transmit::*;
        let insert = if has_checksum { INSERT_TRANSPORT } else { 0 };
        let command = TYPE_DATA | EXTENDED | END_OF_PACKET | INSERT_FCS;
        [address, len as u64 | command | insert]
    }
}

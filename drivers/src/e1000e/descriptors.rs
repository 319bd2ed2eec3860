//! Descriptors of the 82574L (datasheet chapter 7).

use crate::intel::{Checked, Completion, ReceiveFormat, TransmitChecksum, TransmitFormat};

/// Extended receive descriptors. Legacy ones would do for what the driver uses now; these
/// carry the same in one quadword, tell whether UDP was looked at, and are what RSS needs.
pub(super) enum Extended {}

/// Extended status and errors, in the low half of the second quadword; the length is in
/// bits 32 to 47.
mod receive {
    pub(super) const DONE: u64 = 1 << 0;
    pub(super) const END_OF_PACKET: u64 = 1 << 1;
    /// The device did not look at checksums.
    pub(super) const IGNORE_CHECKSUM: u64 = 1 << 2;
    pub(super) const UDP_CHECKED: u64 = 1 << 4;
    pub(super) const TCP_CHECKED: u64 = 1 << 5;
    pub(super) const IP_CHECKED: u64 = 1 << 6;
    /// CRC or alignment, symbol, sequence, carrier extension and receive data errors.
    pub(super) const BAD_FRAME: u64 = 1 << 24 | 1 << 25 | 1 << 26 | 1 << 28 | 1 << 31;
    pub(super) const TRANSPORT_ERROR: u64 = 1 << 29;
    pub(super) const IP_ERROR: u64 = 1 << 30;
}

impl ReceiveFormat for Extended {
    fn completion(word: u64) -> Option<Completion> {
        use receive::*;
        let has = |bits| word & bits != 0;
        let looked = !has(IGNORE_CHECKSUM);
        has(DONE).then(|| Completion {
            len: usize::from((word >> 32) as u16),
            ends_frame: has(END_OF_PACKET),
            is_bad: has(BAD_FRAME),
            checked: Checked {
                ip: looked && has(IP_CHECKED),
                transport: looked && has(TCP_CHECKED | UDP_CHECKED),
                failed: looked && has(TRANSPORT_ERROR | IP_ERROR),
            },
        })
    }
}

/// TCP/IP context and data descriptors, without segmentation.
pub(super) enum Offloading {}

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

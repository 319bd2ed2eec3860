//! Advanced descriptors, which 82576 and I350 (datasheets 7.1.5 and 7.2.2) and 82599 and X540 (7.1.6
//! and 7.2.3) share but for the place of the receive errors.

use super::checksum::{Checked, TransmitChecksum};
use super::receive::{Completion, ReceiveFormat};
use super::transmit::TransmitFormat;
use core::marker::PhantomData;

/// Where a family has the errors of a receive write-back, as bits of its second quadword.
pub(crate) trait ReceiveErrors {
    /// What is wrong with the frame as such.
    const FRAME: u64;
    /// The TCP or UDP checksum is wrong.
    const TRANSPORT: u64;
    /// The IPv4 header's checksum is wrong.
    const IP: u64;
}

/// Receive descriptors with one buffer.
pub(crate) struct AdvancedReceive<E>(PhantomData<E>);

/// Extended status, in the low bits of the second quadword; the length is in bits 32 to 47.
mod status {
    pub(super) const DONE: u64 = 1 << 0;
    pub(super) const END_OF_PACKET: u64 = 1 << 1;
    pub(super) const UDP_CHECKED: u64 = 1 << 4;
    pub(super) const TRANSPORT_CHECKED: u64 = 1 << 5;
    pub(super) const IP_CHECKED: u64 = 1 << 6;
}

impl<E: ReceiveErrors> ReceiveFormat for AdvancedReceive<E> {
    fn completion(word: u64) -> Option<Completion> {
        use status::*;
        let has = |bits| word & bits != 0;
        // The 82599 may call a UDP datagram without a checksum wrong (an erratum that Linux's driver
        // works around, too): what a device finds wrong, software looks at again.
        let is_ip_good = has(IP_CHECKED) && !has(E::IP);
        let is_transport_good = has(UDP_CHECKED | TRANSPORT_CHECKED) && !has(E::TRANSPORT);
        has(DONE).then(|| Completion {
            len: usize::from((word >> 32) as u16),
            ends_frame: has(END_OF_PACKET),
            is_bad: has(E::FRAME),
            checked: Checked { ip: is_ip_good, transport: is_transport_good, failed: false },
        })
    }
}

/// Context and data descriptors.
pub(crate) enum AdvancedTransmit {}

/// In the second quadword of both.
mod command {
    pub(super) const TYPE_CONTEXT: u64 = 2 << 20;
    pub(super) const TYPE_DATA: u64 = 3 << 20;
    pub(super) const END_OF_PACKET: u64 = 1 << 24;
    /// Insert the frame check sequence.
    pub(super) const INSERT_FCS: u64 = 1 << 25;
    pub(super) const REPORT_STATUS: u64 = 1 << 27;
    /// Not a legacy descriptor.
    pub(super) const EXTENDED: u64 = 1 << 29;
    pub(super) const DONE: u64 = 1 << 32;
    /// Of data: insert the transport checksum.
    pub(super) const INSERT_TRANSPORT: u64 = 1 << 41;
    /// Of data: how long the packet is.
    pub(super) const PAYLOAD_SHIFT: u32 = 46;
    /// Of a context: the packet is IPv4, its payload TCP.
    pub(super) const CONTEXT_IPV4: u64 = 1 << 10;
    pub(super) const CONTEXT_TCP: u64 = 1 << 11;
}

/// Of a context's first quadword: length of the MAC header. That of the IP header is in the bits
/// below.
const MAC_LENGTH_SHIFT: u32 = 9;
/// Ethernet's.
const MAC_LENGTH: u64 = 14;

impl TransmitFormat for AdvancedTransmit {
    const REPORT: u64 = command::REPORT_STATUS;
    const DONE: u64 = command::DONE;

    fn context(checksum: TransmitChecksum) -> [u64; 2] {
        use command::*;
        let ip = u64::from(checksum.start) - MAC_LENGTH;
        let mut command = TYPE_CONTEXT | EXTENDED;
        if checksum.is_ipv4 {
            command |= CONTEXT_IPV4;
        }
        if checksum.is_tcp {
            command |= CONTEXT_TCP;
        }
        [MAC_LENGTH << MAC_LENGTH_SHIFT | ip, command]
    }

    fn data(address: u64, len: usize, has_checksum: bool) -> [u64; 2] {
        use command::*;
        let insert = if has_checksum { INSERT_TRANSPORT } else { 0 };
        let command = TYPE_DATA | EXTENDED | END_OF_PACKET | INSERT_FCS;
        let len = len as u64;
        [address, len | command | insert | len << PAYLOAD_SHIFT]
    }
}

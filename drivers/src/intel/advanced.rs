//! Advanced descriptors, which 82576 and I350 (datasheets 7.1.5 and 7.2.2) and 82599 and X540
//! (7.1.6 and 7.2.3) share but for the place of the receive errors.

use super::receive::{Completion, ReceiveFormat};
use super::transmit::{Piece, TransmitFormat};
use crate::common::{Checked, Offload};
use core::marker::PhantomData;

/// Where a family has the errors of a receive write-back, as bits of its second quadword.
pub(crate) trait ReceiveErrors {
    /// What is wrong with the frame as such.
    const FRAME: u64;
    /// The TCP or UDP checksum is wrong.
    const TRANSPORT: u64;
    /// The IPv4 header's checksum is wrong.
    const IP: u64;
    /// The VLAN tag that was taken out has its bytes swapped.
    const TAG_SWAPPED: u64 = 0;
}

/// Receive descriptors with one buffer.
pub(crate) struct AdvancedReceive<E>(PhantomData<E>);

/// Extended status, in the low bits of the second quadword; the length is in bits 32 to 47, the
/// VLAN tag in bits 48 to 63.
mod status {
    pub(super) const DONE: u64 = 1 << 0;
    pub(super) const END_OF_PACKET: u64 = 1 << 1;
    /// The frame had a VLAN tag, which was taken out.
    pub(super) const TAG_STRIPPED: u64 = 1 << 3;
    pub(super) const UDP_CHECKED: u64 = 1 << 4;
    pub(super) const TRANSPORT_CHECKED: u64 = 1 << 5;
    pub(super) const IP_CHECKED: u64 = 1 << 6;
}

impl<E: ReceiveErrors> ReceiveFormat for AdvancedReceive<E> {
    fn completion(word: u64) -> Option<Completion> {
        use status::*;
        let has = |bits| word & bits != 0;
        // The 82599 may call a UDP datagram without a checksum wrong (an erratum that Linux's
        // driver works around, too): what a device finds wrong, software looks at again.
        let is_ip_good = has(IP_CHECKED) && !has(E::IP);
        let is_transport_good = has(UDP_CHECKED | TRANSPORT_CHECKED) && !has(E::TRANSPORT);
        let tag = (word >> 48) as u16;
        let tag = if has(E::TAG_SWAPPED) { tag.swap_bytes() } else { tag };
        has(DONE).then(|| Completion {
            len: usize::from((word >> 32) as u16),
            ends_frame: has(END_OF_PACKET),
            is_bad: has(E::FRAME),
            checked: Checked { ip: is_ip_good, transport: is_transport_good, failed: false },
            tag: has(TAG_STRIPPED).then_some(tag),
        })
    }

    #[inline]
    fn plain(word: u64) -> Option<(usize, bool)> {
        use status::*;
        const WHOLE: u64 = DONE | END_OF_PACKET;
        let wrong = TAG_STRIPPED | E::FRAME | E::TRANSPORT | E::IP;
        let verified = word & IP_CHECKED != 0 && word & (UDP_CHECKED | TRANSPORT_CHECKED) != 0;
        (word & (WHOLE | wrong) == WHOLE).then_some((usize::from((word >> 32) as u16), verified))
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
    /// Of data: insert the tag that the context has.
    pub(super) const INSERT_TAG: u64 = 1 << 30;
    /// Of data: cut the packet.
    pub(super) const SEGMENT: u64 = 1 << 31;
    /// Of data: insert the checksum of the IPv4 header, and of the transport.
    pub(super) const INSERT_IPV4: u64 = 1 << 40;
    pub(super) const INSERT_TRANSPORT: u64 = 1 << 41;
    /// Of data: how long the packet is; the payload alone if it is to be cut.
    pub(super) const LENGTH_SHIFT: u32 = 46;
    /// Of a context: the packet is IPv4, its payload TCP.
    pub(super) const CONTEXT_IPV4: u64 = 1 << 10;
    pub(super) const CONTEXT_TCP: u64 = 1 << 11;
    /// Of a context: length of the TCP header, and of the segments.
    pub(super) const TCP_HEADER_SHIFT: u32 = 40;
    pub(super) const SEGMENT_SHIFT: u32 = 48;
}

/// Of a context's first quadword: length of the MAC header, and the VLAN tag. That of the IP header
/// is in the bits below.
const MAC_LENGTH_SHIFT: u32 = 9;
const TAG_SHIFT: u32 = 16;
/// Ethernet's.
const MAC_LENGTH: u64 = 14;

impl TransmitFormat for AdvancedTransmit {
    const REPORT: u64 = command::REPORT_STATUS;
    const DONE: u64 = command::DONE;
    const MAX_PIECE: usize = 16 << 10;

    fn context(offload: &Offload) -> Option<[u64; 2]> {
        use command::*;
        if offload.checksum.is_none() && offload.vlan.is_none() {
            return None;
        }
        let mut place = MAC_LENGTH << MAC_LENGTH_SHIFT;
        let mut command = TYPE_CONTEXT | EXTENDED;
        if let Some(vlan) = offload.vlan {
            place |= u64::from(vlan.get()) << TAG_SHIFT;
        }
        if let Some(checksum) = offload.checksum {
            place |= u64::from(checksum.start) - MAC_LENGTH;
            if checksum.is_ipv4 {
                command |= CONTEXT_IPV4;
            }
            if checksum.is_tcp {
                command |= CONTEXT_TCP;
            }
            if let Some(segments) = offload.segments {
                let header = u64::from(segments.headers) - u64::from(checksum.start);
                command |= header << TCP_HEADER_SHIFT;
                command |= u64::from(segments.size.get()) << SEGMENT_SHIFT;
            }
        }
        Some([place, command])
    }

    fn data(piece: &Piece, offload: &Offload) -> [u64; 2] {
        use command::*;
        let mut command = TYPE_DATA | EXTENDED | INSERT_FCS;
        if piece.is_last {
            command |= END_OF_PACKET;
        }
        if offload.vlan.is_some() {
            command |= INSERT_TAG;
        }
        if offload.checksum.is_some() {
            command |= INSERT_TRANSPORT;
        }
        let mut length = piece.frame as u64;
        if let Some(segments) = offload.segments {
            length = segments.payload.into();
            command |= SEGMENT;
            if offload.checksum.is_some_and(|checksum| checksum.is_ipv4) {
                command |= INSERT_IPV4;
            }
        }
        [piece.address, piece.len as u64 | command | length << LENGTH_SHIFT]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intel::plain_is_what_the_completion_says;

    enum Errors {}

    impl ReceiveErrors for Errors {
        const FRAME: u64 = 1 << 31;
        const TRANSPORT: u64 = 1 << 29;
        const IP: u64 = 1 << 30;
    }

    #[test]
    fn plain_frames_are_those_with_nothing_to_look_at() {
        plain_is_what_the_completion_says::<AdvancedReceive<Errors>>(60 << 32 | 0b101_0011);
    }
}

//! Frames that come many in a row with the same headers.
//!
//! Whether a frame is for this station, comes from a neighbour, and goes to an address of ours is
//! asked of its headers. Frames with the same headers have the same answers, so they are compared
//! with those of the last frame that everything was asked of: 24 bytes, in three words.
//!
//! That is so until something changes that the answers depend on. Time does, so each turn of the
//! engine [ends](super::device::Device::end_flow) the flow first; and so does whoever changes
//! addresses, groups or the NIC.

use core::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use core::ops::Range;

use smoltcp::wire::{IpAddress, Ipv4Address};

use super::frame::{
    ETHERNET_HEADER, IPV4, IPV4_FRAGMENT, IPV4_HEADER, IPV4_PROTOCOL, IPV4_SOURCE,
    IPV4_TOTAL_LENGTH, TCP, TCP_FLAGS, UDP,
};

/// IPv4 of five words: no options.
const VERSION_AND_LENGTH: u8 = 0x45;
const UDP_HEADER: usize = 8;
/// Where the transport header is.
const TRANSPORT: usize = ETHERNET_HEADER + IPV4_HEADER;
/// All headers of a datagram.
const DATAGRAM: usize = TRANSPORT + UDP_HEADER;
/// Where a frame has the fields of the IPv4 header.
const TOTAL_LENGTH: usize = ETHERNET_HEADER + IPV4_TOTAL_LENGTH;
const FRAGMENT: usize = ETHERNET_HEADER + IPV4_FRAGMENT;
const PROTOCOL: usize = ETHERNET_HEADER + IPV4_PROTOCOL;
/// The source's address, and behind it the destination's.
const SOURCE: usize = ETHERNET_HEADER + IPV4_SOURCE;

/// A frame that everything was asked of.
#[derive(Clone, Copy)]
pub(super) struct Flow {
    ends: [u64; 3],
}

impl Flow {
    /// That of a frame, if it is one of IPv4 with no options.
    pub(super) fn of(frame: &[u8]) -> Option<Self> {
        let head = frame.first_chunk::<DATAGRAM>()?;
        let is_plain = head[12..14] == IPV4 && head[ETHERNET_HEADER] == VERSION_AND_LENGTH;
        is_plain.then(|| Self { ends: ends(head) })
    }

    /// Where packets of the flow come from and go to.
    pub(super) fn addresses(&self) -> (IpAddress, IpAddress) {
        let bytes = self.ends[2].to_ne_bytes();
        let [from, to] = [0, 4].map(|at| core::array::from_fn(|index| bytes[at + index]));
        (Ipv4Address::from_octets(from).into(), Ipv4Address::from_octets(to).into())
    }

    /// The headers of a frame, if it is of the flow.
    #[inline]
    pub(super) fn headers<'a>(&self, frame: &'a [u8]) -> Option<Headers<'a>> {
        let head = frame.first_chunk::<DATAGRAM>()?;
        let ([a, b, c], [x, y, z]) = (self.ends, ends(head));
        // As arrays they would be compared by a call of `memcmp`.
        let is_same = (a ^ x) | (b ^ y) | (c ^ z) == 0;
        is_same.then_some(Headers { head, frame })
    }
}

/// The stations, the type, the first two bytes of the packet, and its addresses.
#[inline]
fn ends(head: &[u8; DATAGRAM]) -> [u64; 3] {
    let word = |at: usize| {
        let bytes = core::array::from_fn(|index| head[at + index]);
        u64::from_ne_bytes(bytes)
    };
    [word(0), word(8), word(SOURCE)]
}

/// Those of a frame of IPv4 with no options.
pub(super) struct Headers<'a> {
    head: &'a [u8; DATAGRAM],
    frame: &'a [u8],
}

impl Headers<'_> {
    #[inline]
    fn word(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.head[at], self.head[at + 1]])
    }

    /// The protocol, of a packet that is no fragment.
    #[inline]
    fn protocol(&self) -> Option<u8> {
        // More to come, or not the first.
        (self.word(FRAGMENT) & 0x3fff == 0).then_some(self.head[PROTOCOL])
    }

    /// The port that a whole datagram goes to, and where in the frame its payload is.
    #[inline]
    pub(super) fn datagram(&self) -> Option<(u16, Range<usize>)> {
        let packet = ETHERNET_HEADER + usize::from(self.word(TOTAL_LENGTH));
        let end = TRANSPORT + usize::from(self.word(TRANSPORT + 4));
        let is_whole = DATAGRAM <= end && end <= packet && packet <= self.frame.len();
        let is_one = self.protocol() == Some(UDP) && is_whole;
        is_one.then(|| (self.word(TRANSPORT + 2), DATAGRAM..end))
    }

    /// Who sent the datagram.
    #[inline]
    pub(super) fn source(&self) -> SocketAddr {
        let address: [u8; 4] = core::array::from_fn(|index| self.head[SOURCE + index]);
        SocketAddrV4::new(Ipv4Addr::from_octets(address), self.word(TRANSPORT)).into()
    }

    /// The flags of a TCP segment, and its ports in one word.
    #[inline]
    pub(super) fn segment(&self) -> Option<(u8, u32)> {
        let is_one = self.protocol() == Some(TCP);
        let flags = is_one.then(|| self.frame.get(TRANSPORT + TCP_FLAGS).copied())??;
        let ports = core::array::from_fn(|index| self.head[TRANSPORT + index]);
        Some((flags, u32::from_ne_bytes(ports)))
    }
}

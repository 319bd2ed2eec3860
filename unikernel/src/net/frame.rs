//! What can be told of a received frame without the stack.

use core::ops::Range;

use smoltcp::wire::{
    IpAddress, IpEndpoint, IpProtocol, Ipv4Address, Ipv4Packet, Ipv6Address, Ipv6Packet, TcpPacket,
    UDP_HEADER_LEN, UdpPacket,
};

/// Destination, source and type of an Ethernet frame.
pub(super) const ETHERNET_HEADER: usize = 14;
/// Ethernet types.
pub(super) const IPV4: [u8; 2] = [0x08, 0x00];
pub(super) const ARP: [u8; 2] = [0x08, 0x06];
pub(super) const IPV6: [u8; 2] = [0x86, 0xdd];
/// Reverse Address Resolution Protocol (RFC 903).
const RARP: [u8; 2] = [0x80, 0x35];
/// A tag follows (IEEE 802.1Q).
const TAG: [u8; 2] = [0x81, 0x00];
/// Where the Ethernet type is.
const ETHERTYPE: usize = 12;
const TAG_LEN: usize = 4;
/// An IPv4 header of five words: no options. And where it has its fields: the source's address is
/// followed by the destination's.
pub(super) const IPV4_HEADER: usize = 20;
pub(super) const IPV4_TOTAL_LENGTH: usize = 2;
pub(super) const IPV4_FRAGMENT: usize = 6;
pub(super) const IPV4_PROTOCOL: usize = 9;
pub(super) const IPV4_SOURCE: usize = 12;
const IPV6_HEADER: usize = 40;
const IPV6_HOP_BY_HOP: u8 = 0;
const IPV6_FRAGMENT: u8 = 44;
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
/// Where a TCP header has its fields.
pub(super) const TCP_SEQUENCE: usize = 4;
pub(super) const TCP_ACKNOWLEDGEMENT: usize = 8;
pub(super) const TCP_OFFSET: usize = 12;
pub(super) const TCP_FLAGS: usize = 13;
pub(super) const TCP_SYN: u8 = 2;
pub(super) const TCP_RST: u8 = 4;
/// Says nothing that a receiver heeds.
pub(super) const TCP_PUSH: u8 = 8;
pub(super) const TCP_ACK: u8 = 16;

/// What a frame carries, and where.
#[derive(Clone, Copy)]
pub(super) struct Header {
    pub(super) ethertype: [u8; 2],
    pub(super) payload: usize,
}

impl Header {
    /// Reads it. A frame with a priority, that is a tag of VLAN 0, is an untagged one (IEEE 802.1Q,
    /// table 9-2); one of another VLAN has the type of the tag.
    #[inline]
    pub(super) fn of(frame: &[u8]) -> Option<Self> {
        let ethertype = *frame.get(ETHERTYPE..)?.first_chunk()?;
        if ethertype == TAG
            && let &[high, low, a, b, ..] = frame.get(ETHERNET_HEADER..)?
            && high & 0xf == 0
            && low == 0
        {
            return Some(Self { ethertype: [a, b], payload: ETHERNET_HEADER + TAG_LEN });
        }
        Some(Self { ethertype, payload: ETHERNET_HEADER })
    }

    /// Whether the frame is of RARP. From the guest's own station address, it is what a hypervisor
    /// sends in the name of a guest that has moved (QEMU, `net/announce.c`).
    #[inline]
    pub(super) fn is_rarp(self) -> bool {
        self.ethertype == RARP
    }

    /// The flags of the TCP segment in the packet of a frame. For every received one, so nothing
    /// else is checked.
    #[inline]
    pub(super) fn tcp_flags(self, packet: &[u8]) -> Option<u8> {
        let version = packet.first()?;
        let (protocol, tcp) = match self.ethertype {
            IPV4 => (9, usize::from(version & 0xf) * 4),
            IPV6 => (6, IPV6_HEADER),
            _ => return None,
        };
        (packet.get(protocol) == Some(&TCP)).then(|| packet.get(tcp + TCP_FLAGS).copied())?
    }

    /// Whether the packet of a frame is a UDP datagram. For every received one, so nothing else is
    /// checked.
    #[inline]
    pub(super) fn is_udp(self, packet: &[u8]) -> bool {
        match self.ethertype {
            IPV4 => packet.get(9) == Some(&UDP),
            IPV6 => packet.get(6) == Some(&UDP),
            _ => false,
        }
    }

    /// Whether the packet of a frame is a fragment of a datagram. For every received one, so
    /// nothing else is checked.
    #[inline]
    pub(super) fn is_fragment(self, packet: &[u8]) -> bool {
        match self.ethertype {
            // More to come, or not the first.
            IPV4 => packet.get(6..8).is_some_and(|word| word[0] & 0x3f != 0 || word[1] != 0),
            IPV6 => packet.get(6) == Some(&IPV6_FRAGMENT),
            _ => false,
        }
    }
}

/// The TCP segment of an IP packet that is no fragment. Checksums and lengths are not looked at.
#[inline]
pub(super) fn tcp(packet: &[u8]) -> Option<&[u8]> {
    let version = *packet.first()?;
    let (protocol, at) = match version >> 4 {
        4 => (*packet.get(9)?, usize::from(version & 0xf) * 4),
        6 if packet.get(6) == Some(&IPV6_HOP_BY_HOP) => {
            // The one header that smoltcp looks for a segment behind.
            let len = (usize::from(*packet.get(IPV6_HEADER + 1)?) + 1) * 8;
            (*packet.get(IPV6_HEADER)?, IPV6_HEADER + len)
        }
        6 => (*packet.get(6)?, IPV6_HEADER),
        _ => return None,
    };
    (protocol == TCP).then(|| packet.get(at..))?
}

/// Where an IP packet comes from.
#[inline]
pub(super) fn source(packet: &[u8]) -> Option<IpAddress> {
    address(packet, 12, 8)
}

/// Where an IP packet goes.
#[inline]
pub(super) fn destination(packet: &[u8]) -> Option<IpAddress> {
    address(packet, 16, 24)
}

#[inline]
fn address(packet: &[u8], at: usize, at6: usize) -> Option<IpAddress> {
    match packet.first()? >> 4 {
        4 => Some(IpAddress::Ipv4(Ipv4Address::from(*packet.get(at..)?.first_chunk::<4>()?))),
        6 => Some(IpAddress::Ipv6(Ipv6Address::from(*packet.get(at6..)?.first_chunk::<16>()?))),
        _ => None,
    }
}

/// A UDP datagram that is whole in one frame.
pub(super) struct Udp {
    pub(super) source: IpEndpoint,
    pub(super) destination: IpAddress,
    pub(super) port: u16,
    /// Where in the frame its payload is.
    pub(super) payload: Range<usize>,
}

impl Udp {
    /// Finds the datagram in a frame. Checksums are not looked at.
    pub(super) fn parse(frame: &[u8], header: Header) -> Option<Self> {
        let packet = &frame[header.payload..];
        let (protocol, source, destination, range): (_, IpAddress, IpAddress, _) =
            match header.ethertype {
                IPV4 => {
                    let ip = Ipv4Packet::new_checked(packet).ok()?;
                    if ip.version() != 4 || ip.more_frags() || ip.frag_offset() != 0 {
                        return None;
                    }
                    let range = ip.header_len().into()..ip.total_len().into();
                    (ip.next_header(), ip.src_addr().into(), ip.dst_addr().into(), range)
                }
                IPV6 => {
                    let ip = Ipv6Packet::new_checked(packet).ok()?;
                    if ip.version() != 6 {
                        return None;
                    }
                    let range = ip.header_len()..ip.total_len();
                    (ip.next_header(), ip.src_addr().into(), ip.dst_addr().into(), range)
                }
                _ => return None,
            };
        if protocol != IpProtocol::Udp || !source.is_unicast() {
            return None;
        }
        let udp = UdpPacket::new_checked(packet.get(range.clone())?).ok()?;
        let start = header.payload + range.start + UDP_HEADER_LEN;
        Some(Self {
            source: IpEndpoint::new(source, udp.src_port()),
            destination,
            port: udp.dst_port(),
            payload: start..start + udp.payload().len(),
        })
    }
}

/// Whether the checksums are right that the stack leaves to a NIC, for a frame that no NIC vouches
/// for. Of a fragment nobody can tell; its are not.
pub(super) fn has_valid_checksums(frame: &[u8]) -> bool {
    let Some(header) = Header::of(frame) else { return false };
    let packet = &frame[header.payload..];
    !matches!(header.ethertype, IPV4 | IPV6) || is_valid_packet(packet)
}

/// The same for an IP packet alone.
pub(super) fn is_valid_packet(packet: &[u8]) -> bool {
    match packet.first().map(|version| version >> 4) {
        Some(4) => Ipv4Packet::new_checked(packet).is_ok_and(|packet| {
            let (from, to) = (packet.src_addr().into(), packet.dst_addr().into());
            let is_fragment = packet.more_frags() || packet.frag_offset() != 0;
            packet.verify_checksum()
                && !is_fragment
                && carries_valid(packet.next_header(), from, to, packet.payload())
        }),
        Some(6) => Ipv6Packet::new_checked(packet).is_ok_and(|packet| {
            let (from, to) = (packet.src_addr().into(), packet.dst_addr().into());
            carries_valid(packet.next_header(), from, to, packet.payload())
        }),
        _ => false,
    }
}

fn carries_valid(protocol: IpProtocol, from: IpAddress, to: IpAddress, payload: &[u8]) -> bool {
    match protocol {
        IpProtocol::Tcp => {
            TcpPacket::new_checked(payload).is_ok() && adds_up(protocol, from, to, payload)
        }
        IpProtocol::Udp => UdpPacket::new_checked(payload).is_ok_and(|packet| {
            let has_none = packet.checksum() == 0 && matches!(from, IpAddress::Ipv4(_));
            let datagram = &payload[..packet.len().into()];
            has_none || adds_up(protocol, from, to, datagram)
        }),
        // The stack checks all others itself.
        _ => true,
    }
}

/// Whether the checksum over pseudo header and packet is right (RFC 9293, 3.1; RFC 8200, 8.1).
fn adds_up(protocol: IpProtocol, from: IpAddress, to: IpAddress, packet: &[u8]) -> bool {
    use crate::checksum::Sum;

    let address = |address| match address {
        IpAddress::Ipv4(address) => Sum::of(&address.octets()),
        IpAddress::Ipv6(address) => Sum::of(&address.octets()),
    };
    let Ok(len) = u16::try_from(packet.len()) else { return false };
    let pseudo = address(from).and(address(to)).and_word(u8::from(protocol).into()).and_word(len);
    pseudo.and(Sum::of(packet)).folded() == 0xffff
}

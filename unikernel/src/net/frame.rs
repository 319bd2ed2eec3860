//! What can be told of a received frame without the stack.

use core::ops::Range;

use smoltcp::wire::{
    EthernetFrame, EthernetProtocol, IpAddress, IpEndpoint, IpProtocol, Ipv4Packet, Ipv6Packet,
    TcpPacket, UDP_HEADER_LEN, UdpPacket,
};

/// Where the Ethernet type is.
const ETHERTYPE: usize = 12;
/// Ethertype of the Reverse Address Resolution Protocol (RFC 903).
const RARP: [u8; 2] = [0x80, 0x35];
/// Where an IP packet begins.
const IP: usize = 14;
const IPV6_HEADER: usize = 40;
const TCP: u8 = 6;
/// Where a TCP header has its flags.
const TCP_FLAGS: usize = 13;
const TCP_RST: u8 = 4;

/// Whether a frame is of RARP. From the guest's own station address, it is what a hypervisor sends
/// in the name of a guest that has moved (QEMU, `net/announce.c`).
#[inline]
pub(super) fn is_rarp(frame: &[u8]) -> bool {
    frame.get(ETHERTYPE..IP) == Some(&RARP)
}

/// Whether a frame resets a TCP connection. For every received frame, so nothing else is checked.
#[inline]
pub(super) fn is_tcp_reset(frame: &[u8]) -> bool {
    let Some(&[high, low, version, ..]) = frame.get(ETHERTYPE..) else { return false };
    let (protocol, tcp) = match [high, low] {
        [0x08, 0x00] => (IP + 9, IP + usize::from(version & 0xf) * 4),
        [0x86, 0xdd] => (IP + 6, IP + IPV6_HEADER),
        _ => return false,
    };
    frame.get(protocol) == Some(&TCP)
        && frame.get(tcp + TCP_FLAGS).is_some_and(|flags| flags & TCP_RST != 0)
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
    pub(super) fn parse(frame: &[u8]) -> Option<Self> {
        let ethernet = EthernetFrame::new_checked(frame).ok()?;
        let (protocol, source, destination, range): (_, IpAddress, IpAddress, _) =
            match ethernet.ethertype() {
                EthernetProtocol::Ipv4 => {
                    let ip = Ipv4Packet::new_checked(ethernet.payload()).ok()?;
                    if ip.version() != 4 || ip.more_frags() || ip.frag_offset() != 0 {
                        return None;
                    }
                    let range = ip.header_len().into()..ip.total_len().into();
                    (ip.next_header(), ip.src_addr().into(), ip.dst_addr().into(), range)
                }
                EthernetProtocol::Ipv6 => {
                    let ip = Ipv6Packet::new_checked(ethernet.payload()).ok()?;
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
        let udp = UdpPacket::new_checked(ethernet.payload().get(range.clone())?).ok()?;
        let start = IP + range.start + UDP_HEADER_LEN;
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
    let Ok(frame) = EthernetFrame::new_checked(frame) else { return false };
    match frame.ethertype() {
        EthernetProtocol::Ipv4 => Ipv4Packet::new_checked(frame.payload()).is_ok_and(|packet| {
            let (from, to) = (packet.src_addr().into(), packet.dst_addr().into());
            let is_fragment = packet.more_frags() || packet.frag_offset() != 0;
            packet.verify_checksum()
                && !is_fragment
                && carries_valid(packet.next_header(), from, to, packet.payload())
        }),
        EthernetProtocol::Ipv6 => Ipv6Packet::new_checked(frame.payload()).is_ok_and(|packet| {
            let (from, to) = (packet.src_addr().into(), packet.dst_addr().into());
            carries_valid(packet.next_header(), from, to, packet.payload())
        }),
        _ => true,
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

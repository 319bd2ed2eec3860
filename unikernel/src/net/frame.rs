//! What can be told of a received frame without the stack.

use core::ops::Range;

use smoltcp::wire::{
    EthernetFrame, EthernetProtocol, IpAddress, IpEndpoint, IpProtocol, Ipv4Packet, Ipv6Packet,
    TcpPacket, UDP_HEADER_LEN, UdpPacket,
};

/// Length of Ethernet's header.
pub(super) const ETHERNET_HEADER: usize = 14;
/// Where the Ethernet type is.
const ETHERTYPE: usize = 12;
/// Ethertype of the Reverse Address Resolution Protocol (RFC 903).
const RARP: [u8; 2] = [0x80, 0x35];
/// Where an IP packet begins.
const IP: usize = 14;
const IPV6_HEADER: usize = 40;
const IPV6_FRAGMENT: u8 = 44;
const TCP: u8 = 6;
/// Where a TCP header has its flags.
const TCP_FLAGS: usize = 13;
pub(super) const TCP_SYN: u8 = 2;
pub(super) const TCP_RST: u8 = 4;
pub(super) const TCP_ACK: u8 = 16;

/// Whether a frame is of RARP. From the guest's own station address, it is what a hypervisor sends
/// in the name of a guest that has moved (QEMU, `net/announce.c`).
#[inline]
pub(super) fn is_rarp(frame: &[u8]) -> bool {
    frame.get(ETHERTYPE..IP) == Some(&RARP)
}

/// Whether a frame has a fragment of a datagram. For every received frame, so nothing else is
/// checked.
#[inline]
pub(super) fn is_fragment(frame: &[u8]) -> bool {
    match frame.get(ETHERTYPE..IP) {
        // More to come, or not the first.
        Some([0x08, 0x00]) => {
            frame.get(IP + 6..IP + 8).is_some_and(|word| word[0] & 0x3f != 0 || word[1] != 0)
        }
        Some([0x86, 0xdd]) => frame.get(IP + 6) == Some(&IPV6_FRAGMENT),
        _ => false,
    }
}

/// The flags of a TCP segment. For every received frame, so nothing else is checked.
#[inline]
pub(super) fn tcp_flags(frame: &[u8]) -> Option<u8> {
    let &[high, low, version, ..] = frame.get(ETHERTYPE..)? else { return None };
    let (protocol, tcp) = match [high, low] {
        [0x08, 0x00] => (IP + 9, IP + usize::from(version & 0xf) * 4),
        [0x86, 0xdd] => (IP + 6, IP + IPV6_HEADER),
        _ => return None,
    };
    (frame.get(protocol) == Some(&TCP)).then(|| frame.get(tcp + TCP_FLAGS).copied())?
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
            TcpPacket::new_checked(payload).is_ok_and(|packet| packet.verify_checksum(&from, &to))
        }
        IpProtocol::Udp => {
            UdpPacket::new_checked(payload).is_ok_and(|packet| packet.verify_checksum(&from, &to))
        }
        // The stack checks all others itself.
        _ => true,
    }
}

//! What can be told of a received frame without the stack.

use smoltcp::wire::{
    EthernetFrame, EthernetProtocol, IpAddress, IpProtocol, Ipv4Packet, Ipv6Packet, TcpPacket,
    UdpPacket,
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

//! Checksums of a frame that no NIC vouches for: the stack leaves to the NIC in use what that one checks.

use smoltcp::wire::{
    EthernetFrame, EthernetProtocol, IpAddress, IpProtocol, Ipv4Packet, Ipv6Packet, TcpPacket,
    UdpPacket,
};

/// Whether the checksums are right that the stack may not look at. Of fragments nobody can tell; they are not.
pub(super) fn is_sound(frame: &[u8]) -> bool {
    let Ok(frame) = EthernetFrame::new_checked(frame) else { return false };
    match frame.ethertype() {
        EthernetProtocol::Ipv4 => Ipv4Packet::new_checked(frame.payload()).is_ok_and(|packet| {
            let (from, to) = (packet.src_addr().into(), packet.dst_addr().into());
            let is_fragment = packet.more_frags() || packet.frag_offset() != 0;
            packet.verify_checksum()
                && !is_fragment
                && carries_sound(packet.next_header(), from, to, packet.payload())
        }),
        EthernetProtocol::Ipv6 => Ipv6Packet::new_checked(frame.payload()).is_ok_and(|packet| {
            let (from, to) = (packet.src_addr().into(), packet.dst_addr().into());
            carries_sound(packet.next_header(), from, to, packet.payload())
        }),
        _ => true,
    }
}

fn carries_sound(protocol: IpProtocol, from: IpAddress, to: IpAddress, payload: &[u8]) -> bool {
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

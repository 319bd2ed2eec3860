//! Frames that the interface sends unasked: where its addresses are, and that it looks for a
//! router.
//!
//! Each is sent at once, and `false` means that there was no room for it.

use smoltcp::phy::{ChecksumCapabilities, Device as _, TxToken as _};
use smoltcp::time::Instant;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
    EthernetRepr, IPV6_LINK_LOCAL_ALL_NODES, IPV6_LINK_LOCAL_ALL_ROUTERS, Icmpv6Packet, Icmpv6Repr,
    IpProtocol, Ipv4Address, Ipv6Address, Ipv6Packet, Ipv6Repr, NdiscNeighborFlags, NdiscRepr,
};

use super::device::Device;
use super::groups::station;
use super::ipv6::{HOP_LIMIT, link_local};

/// Gratuitous ARP (RFC 5227, section 2.3).
pub(super) fn gratuitous_arp(
    device: &mut Device,
    mac: EthernetAddress,
    address: Ipv4Address,
    now: Instant,
) -> bool {
    let arp = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr: mac,
        source_protocol_addr: address,
        target_hardware_addr: EthernetAddress([0; 6]),
        target_protocol_addr: address,
    };
    let ethernet = EthernetRepr {
        src_addr: mac,
        dst_addr: EthernetAddress::BROADCAST,
        ethertype: EthernetProtocol::Arp,
    };
    frame(device, ethernet, arp.buffer_len(), now, |payload| {
        arp.emit(&mut ArpPacket::new_unchecked(payload));
    })
}

/// An unsolicited neighbour advertisement (RFC 4861, section 7.2.6).
pub(super) fn neighbor_advertisement(
    device: &mut Device,
    mac: EthernetAddress,
    address: Ipv6Address,
    now: Instant,
) -> bool {
    let advertisement = NdiscRepr::NeighborAdvert {
        flags: NdiscNeighborFlags::OVERRIDE,
        target_addr: address,
        lladdr: Some(mac.into()),
    };
    ndisc(device, mac, (address, IPV6_LINK_LOCAL_ALL_NODES), advertisement, now)
}

/// A router solicitation (RFC 4861, section 6.3.7).
pub(super) fn router_solicitation(device: &mut Device, mac: EthernetAddress, now: Instant) -> bool {
    let solicitation = NdiscRepr::RouterSolicit { lladdr: Some(mac.into()) };
    ndisc(device, mac, (link_local(mac.0), IPV6_LINK_LOCAL_ALL_ROUTERS), solicitation, now)
}

fn ndisc(
    device: &mut Device,
    mac: EthernetAddress,
    (source, group): (Ipv6Address, Ipv6Address),
    ndisc: NdiscRepr<'_>,
    now: Instant,
) -> bool {
    let icmp = Icmpv6Repr::Ndisc(ndisc);
    let ip = Ipv6Repr {
        src_addr: source,
        dst_addr: group,
        next_header: IpProtocol::Icmpv6,
        payload_len: icmp.buffer_len(),
        hop_limit: HOP_LIMIT,
    };
    let ethernet = EthernetRepr {
        src_addr: mac,
        dst_addr: EthernetAddress(station(group.into())),
        ethertype: EthernetProtocol::Ipv6,
    };
    frame(device, ethernet, ip.buffer_len() + icmp.buffer_len(), now, |payload| {
        let mut packet = Ipv6Packet::new_unchecked(payload);
        ip.emit(&mut packet);
        let mut body = Icmpv6Packet::new_unchecked(packet.payload_mut());
        icmp.emit(&source, &group, &mut body, &ChecksumCapabilities::default());
    })
}

/// Sends a frame with `len` bytes that `write` fills.
fn frame(
    device: &mut Device,
    ethernet: EthernetRepr,
    len: usize,
    now: Instant,
    write: impl FnOnce(&mut [u8]),
) -> bool {
    let Some(token) = device.transmit(now) else { return false };
    token.consume(ethernet.buffer_len() + len, |buffer| {
        let mut frame = EthernetFrame::new_unchecked(buffer);
        ethernet.emit(&mut frame);
        write(frame.payload_mut());
    });
    true
}

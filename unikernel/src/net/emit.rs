//! What the interface sends unasked, and to find others: where its addresses are, whom it looks
//! for, which groups it is in, and what it has to say to DHCP servers.
//!
//! Each is sent at once, and `false` means that there was no room for it.

use smoltcp::phy::{ChecksumCapabilities, Device as _, TxToken as _};
use smoltcp::time::Instant;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, DHCP_CLIENT_PORT, DHCP_SERVER_PORT, DhcpPacket,
    EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, IPV6_LINK_LOCAL_ALL_NODES,
    IPV6_LINK_LOCAL_ALL_ROUTERS, Icmpv6Packet, Icmpv6Repr, IgmpPacket, IgmpRepr, IgmpVersion,
    IpProtocol, Ipv4Address, Ipv4Packet, Ipv4Repr, Ipv6Address, Ipv6ExtHeader, Ipv6ExtHeaderRepr,
    Ipv6HopByHopHeader, Ipv6HopByHopRepr, Ipv6Packet, Ipv6Repr, MldAddressRecordRepr,
    MldRecordType, MldRepr, NdiscNeighborFlags, NdiscRepr, UdpPacket, UdpRepr,
};

use super::device::Device;
use super::dhcp;
use super::groups::solicited_node;
use super::ndisc::HOP_LIMIT;

/// Where reports of groups go (RFC 3810, section 5.2.14).
const ALL_MLDV2_ROUTERS: Ipv6Address = Ipv6Address::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);

/// Gratuitous ARP (RFC 5227, section 2.3).
pub(super) fn gratuitous_arp(device: &mut Device, address: Ipv4Address) -> bool {
    arp(device, ArpOperation::Request, address, (EthernetAddress([0; 6]), address), None)
}

/// Asks for the station that has an address: one that is thought to, or all.
pub(super) fn arp_request(
    device: &mut Device,
    own: Ipv4Address,
    wanted: Ipv4Address,
    station: Option<EthernetAddress>,
) -> bool {
    arp(device, ArpOperation::Request, own, (EthernetAddress([0; 6]), wanted), station)
}

/// Answers such a question.
pub(super) fn arp_reply(
    device: &mut Device,
    own: Ipv4Address,
    (station, asker): (EthernetAddress, Ipv4Address),
) -> bool {
    arp(device, ArpOperation::Reply, own, (station, asker), Some(station))
}

fn arp(
    device: &mut Device,
    operation: ArpOperation,
    own: Ipv4Address,
    target: (EthernetAddress, Ipv4Address),
    station: Option<EthernetAddress>,
) -> bool {
    let mac = device.discovery.mac;
    let arp = ArpRepr::EthernetIpv4 {
        operation,
        source_hardware_addr: mac,
        source_protocol_addr: own,
        target_hardware_addr: target.0,
        target_protocol_addr: target.1,
    };
    let ethernet = EthernetRepr {
        src_addr: mac,
        dst_addr: station.unwrap_or(EthernetAddress::BROADCAST),
        ethertype: EthernetProtocol::Arp,
    };
    device.emit(ethernet.buffer_len() + arp.buffer_len(), |buffer| {
        let mut frame = EthernetFrame::new_unchecked(buffer);
        ethernet.emit(&mut frame);
        arp.emit(&mut ArpPacket::new_unchecked(frame.payload_mut()));
    })
}

/// A neighbour advertisement: an answer to who has asked, or to all and unsolicited (RFC 4861,
/// sections 7.2.4 and 7.2.6).
pub(super) fn neighbor_advertisement(
    device: &mut Device,
    own: Ipv6Address,
    asker: Option<Ipv6Address>,
    now: Instant,
) -> bool {
    let solicited = asker.map_or(NdiscNeighborFlags::empty(), |_| NdiscNeighborFlags::SOLICITED);
    let advertisement = NdiscRepr::NeighborAdvert {
        flags: NdiscNeighborFlags::OVERRIDE | solicited,
        target_addr: own,
        lladdr: Some(device.discovery.mac.into()),
    };
    ndisc(device, (own, asker.unwrap_or(IPV6_LINK_LOCAL_ALL_NODES)), advertisement, now)
}

/// Asks for the station that has an address: one that is thought to, or all.
pub(super) fn neighbor_solicitation(
    device: &mut Device,
    own: Ipv6Address,
    wanted: Ipv6Address,
    station: Option<EthernetAddress>,
    now: Instant,
) -> bool {
    let lladdr = Some(device.discovery.mac.into());
    let solicitation = NdiscRepr::NeighborSolicit { target_addr: wanted, lladdr };
    let to = station.map_or(solicited_node(wanted), |_| wanted);
    ndisc(device, (own, to), solicitation, now)
}

/// Asks whether somebody has an address that is to be ours (RFC 4862, section 5.4.2).
pub(super) fn address_probe(device: &mut Device, wanted: Ipv6Address, now: Instant) -> bool {
    let solicitation = NdiscRepr::NeighborSolicit { target_addr: wanted, lladdr: None };
    ndisc(device, (Ipv6Address::UNSPECIFIED, solicited_node(wanted)), solicitation, now)
}

/// A router solicitation (RFC 4861, section 6.3.7), from an address or, so far, none.
pub(super) fn router_solicitation(
    device: &mut Device,
    own: Option<Ipv6Address>,
    now: Instant,
) -> bool {
    let lladdr = own.map(|_| device.discovery.mac.into());
    let own = own.unwrap_or(Ipv6Address::UNSPECIFIED);
    let solicitation = NdiscRepr::RouterSolicit { lladdr };
    ndisc(device, (own, IPV6_LINK_LOCAL_ALL_ROUTERS), solicitation, now)
}

fn ndisc(
    device: &mut Device,
    (source, destination): (Ipv6Address, Ipv6Address),
    ndisc: NdiscRepr<'_>,
    now: Instant,
) -> bool {
    let icmp = Icmpv6Repr::Ndisc(ndisc);
    let ip = Ipv6Repr {
        src_addr: source,
        dst_addr: destination,
        next_header: IpProtocol::Icmpv6,
        payload_len: icmp.buffer_len(),
        hop_limit: HOP_LIMIT,
    };
    packet(device, ip.buffer_len() + icmp.buffer_len(), now, |buffer| {
        let mut packet = Ipv6Packet::new_unchecked(buffer);
        ip.emit(&mut packet);
        let mut body = Icmpv6Packet::new_unchecked(packet.payload_mut());
        icmp.emit(&source, &destination, &mut body, &ChecksumCapabilities::default());
    })
}

/// Tells of the IPv6 groups that the interface is in (MLDv2, RFC 3810, section 5.2), from its
/// link-local address or, so far, none.
pub(super) fn mld_report(
    device: &mut Device,
    own: Option<Ipv6Address>,
    groups: &[Ipv6Address],
    now: Instant,
) -> bool {
    let record = |&group| MldAddressRecordRepr::new(MldRecordType::ChangeToExclude, group);
    let records: heapless::Vec<_, RECORDS> = groups.iter().map(record).take(RECORDS).collect();
    let icmp = Icmpv6Repr::Mld(MldRepr::ReportRecordReprs(&records));
    let icmp_len =
        icmp.buffer_len() + records.iter().map(MldAddressRecordRepr::buffer_len).sum::<usize>();
    let mut options = Ipv6HopByHopRepr::mldv2_router_alert();
    options.push_padn_option(0);
    let extension = Ipv6ExtHeaderRepr { next_header: IpProtocol::Icmpv6, length: 0, data: &[] };
    let options_at = extension.header_len();
    let icmp_at = options_at + options.buffer_len();
    let source = own.unwrap_or(Ipv6Address::UNSPECIFIED);
    let ip = Ipv6Repr {
        src_addr: source,
        dst_addr: ALL_MLDV2_ROUTERS,
        next_header: IpProtocol::HopByHop,
        payload_len: icmp_at + icmp_len,
        hop_limit: 1,
    };
    packet(device, ip.buffer_len() + ip.payload_len, now, |buffer| {
        let mut packet = Ipv6Packet::new_unchecked(buffer);
        ip.emit(&mut packet);
        let (headers, body) = packet.payload_mut().split_at_mut(icmp_at);
        extension.emit(&mut Ipv6ExtHeader::new_unchecked(&mut headers[..options_at]));
        options.emit(&mut Ipv6HopByHopHeader::new_unchecked(&mut headers[options_at..]));
        let mut body = Icmpv6Packet::new_unchecked(body);
        let checksums = ChecksumCapabilities::default();
        icmp.emit(&source, &ALL_MLDV2_ROUTERS, &mut body, &checksums);
    })
}

/// Groups in a report; smoltcp has room for no more.
pub(super) const RECORDS: usize = 32;

/// Tells of an IPv4 group that the interface is in (IGMPv2, RFC 2236, section 3).
pub(super) fn igmp_report(
    device: &mut Device,
    own: Ipv4Address,
    group: Ipv4Address,
    now: Instant,
) -> bool {
    let report = IgmpRepr::MembershipReport { group_addr: group, version: IgmpVersion::Version2 };
    let ip = Ipv4Repr {
        src_addr: own,
        dst_addr: group,
        next_header: IpProtocol::Igmp,
        payload_len: report.buffer_len(),
        hop_limit: 1,
    };
    packet(device, ip.buffer_len() + ip.payload_len, now, |buffer| {
        let mut packet = Ipv4Packet::new_unchecked(buffer);
        ip.emit(&mut packet, &ChecksumCapabilities::default());
        report.emit(&mut IgmpPacket::new_unchecked(packet.payload_mut()));
    })
}

/// A message for DHCP servers.
pub(super) fn dhcp(device: &mut Device, message: &dhcp::Message, now: Instant) -> bool {
    let mac = device.discovery.mac;
    message.with(mac, |dhcp| {
        let udp = UdpRepr { src_port: DHCP_CLIENT_PORT, dst_port: DHCP_SERVER_PORT };
        let (source, destination) = message.ends();
        let ip = Ipv4Repr {
            src_addr: source,
            dst_addr: destination,
            next_header: IpProtocol::Udp,
            payload_len: udp.header_len() + dhcp.buffer_len(),
            hop_limit: 64,
        };
        packet(device, ip.buffer_len() + ip.payload_len, now, |buffer| {
            let checksums = ChecksumCapabilities::default();
            let mut packet = Ipv4Packet::new_unchecked(buffer);
            ip.emit(&mut packet, &checksums);
            let mut body = UdpPacket::new_unchecked(packet.payload_mut());
            let (from, to) = (source.into(), destination.into());
            let emit = |payload: &mut [u8]| {
                let written = dhcp.emit(&mut DhcpPacket::new_unchecked(payload));
                debug_assert!(written.is_ok(), "its length is what it says");
            };
            udp.emit(&mut body, &from, &to, dhcp.buffer_len(), emit, &checksums);
        })
    })
}

/// Sends an IP packet of `len` bytes that `write` fills, by way of whichever neighbour it takes.
fn packet(device: &mut Device, len: usize, now: Instant, write: impl FnOnce(&mut [u8])) -> bool {
    let Some(token) = device.transmit(now) else { return false };
    token.consume(len, write);
    true
}

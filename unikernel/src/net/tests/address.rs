//! Addresses: the command line's, and DHCP against a small server.

use std::string::ToString;
use std::vec;
use std::vec::Vec;

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::time::Duration;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, DhcpMessageType, DhcpPacket, DhcpRepr, EthernetAddress,
    EthernetFrame, EthernetProtocol, EthernetRepr, IpProtocol, Ipv4Address, Ipv4Packet, Ipv4Repr,
    UdpPacket, UdpRepr,
};

use super::network::{Wire, World, host};
use crate::net::{Addressing, Lease, Role};

pub(super) const SERVER: Ipv4Address = Ipv4Address::new(10, 0, 2, 2);
pub(super) const DNS: Ipv4Address = Ipv4Address::new(10, 0, 2, 3);
const SERVER_MAC: EthernetAddress = EthernetAddress([0x52, 0x55, 10, 0, 2, 2]);
const LEASE: u32 = 600;

/// Answers a frame that asks for the server's MAC.
pub(super) fn answer_arp(frame: &[u8], to: &Wire) {
    let frame = EthernetFrame::new_checked(frame).expect("a frame");
    if frame.ethertype() != EthernetProtocol::Arp {
        return;
    }
    let packet = ArpPacket::new_checked(frame.payload()).expect("ARP");
    let Ok(ArpRepr::EthernetIpv4 {
        source_hardware_addr,
        source_protocol_addr,
        target_protocol_addr,
        ..
    }) = ArpRepr::parse(&packet)
    else {
        return;
    };
    if target_protocol_addr != SERVER {
        return;
    }
    let ethernet = EthernetRepr {
        src_addr: SERVER_MAC,
        dst_addr: source_hardware_addr,
        ethertype: EthernetProtocol::Arp,
    };
    let arp = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Reply,
        source_hardware_addr: SERVER_MAC,
        source_protocol_addr: SERVER,
        target_hardware_addr: source_hardware_addr,
        target_protocol_addr: source_protocol_addr,
    };
    let mut frame = vec![0; ethernet.buffer_len() + arp.buffer_len()];
    let mut packet = EthernetFrame::new_unchecked(&mut frame);
    ethernet.emit(&mut packet);
    arp.emit(&mut ArpPacket::new_unchecked(packet.payload_mut()));
    to.send(frame);
}

/// Answers the requests on `from` with `address`, and returns the types of the messages it saw.
pub(super) fn serve(from: &Wire, to: &Wire, address: Ipv4Address) -> Vec<DhcpMessageType> {
    let mut seen = Vec::new();
    while let Some(frame) = from.take() {
        let ethernet = EthernetFrame::new_checked(&frame).expect("a frame");
        if ethernet.ethertype() == EthernetProtocol::Arp {
            answer_arp(&frame, to);
            continue;
        }
        let ip = Ipv4Packet::new_checked(ethernet.payload()).expect("a packet");
        if ip.next_header() != IpProtocol::Udp {
            continue;
        }
        let udp = UdpPacket::new_checked(ip.payload()).expect("a datagram");
        let request = DhcpPacket::new_checked(udp.payload()).expect("DHCP");
        let request = DhcpRepr::parse(&request).expect("DHCP");
        seen.push(request.message_type);
        let message_type = match request.message_type {
            DhcpMessageType::Discover => DhcpMessageType::Offer,
            DhcpMessageType::Request => DhcpMessageType::Ack,
            _ => continue,
        };
        to.send(reply(&DhcpRepr {
            message_type,
            your_ip: address,
            server_ip: SERVER,
            router: Some(SERVER),
            subnet_mask: Some(Ipv4Address::new(255, 255, 255, 0)),
            server_identifier: Some(SERVER),
            lease_duration: Some(LEASE),
            requested_ip: None,
            client_identifier: None,
            parameter_request_list: None,
            dns_servers: Some([DNS].into_iter().collect()),
            max_size: None,
            client_ip: Ipv4Address::UNSPECIFIED,
            ..request
        }));
    }
    seen
}

pub(super) fn reply(dhcp: &DhcpRepr<'_>) -> Vec<u8> {
    let udp = UdpRepr { src_port: 67, dst_port: 68 };
    let ip = Ipv4Repr {
        src_addr: SERVER,
        dst_addr: Ipv4Address::BROADCAST,
        next_header: IpProtocol::Udp,
        payload_len: udp.header_len() + dhcp.buffer_len(),
        hop_limit: 64,
    };
    let ethernet = EthernetRepr {
        src_addr: SERVER_MAC,
        dst_addr: EthernetAddress::BROADCAST,
        ethertype: EthernetProtocol::Ipv4,
    };
    let mut frame = vec![0; ethernet.buffer_len() + ip.buffer_len() + ip.payload_len];
    let checksums = ChecksumCapabilities::default();
    let mut packet = EthernetFrame::new_unchecked(&mut frame);
    ethernet.emit(&mut packet);
    let mut packet = Ipv4Packet::new_unchecked(packet.payload_mut());
    ip.emit(&mut packet, &checksums);
    let mut packet = UdpPacket::new_unchecked(packet.payload_mut());
    let (from, to) = (ip.src_addr.into(), ip.dst_addr.into());
    let emit =
        |payload: &mut [u8]| dhcp.emit(&mut DhcpPacket::new_unchecked(payload)).expect("room");
    udp.emit(&mut packet, &from, &to, dhcp.buffer_len(), emit, &checksums);
    frame
}

fn lease(last: u8) -> Lease {
    Lease {
        address: std::format!("10.0.2.{last}/24").parse().expect("an address"),
        gateway: Some(SERVER),
    }
}

#[test]
fn dhcp_gets_keeps_and_loses_a_lease() {
    let (up, down) = (Wire::default(), Wire::default());
    let host = host(1, "dhcp", &down, &up);
    host.attach();
    let mut world = World::new(&[&host]);
    let mine = Ipv4Address::new(10, 0, 2, 15);
    for _ in 0..4 {
        world.idle(Duration::from_millis(10));
        serve(&up, &down, mine);
    }
    assert_eq!(host.stack.lease(), Some(lease(15)));
    assert_eq!(host.stack.name_servers(), [DNS]);
    // Renewed at half time.
    world.idle(Duration::from_secs(u64::from(LEASE / 2) - 5));
    let mut seen = Vec::new();
    for _ in 0..10 {
        seen.extend(serve(&up, &down, mine));
        world.idle(Duration::from_secs(1));
    }
    assert_eq!(seen, [DhcpMessageType::Request]);
    world.idle(Duration::from_secs(u64::from(LEASE) - 30));
    assert_eq!(host.stack.lease(), Some(lease(15)));
    // Nobody answers any more.
    world.idle(Duration::from_secs(60));
    assert_eq!(host.stack.lease(), None);
    assert!(host.stack.name_servers().is_empty());
}

#[test]
fn a_lease_outlives_the_nic_and_is_asked_for_again_when_the_link_was_down() {
    let (up, down) = (Wire::default(), Wire::default());
    let host = host(1, "dhcp", &down, &up);
    host.attach();
    let mut world = World::new(&[&host]);
    for _ in 0..4 {
        world.idle(Duration::from_millis(10));
        serve(&up, &down, Ipv4Address::new(10, 0, 2, 15));
    }
    drop(host.stack.detach(Role::Primary).expect("a NIC"));
    world.idle(Duration::from_secs(5));
    let link = host.attach();
    world.idle(Duration::from_secs(5));
    assert_eq!(serve(&up, &down, Ipv4Address::new(10, 0, 2, 15)), []);
    assert_eq!(host.stack.lease(), Some(lease(15)));

    link.set(false);
    world.idle(Duration::from_secs(1));
    link.set(true);
    world.idle(Duration::from_millis(10));
    // Still the old one, for the connections' sake, until there is an answer: another one this
    // time.
    assert_eq!(host.stack.lease(), Some(lease(15)));
    for _ in 0..4 {
        serve(&up, &down, Ipv4Address::new(10, 0, 2, 16));
        world.idle(Duration::from_millis(10));
    }
    assert_eq!(host.stack.lease(), Some(lease(16)));

    // And with nobody answering, it stays: it was granted for longer.
    link.set(false);
    world.idle(Duration::from_secs(1));
    link.set(true);
    world.idle(Duration::from_secs(90));
    assert_eq!(host.stack.lease(), Some(lease(16)));
}

#[test]
fn addresses_on_the_command_line() {
    assert_eq!("dhcp".parse(), Ok(Addressing::Dhcp));
    assert_eq!("10.0.2.15/24".parse(), Ok(Addressing::Static("10.0.2.15/24".parse().unwrap())));
    for bad in [
        "",
        "10.0.2.15",
        "10.0.2/24",
        "10.0.2.15/33",
        "0.0.0.0/8",
        "224.0.0.1/4",
        "10.0.0.1/0",
        "::1/64",
    ] {
        let error = bad.parse::<Addressing>().expect_err(bad);
        assert!(error.to_string().contains("ADDR/LEN"));
    }
}

//! Packets as others on the link send them, and who they are.

use std::net::Ipv4Addr;

use etherparse::{IpNumber, PacketBuilder};

use crate::link::MAC;

/// Where the stack is, and who talks to it.
pub(crate) const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
pub(crate) const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub(crate) const PEER_MAC: [u8; 6] = [0x52, 0x54, 0, 0, 0, 1];
/// Where it listens.
pub(crate) const TCP_PORT: u16 = 80;
pub(crate) const UDP_PORT: u16 = 7;

/// The link's router, all that are on the link, and the stack by its link-local address.
pub(crate) const ROUTER: [u8; 16] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const ALL_NODES: [u8; 16] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
pub(crate) const OURS: [u8; 16] =
    [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0x50, 0x54, 0, 0xff, 0xfe, 0, 0, 2];
pub(crate) const ICMPV6: u8 = 58;

/// An Ethernet frame.
pub(crate) fn frame(to: [u8; 6], kind: u16, body: &[u8]) -> Vec<u8> {
    [&to[..], &PEER_MAC, &kind.to_be_bytes(), body].concat()
}

fn arp(operation: u8, mac: [u8; 6], address: [u8; 4], target: Ipv4Addr) -> Vec<u8> {
    let head = [0, 1, 8, 0, 6, 4, 0, operation];
    let mut frame =
        frame([0xff; 6], 0x0806, &[&head, &mac[..], &address, &MAC, &target.octets()].concat());
    frame[6..12].copy_from_slice(&mac);
    frame
}

/// Asks who has an address.
pub(crate) fn who_has(target: Ipv4Addr, mac: [u8; 6], address: [u8; 4]) -> Vec<u8> {
    arp(1, mac, address, target)
}

/// Says who has one.
pub(crate) fn is_at(address: Ipv4Addr, mac: [u8; 6]) -> Vec<u8> {
    arp(2, mac, address.octets(), ADDRESS)
}

pub(crate) fn ipv4(from: Ipv4Addr, to: Ipv4Addr, protocol: IpNumber, body: &[u8]) -> Vec<u8> {
    let packet = PacketBuilder::ethernet2(PEER_MAC, MAC).ipv4(from.octets(), to.octets(), 64);
    let mut frame = Vec::new();
    packet.write(&mut frame, protocol, body).expect("it fits");
    frame
}

pub(crate) fn ipv6(to: [u8; 16], protocol: u8, hops: u8, body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u16).to_be_bytes();
    let head = [&[0x60, 0, 0, 0], &length[..], &[protocol, hops], &ROUTER, &to].concat();
    frame(MAC, 0x86dd, &[head, body.to_vec()].concat())
}

/// An ICMPv6 message of the router to all, without its sum.
pub(crate) fn from_router(body: &[u8]) -> Vec<u8> {
    let mut frame = ipv6(ALL_NODES, ICMPV6, 255, &body[..body.len().min(1400)]);
    frame[..6].copy_from_slice(&[0x33, 0x33, 0, 0, 0, 1]);
    frame
}

pub(crate) fn udp(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), body: &[u8]) -> Vec<u8> {
    let packet = PacketBuilder::ethernet2(PEER_MAC, MAC)
        .ipv4(from.0.octets(), to.0.octets(), 64)
        .udp(from.1, to.1);
    let mut frame = Vec::new();
    packet.write(&mut frame, &body[..body.len().min(1400)]).expect("it fits");
    frame
}

/// A message of a DHCP server to all.
pub(crate) fn from_dhcp_server(message: &[u8]) -> Vec<u8> {
    let mut frame = udp((Ipv4Addr::new(10, 0, 2, 2), 67), (Ipv4Addr::BROADCAST, 68), message);
    frame[..6].fill(0xff);
    frame
}

/// A message of the DNS server to whoever asked from this port.
pub(crate) fn from_name_server(port: u16, message: &[u8]) -> Vec<u8> {
    udp((PEER, 53), (ADDRESS, port), message)
}

pub(crate) fn tcp(port: u16, flags: &str, sequence: u32, body: &[u8]) -> Vec<u8> {
    let mut packet = PacketBuilder::ethernet2(PEER_MAC, MAC)
        .ipv4(PEER.octets(), ADDRESS.octets(), 64)
        .tcp(port, TCP_PORT, sequence, 0xffff);
    for flag in flags.chars() {
        packet = match flag {
            's' => packet.syn(),
            'a' => packet.ack(1),
            'f' => packet.fin(),
            _ => packet.rst(),
        };
    }
    let mut frame = Vec::new();
    packet.write(&mut frame, body).expect("it fits");
    frame
}

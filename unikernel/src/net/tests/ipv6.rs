//! IPv6: link-local addresses, neighbours, routers, and connections.

use std::vec::Vec;

use embassy_futures::join::join;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::time::Duration;
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, Icmpv6Packet, Icmpv6Repr,
    IpProtocol, Ipv6Address, Ipv6Packet, Ipv6Repr, NdiscNeighborFlags, NdiscPrefixInfoFlags,
    NdiscPrefixInformation, NdiscRepr, NdiscRouterFlags,
};

use super::network::{Host, PROBED, Wire, World, host6};
use super::traffic::{BUFFERS, LIMIT, PORT, pattern, receive, send};
use crate::net::engine::Next;
use crate::net::{Addressing6, Role, TcpListener, TcpStream, UdpSocket};

const ROUTER: Ipv6Address = Ipv6Address::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const PREFIX: Ipv6Address = Ipv6Address::new(0x2001, 0xdb8, 0, 7, 0, 0, 0, 0);
const ALL_NODES: Ipv6Address = Ipv6Address::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

fn hosts() -> (Host, Host) {
    let (there, back) = (Wire::default(), Wire::default());
    let a = host6(1, Addressing6::Auto, &back, &there);
    let b = host6(2, Addressing6::Auto, &there, &back);
    a.attach();
    b.attach();
    (a, b)
}

fn addresses(host: &Host) -> Vec<Ipv6Address> {
    host.stack.ipv6_addresses().iter().map(|cidr| cidr.address()).collect()
}

/// Frames with neighbour discovery in them that a host sends.
fn sent(wire: &Wire) -> Vec<(Ipv6Address, Ipv6Address, Vec<u8>)> {
    let frames = core::iter::from_fn(|| wire.take());
    let ndisc = frames.filter_map(|frame| {
        let frame = EthernetFrame::new_checked(&frame[..]).expect("a frame");
        let ip = Ipv6Packet::new_checked(frame.payload()).ok()?;
        let is = frame.ethertype() == EthernetProtocol::Ipv6
            && ip.next_header() == IpProtocol::Icmpv6
            && ip.hop_limit() == 255;
        is.then(|| (ip.src_addr(), ip.dst_addr(), ip.payload().to_vec()))
    });
    ndisc.collect()
}

pub(super) fn advertisement(lifetime: Duration, prefix: Duration, hop_limit: u8) -> Vec<u8> {
    let icmp = Icmpv6Repr::Ndisc(NdiscRepr::RouterAdvert {
        hop_limit: 64,
        flags: NdiscRouterFlags::empty(),
        router_lifetime: lifetime,
        reachable_time: Duration::ZERO,
        retrans_time: Duration::ZERO,
        lladdr: None,
        mtu: None,
        prefix_info: Some(NdiscPrefixInformation {
            prefix_len: 64,
            flags: NdiscPrefixInfoFlags::ON_LINK | NdiscPrefixInfoFlags::ADDRCONF,
            valid_lifetime: prefix,
            preferred_lifetime: prefix,
            prefix: PREFIX,
        }),
    });
    let ip = Ipv6Repr {
        src_addr: ROUTER,
        dst_addr: ALL_NODES,
        next_header: IpProtocol::Icmpv6,
        payload_len: icmp.buffer_len(),
        hop_limit,
    };
    let ethernet = EthernetRepr {
        src_addr: EthernetAddress([2, 0, 0, 0, 0, 1]),
        dst_addr: EthernetAddress([0x33, 0x33, 0, 0, 0, 1]),
        ethertype: EthernetProtocol::Ipv6,
    };
    let mut bytes = std::vec![0; 14 + 40 + icmp.buffer_len()];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes[..]);
    ethernet.emit(&mut frame);
    let mut packet = Ipv6Packet::new_unchecked(frame.payload_mut());
    ip.emit(&mut packet);
    let mut body = Icmpv6Packet::new_unchecked(packet.payload_mut());
    icmp.emit(&ROUTER, &ALL_NODES, &mut body, &ChecksumCapabilities::default());
    bytes
}

#[test]
fn connections_and_datagrams_between_link_local_addresses() {
    let (a, b) = hosts();
    let mut world = World::new(&[&a, &b]);
    world.idle(PROBED);
    let to = addresses(&b)[0];
    assert_eq!(to, Ipv6Address::new(0xfe80, 0, 0, 0, 0x5054, 0xff, 0xfe00, 2));
    let listener = TcpListener::bind(&b.stack, PORT, 1, BUFFERS).unwrap();
    let client = TcpStream::connect(&a.stack, (to, PORT).into(), BUFFERS);
    let (client, server) = world.run(LIMIT, join(client, listener.accept()));
    let client = client.expect("a connection");
    let data = pattern(300_000);
    // A change of NICs does not take the addresses away, nor the connection.
    drop(b.stack.detach(Role::Primary));
    b.attach();
    let ((), received) = world.run(LIMIT, join(send(&client, &data), receive(&server)));
    assert!(received == data);

    let (from, socket) = (
        UdpSocket::bind(&a.stack, 7, 4, 4096).unwrap(),
        UdpSocket::bind(&b.stack, 7, 4, 4096).unwrap(),
    );
    let mut got = Vec::new();
    let receive = socket.receive_each(|peer, payload| got.push((peer.ip(), payload.to_vec())));
    let (sent, ()) = world.run(LIMIT, join(from.send_to(b"hello", (to, 7).into()), receive));
    assert_eq!(sent, Ok(()));
    assert_eq!(got, [(addresses(&a)[0].into(), b"hello".to_vec())]);
}

#[test]
fn a_router_is_asked_for_and_believed_until_its_word_expires() {
    let (rx, tx) = (Wire::default(), Wire::default());
    let host = host6(2, Addressing6::Auto, &rx, &tx);
    host.attach();
    let mut world = World::new(&[&host]);
    world.idle(Duration::from_secs(20));
    let own = addresses(&host);
    assert_eq!(own.len(), 1);
    let all_routers = "ff02::2".parse::<Ipv6Address>().unwrap();
    let sent_to_routers = sent(&tx).into_iter().filter(|(_, to, _)| *to == all_routers);
    let from: Vec<_> = sent_to_routers.map(|(from, ..)| from).collect();
    // The first before its address is known to be its own.
    assert_eq!(from, [Ipv6Address::UNSPECIFIED, own[0], own[0]]);

    // From behind a router, by way of one.
    rx.send(advertisement(Duration::from_secs(60), Duration::from_secs(30), 64));
    world.idle(Duration::from_secs(1));
    assert_eq!(addresses(&host).len(), 1);
    rx.send(advertisement(Duration::from_secs(60), Duration::from_secs(30), 255));
    world.idle(Duration::from_secs(3));
    let made = "2001:db8:0:7:5054:ff:fe00:2".parse().unwrap();
    assert_eq!(addresses(&host), [own[0], made]);
    let has_route = || {
        host.stack.with(|engine| {
            engine.interface.has_ip_addr(made) && engine.addresses.poll_at().is_some()
        })
    };
    assert!(has_route());
    // The new address is announced.
    let told = sent(&tx).into_iter().filter(|(from, to, body)| {
        let packet = Icmpv6Packet::new_checked(&body[..]).unwrap();
        let parsed = Icmpv6Repr::parse(from, to, &packet, &ChecksumCapabilities::default());
        let Ok(Icmpv6Repr::Ndisc(NdiscRepr::NeighborAdvert { flags, target_addr, .. })) = parsed
        else {
            return false;
        };
        *to == ALL_NODES && target_addr == made && flags == NdiscNeighborFlags::OVERRIDE
    });
    assert!(told.count() >= 3);
    // Another NIC finds the addresses as they were.
    drop(host.stack.detach(Role::Primary));
    host.attach_offloading();
    world.idle(Duration::from_secs(1));
    assert_eq!(addresses(&host), [own[0], made]);
    assert!(has_route());
    world.idle(Duration::from_secs(40));
    assert_eq!(addresses(&host), own);
}

#[test]
fn what_cannot_be_sent_without_a_link_keeps_nobody_awake() {
    let (rx, tx) = (Wire::default(), Wire::default());
    let host = host6(2, Addressing6::Auto, &rx, &tx);
    let cable = host.attach();
    let mut world = World::new(&[&host]);
    let sleeps = |world: &World| match host.stack.turn(world.now) {
        Next::Sleep(until) => until.is_none_or(|until| until > world.now),
        Next::Again => false,
    };
    // A prefix that expires while there is no link changes the addresses, which is to be announced;
    // the router is asked for again at the link's return, and that falls due as well.
    rx.send(advertisement(Duration::from_secs(60), Duration::from_secs(3), 255));
    world.idle(Duration::from_secs(1));
    cable.set(false);
    world.idle(Duration::from_secs(1));
    cable.set(true);
    world.idle(Duration::from_secs(1));
    cable.set(false);
    world.idle(Duration::from_secs(10));
    assert!(sleeps(&world));
    drop(host.stack.detach(Role::Primary));
    assert!(sleeps(&world));
    // With the next link it is all made good.
    sent(&tx);
    host.attach();
    world.idle(Duration::from_secs(1));
    let own = addresses(&host)[0];
    let all_routers = "ff02::2".parse::<Ipv6Address>().unwrap();
    let sent = sent(&tx);
    assert!(sent.iter().any(|(from, to, _)| (*from, *to) == (own, all_routers)));
    assert!(sent.iter().any(|(from, to, _)| (*from, *to) == (own, ALL_NODES)));
}

#[test]
fn ipv6_can_be_off_or_given() {
    for (text, count) in [("off", 0), ("auto", 1), ("fd00::15/64", 2)] {
        let (rx, tx) = (Wire::default(), Wire::default());
        let host = host6(2, text.parse().unwrap(), &rx, &tx);
        host.attach();
        let mut world = World::new(&[&host]);
        rx.send(advertisement(Duration::ZERO, Duration::ZERO, 255));
        world.idle(Duration::from_secs(10));
        assert_eq!(addresses(&host).len(), count);
        assert_eq!(sent(&tx).is_empty(), text == "off");
    }
    for text in ["", "on", "fd00::15", "ff02::1/64", "::/64", "::1/128", "fd00::15/0"] {
        assert!(text.parse::<Addressing6>().is_err(), "{text}");
    }
}

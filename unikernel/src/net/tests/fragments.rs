//! Datagrams in fragments: whole, mixed up, missing, and made to do harm.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Wake, Waker};
use std::vec;
use std::vec::Vec;

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::time::Duration;
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, IpAddress, IpProtocol, IpRepr,
    Ipv4Address, Ipv4Packet, Ipv6Address, UdpPacket, UdpRepr,
};

use super::network::{Host, Wire, World, host, host6};
use super::traffic::{LIMIT, pattern};
use crate::net::{Addressing6, UdpSocket};

const PORT: u16 = 2000;
const FROM: Ipv4Address = Ipv4Address::new(10, 0, 0, 1);
const TO: Ipv4Address = Ipv4Address::new(10, 0, 0, 2);

/// The payload of an IP packet with this datagram.
fn datagram((from, to): (IpAddress, IpAddress), data: &[u8]) -> Vec<u8> {
    let udp = UdpRepr { src_port: 1000, dst_port: PORT };
    let mut bytes = vec![0; 8 + data.len()];
    let fill = |payload: &mut [u8]| payload.copy_from_slice(data);
    let mut packet = UdpPacket::new_unchecked(&mut bytes[..]);
    udp.emit(&mut packet, &from, &to, data.len(), fill, &ChecksumCapabilities::default());
    bytes
}

/// A packet's frame.
fn frame((from, to): (IpAddress, IpAddress), next: IpProtocol, payload: &[u8]) -> Vec<u8> {
    let ip = IpRepr::new(from, to, next, payload.len(), 64);
    let ethertype = match from {
        IpAddress::Ipv4(_) => EthernetProtocol::Ipv4,
        IpAddress::Ipv6(_) => EthernetProtocol::Ipv6,
    };
    let [src_addr, dst_addr] = [1, 2].map(|last| EthernetAddress([0x52, 0x54, 0, 0, 0, last]));
    let mut bytes = vec![0; 14 + ip.buffer_len()];
    let mut ethernet = EthernetFrame::new_unchecked(&mut bytes[..]);
    EthernetRepr { src_addr, dst_addr, ethertype }.emit(&mut ethernet);
    ip.emit(ethernet.payload_mut(), &ChecksumCapabilities::default());
    bytes[14 + ip.header_len()..].copy_from_slice(payload);
    bytes
}

/// Fragments of so many bytes each, the last with the rest.
fn ipv4_fragments(identification: u16, packet: &[u8], size: usize) -> Vec<Vec<u8>> {
    let fragment = |(index, part): (usize, &[u8])| {
        let mut bytes = frame((FROM.into(), TO.into()), IpProtocol::Udp, part);
        let mut ip = Ipv4Packet::new_unchecked(&mut bytes[14..]);
        ip.set_dont_frag(false);
        ip.set_ident(identification);
        ip.set_frag_offset((index * size) as u16);
        ip.set_more_frags(index * size + part.len() < packet.len());
        ip.fill_checksum();
        bytes
    };
    packet.chunks(size).enumerate().map(fragment).collect()
}

fn ipv6_fragments(
    addresses: (IpAddress, IpAddress),
    identification: u8,
    next: IpProtocol,
    packet: &[u8],
    size: usize,
) -> Vec<Vec<u8>> {
    let fragment = |(index, part): (usize, &[u8])| {
        let is_last = index * size + part.len() == packet.len();
        let [high, low] = ((index * size) as u16 | u16::from(!is_last)).to_be_bytes();
        let header = [next.into(), 0, high, low, 0, 0, 0, identification];
        frame(addresses, IpProtocol::Ipv6Frag, &[&header, part].concat())
    };
    packet.chunks(size).enumerate().map(fragment).collect()
}

/// A host that nobody but this test talks to, with a socket.
fn receiver() -> (World, Host, Wire, UdpSocket) {
    let (there, back) = (Wire::default(), Wire::default());
    let host = host(2, "10.0.0.2/24", &there, &back);
    host.attach();
    let socket = UdpSocket::bind(&host.stack, PORT, 16, 200_000).unwrap();
    let mut world = World::new(&[&host]);
    world.idle(Duration::from_millis(1));
    (world, host, there, socket)
}

/// The lengths of what has arrived, each of which is the pattern.
fn arrived(world: &mut World, socket: &UdpSocket) -> Vec<usize> {
    world.idle(Duration::from_millis(50));
    let mut lengths = Vec::new();
    let take = socket.receive_each(|_, payload| {
        assert!(payload == pattern(payload.len()));
        lengths.push(payload.len());
    });
    let enough = embassy_futures::select::select(take, async {});
    world.run(LIMIT, enough);
    lengths
}

fn ipv4(len: usize) -> Vec<u8> {
    datagram((FROM.into(), TO.into()), &pattern(len))
}

#[test]
fn fragments_may_come_in_any_order_and_twice() {
    let (mut world, host, to, socket) = receiver();
    let mut fragments = ipv4_fragments(1, &ipv4(8000), 1480);
    fragments.reverse();
    let twice = fragments[1].clone();
    fragments.insert(3, twice);
    fragments.into_iter().for_each(|frame| to.send(frame));
    // Two at a time, and the longest there is.
    let (one, other) = (ipv4_fragments(2, &ipv4(3000), 1480), ipv4_fragments(3, &ipv4(4000), 1480));
    one.into_iter().zip(other).flat_map(|(a, b)| [a, b]).for_each(|frame| to.send(frame));
    ipv4_fragments(4, &ipv4(65_507), 1480).into_iter().for_each(|frame| to.send(frame));
    assert_eq!(arrived(&mut world, &socket), [8000, 3000, 4000, 65_507]);
    let traffic = host.stack.traffic();
    assert_eq!((traffic.reassembled, traffic.reassembly_abandoned), (4, 0));
}

#[test]
fn ipv6_has_fragments_too() {
    let (there, back) = (Wire::default(), Wire::default());
    let host = host6(2, Addressing6::Auto, &there, &back);
    host.attach();
    let mut world = World::new(&[&host]);
    world.idle(Duration::from_secs(5));
    let socket = UdpSocket::bind(&host.stack, PORT, 16, 200_000).unwrap();
    let from = Ipv6Address::new(0xfe80, 0, 0, 0, 0x5054, 0xff, 0xfe00, 1);
    let addresses = (from.into(), host.stack.ipv6_addresses()[0].address().into());
    while back.take().is_some() {}
    // The second is whole in one (RFC 6946).
    for (identification, len, size) in [(1, 8000, 1232), (2, 100, 1232), (3, 65_000, 1448)] {
        let packet = datagram(addresses, &pattern(len));
        let fragments = ipv6_fragments(addresses, identification, IpProtocol::Udp, &packet, size);
        fragments.into_iter().for_each(|frame| there.send(frame));
    }
    assert_eq!(arrived(&mut world, &socket), [8000, 100, 65_000]);
    let complains = |frame: Vec<u8>| frame.get(20) == Some(&58) && frame.get(54) == Some(&4);
    assert!(!core::iter::from_fn(|| back.take()).any(complains), "a parameter problem");
}

#[test]
fn datagrams_that_never_get_whole_keep_nobody_out() {
    let (mut world, host, to, socket) = receiver();
    // Each would need 64 KiB.
    let fragments = ipv4_fragments(0, &ipv4(65_000), 1480);
    for round in 0..3 {
        for number in 0..3000 {
            let mut fragment = fragments[if number % 2 == 0 { 0 } else { 43 }].clone();
            let mut ip = Ipv4Packet::new_unchecked(&mut fragment[14..]);
            ip.set_ident(number);
            ip.fill_checksum();
            to.send(fragment);
        }
        while !to.is_empty() {
            world.idle(Duration::from_millis(1));
        }
        ipv4_fragments(5000 + round, &ipv4(8000), 1480).into_iter().for_each(|f| to.send(f));
        assert_eq!(arrived(&mut world, &socket), [8000]);
    }
    let traffic = host.stack.traffic();
    assert!(traffic.reassembly_abandoned >= 9000 - 8, "{traffic:?}");
}

type Change<'a> = &'a dyn Fn(&mut Ipv4Packet<&mut [u8]>);

#[test]
fn fragments_that_make_no_sense_are_nobodys_datagram() {
    let (mut world, host, to, socket) = receiver();
    let pieces = |identification| ipv4_fragments(identification, &ipv4(4000), 1480);
    let edit = |frame: &mut Vec<u8>, edit: Change<'_>| {
        let mut ip = Ipv4Packet::new_unchecked(&mut frame[14..]);
        edit(&mut ip);
        ip.fill_checksum();
    };
    // Overlaps what is there; is odd; goes beyond the end; has the end twice; is too long.
    let wrong: [(usize, Change<'_>); 5] = [
        (1, &|ip| ip.set_frag_offset(1472)),
        (0, &|ip| ip.set_total_len(20 + 1475)),
        (1, &|ip| ip.set_frag_offset(8000)),
        (1, &|ip| ip.set_more_frags(false)),
        (2, &|ip| ip.set_frag_offset(65_528)),
    ];
    for (identification, (index, change)) in wrong.iter().enumerate() {
        let mut fragments = pieces(identification as u16);
        edit(&mut fragments[*index], change);
        // The end comes first.
        fragments.into_iter().rev().for_each(|frame| to.send(frame));
    }
    // A checksum over all of it that is wrong.
    let mut fragments = pieces(99);
    *fragments[2].last_mut().unwrap() ^= 1;
    fragments.into_iter().for_each(|frame| to.send(frame));
    assert_eq!(arrived(&mut world, &socket), []);
    assert!(host.stack.traffic().reassembly_abandoned >= 6);

    // One of which the rest comes too late, when the identification is another's.
    let mut fragments = pieces(100);
    let late = fragments.split_off(1);
    fragments.into_iter().for_each(|frame| to.send(frame));
    world.idle(Duration::from_secs(31));
    late.into_iter().for_each(|frame| to.send(frame));
    assert_eq!(arrived(&mut world, &socket), []);
    pieces(101).into_iter().for_each(|frame| to.send(frame));
    assert_eq!(arrived(&mut world, &socket), [4000]);
}

#[test]
fn a_nic_that_verifies_checksums_has_not_verified_these() {
    let (there, back) = (Wire::default(), Wire::default());
    let host = host(2, "10.0.0.2/24", &there, &back);
    host.attach_offloading();
    let socket = UdpSocket::bind(&host.stack, PORT, 16, 200_000).unwrap();
    let mut world = World::new(&[&host]);
    world.idle(Duration::from_millis(1));
    let mut fragments = ipv4_fragments(1, &ipv4(4000), 1480);
    *fragments[1].last_mut().unwrap() ^= 1;
    fragments.into_iter().for_each(|frame| there.send(frame));
    assert_eq!(arrived(&mut world, &socket), []);
}

#[test]
fn long_datagrams_go_in_fragments_over_ipv6() {
    for offloads in [false, true] {
        let (there, back) = (Wire::default(), Wire::default());
        let hosts = [(1, &back, &there), (2, &there, &back)];
        let [a, b] = hosts.map(|(mac, rx, tx)| host6(mac, Addressing6::Auto, rx, tx));
        for host in [&a, &b] {
            match offloads {
                true => host.attach_offloading(),
                false => drop(host.attach()),
            }
        }
        let mut world = World::new(&[&a, &b]);
        world.idle(Duration::from_secs(3));
        let [sender, receiver] =
            [&a, &b].map(|host| UdpSocket::bind(&host.stack, PORT, 4, 200_000).unwrap());
        let to = b.stack.ipv6_addresses()[0].address();
        for len in [1452, 1453, 1500, 2000, 9000, 65_527] {
            let data = pattern(len);
            // The first that is long asks for the neighbour alone.
            world.run(LIMIT, sender.send_to(b"who?", (to, PORT).into())).unwrap();
            world.run(LIMIT, receiver.receive_with(|_, _| ()));
            world.run(LIMIT, sender.send_to(&data, (to, PORT).into())).unwrap();
            let right = world.run(LIMIT, receiver.receive_with(|_, payload| payload == data));
            assert!(right, "{len} bytes arrived as others");
        }
    }
}

/// Counts how often a task is woken.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

#[test]
fn who_sends_a_long_datagram_over_ipv6_sleeps_while_there_is_no_link() {
    let (there, back) = (Wire::default(), Wire::default());
    let a = host6(1, Addressing6::Auto, &back, &there);
    let b = host6(2, Addressing6::Auto, &there, &back);
    let cable = a.attach();
    b.attach();
    let mut world = World::new(&[&a, &b]);
    world.idle(Duration::from_secs(3));
    let [sender, receiver] =
        [&a, &b].map(|host| UdpSocket::bind(&host.stack, PORT, 4, 200_000).unwrap());
    let to = (b.stack.ipv6_addresses()[0].address(), PORT).into();
    world.run(LIMIT, sender.send_to(b"who?", to)).unwrap();
    world.run(LIMIT, receiver.receive_with(|_, _| ()));

    cable.set(false);
    world.idle(Duration::from_secs(2));
    let data = pattern(9000);
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(wakes.clone());
    let mut context = Context::from_waker(&waker);
    let mut sending = pin!(sender.send_to(&data, to));
    assert!(sending.as_mut().poll(&mut context).is_pending());
    world.idle(Duration::from_secs(2));
    assert_eq!(wakes.0.load(Relaxed), 0, "it was woken for nothing");
    cable.set(true);
    world.idle(Duration::from_secs(5));
    assert_eq!(wakes.0.load(Relaxed), 1);
    world.run(LIMIT, sending).unwrap();
    assert!(world.run(LIMIT, receiver.receive_with(|_, payload| payload == data)));
}

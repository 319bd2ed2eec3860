//! The link over IPv6: addresses that others have already, several prefixes, the MTU of routers,
//! neighbours that move, and the groups that switches are told of.

use std::vec;
use std::vec::Vec;

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::time::Duration;
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, Icmpv6Packet, Icmpv6Repr,
    IpProtocol, Ipv6Address, Ipv6Packet, Ipv6Repr, NdiscNeighborFlags, NdiscRepr,
};

use super::network::{Host, PROBED, Wire, World, host6};
use crate::net::{Addressing6, Role};

const OURS: EthernetAddress = EthernetAddress([0x52, 0x54, 0, 0, 0, 1]);
const OLD: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 0xa]);
const NEW: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 0xb]);
const OWN: Ipv6Address = Ipv6Address::new(0xfe80, 0, 0, 0, 0x5054, 0xff, 0xfe00, 1);
const PEER: Ipv6Address = Ipv6Address::new(0xfe80, 0, 0, 0, 0, 0, 0, 7);
const ROUTER: Ipv6Address = Ipv6Address::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES: Ipv6Address = Ipv6Address::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const REPORTS: Ipv6Address = Ipv6Address::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);

fn bench() -> (Host, World, Wire, Wire) {
    let [to, from] = [Wire::default(), Wire::default()];
    let host = host6(1, Addressing6::Auto, &to, &from);
    host.attach();
    let world = World::new(&[&host]);
    (host, world, to, from)
}

fn addresses(host: &Host) -> Vec<Ipv6Address> {
    host.stack.ipv6_addresses().iter().map(|cidr| cidr.address()).collect()
}

/// A frame with an ICMPv6 message of which `write` fills `len` bytes.
fn icmp(
    station: EthernetAddress,
    (from, to): (Ipv6Address, Ipv6Address),
    len: usize,
    write: impl FnOnce(&mut [u8]),
) -> Vec<u8> {
    let ip = Ipv6Repr {
        src_addr: from,
        dst_addr: to,
        next_header: IpProtocol::Icmpv6,
        payload_len: len,
        hop_limit: 255,
    };
    let [.., a, b, c, d] = to.octets();
    let group = EthernetAddress([0x33, 0x33, a, b, c, d]);
    let dst_addr = if to.is_multicast() { group } else { OURS };
    let ethernet = EthernetRepr { src_addr: station, dst_addr, ethertype: EthernetProtocol::Ipv6 };
    let mut frame = vec![0; 14 + 40 + len];
    let mut packet = EthernetFrame::new_unchecked(&mut frame[..]);
    ethernet.emit(&mut packet);
    let mut packet = Ipv6Packet::new_unchecked(packet.payload_mut());
    ip.emit(&mut packet);
    write(packet.payload_mut());
    Icmpv6Packet::new_unchecked(packet.payload_mut()).fill_checksum(&from, &to);
    frame
}

fn message(
    station: EthernetAddress,
    (from, to): (Ipv6Address, Ipv6Address),
    repr: Icmpv6Repr<'_>,
) -> Vec<u8> {
    icmp(station, (from, to), repr.buffer_len(), |body| {
        let mut packet = Icmpv6Packet::new_unchecked(body);
        repr.emit(&from, &to, &mut packet, &ChecksumCapabilities::default());
    })
}

fn advertise(
    station: EthernetAddress,
    target_addr: Ipv6Address,
    to: Ipv6Address,
    flags: NdiscNeighborFlags,
) -> Vec<u8> {
    let lladdr = Some(station.into());
    let advertisement = NdiscRepr::NeighborAdvert { flags, target_addr, lladdr };
    message(station, (target_addr, to), Icmpv6Repr::Ndisc(advertisement))
}

fn ping(station: EthernetAddress, from: Ipv6Address) -> Vec<u8> {
    let request = Icmpv6Repr::EchoRequest { ident: 1, seq_no: 1, data: b"godwit" };
    message(station, (from, OWN), request)
}

/// A router advertisement with an MTU and these prefixes, which are on the link or not.
fn router(prefixes: &[(Ipv6Address, bool)], mtu: u32) -> Vec<u8> {
    let options = prefixes.iter().flat_map(|(prefix, on_link)| {
        let flags = if *on_link { 0xc0 } else { 0x40 };
        let head = [3, 4, 64, flags, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0];
        [&head[..], &prefix.octets()].concat()
    });
    let options: Vec<u8> = options.chain([5, 1, 0, 0]).chain(mtu.to_be_bytes()).collect();
    icmp(OLD, (ROUTER, ALL_NODES), 16 + options.len(), |body| {
        body[..8].copy_from_slice(&[134, 0, 0, 0, 64, 0, 1, 0]);
        body[16..].copy_from_slice(&options);
    })
}

/// Sources, destinations, and stations that it sends to, of IPv6 packets; and the packets.
fn sent(from: &Wire) -> Vec<(Ipv6Address, Ipv6Address, EthernetAddress, Vec<u8>)> {
    let frames = core::iter::from_fn(|| from.take());
    let packets = frames.filter_map(|frame| {
        let frame = EthernetFrame::new_checked(&frame[..]).unwrap();
        let ip = Ipv6Packet::new_checked(frame.payload()).ok()?;
        let is_ipv6 = frame.ethertype() == EthernetProtocol::Ipv6;
        let packet = (ip.src_addr(), ip.dst_addr(), frame.dst_addr(), ip.payload().to_vec());
        is_ipv6.then_some(packet)
    });
    packets.collect()
}

/// The stations that echo replies went to.
fn replies(world: &mut World, from: &Wire) -> Vec<EthernetAddress> {
    world.idle(Duration::from_millis(5));
    let replies = sent(from).into_iter().filter(|(.., body)| body[0] == 129);
    replies.map(|(_, _, station, _)| station).collect()
}

#[test]
fn an_address_is_probed_for_before_it_is_used() {
    let (host, mut world, _to, from) = bench();
    world.idle(Duration::from_millis(500));
    assert!(addresses(&host).is_empty());
    let probe = sent(&from).into_iter().find(|(source, ..)| source.is_unspecified());
    let (_, group, _, body) = probe.expect("a probe");
    assert_eq!(group, "ff02::1:ff00:1".parse::<Ipv6Address>().unwrap());
    assert_eq!((body[0], &body[8..24]), (135, &OWN.octets()[..]));
    world.idle(Duration::from_millis(600));
    assert_eq!(addresses(&host), [OWN]);
    // It does not have to be again: neither for a link that was down, nor for another NIC.
    drop(host.stack.detach(Role::Primary));
    let cable = host.attach();
    cable.set(false);
    world.idle(Duration::from_millis(100));
    cable.set(true);
    world.idle(Duration::from_millis(100));
    assert_eq!(addresses(&host), [OWN]);
}

#[test]
fn an_address_that_somebody_has_is_not_used() {
    let solicit = NdiscRepr::NeighborSolicit { target_addr: OWN, lladdr: None };
    let group = "ff02::1:ff00:1".parse().unwrap();
    let unspecified = Ipv6Address::UNSPECIFIED;
    let said = [
        advertise(NEW, OWN, ALL_NODES, NdiscNeighborFlags::OVERRIDE),
        // Somebody who wants it as well, at the same time.
        message(NEW, (unspecified, group), Icmpv6Repr::Ndisc(solicit)),
    ];
    for said in said {
        let (host, mut world, to, from) = bench();
        world.idle(Duration::from_millis(500));
        to.send(said);
        world.idle(Duration::from_secs(5));
        assert!(addresses(&host).is_empty());
        assert!(sent(&from).iter().all(|(source, ..)| *source != OWN), "nothing comes from it");
    }
    // One that is used is defended.
    let (_host, mut world, to, from) = bench();
    world.idle(PROBED);
    sent(&from);
    let solicit = NdiscRepr::NeighborSolicit { target_addr: OWN, lladdr: None };
    to.send(message(NEW, (unspecified, group), Icmpv6Repr::Ndisc(solicit)));
    world.idle(Duration::from_millis(5));
    let answer = sent(&from).into_iter().find(|(_, to, ..)| *to == ALL_NODES).expect("an answer");
    assert_eq!((answer.0, answer.3[0]), (OWN, 136));
}

#[test]
fn every_prefix_of_a_router_gets_an_address_up_to_a_bound() {
    let (host, mut world, to, _from) = bench();
    let prefixes: Vec<_> =
        (1..=9).map(|n| (Ipv6Address::new(0x2001, 0xdb8, 0, n, 0, 0, 0, 0), n != 2)).collect();
    to.send(router(&prefixes[..2], 1400));
    world.idle(Duration::from_secs(2));
    let made = |n| Ipv6Address::new(0x2001, 0xdb8, 0, n, 0x5054, 0xff, 0xfe00, 1);
    assert_eq!(addresses(&host), [OWN, made(1), made(2)]);
    host.stack.with(|engine| {
        let device = &engine.pair.device;
        assert_eq!(device.mtu(), 1400);
        let hop = |n| {
            let to = Ipv6Address::new(0x2001, 0xdb8, 0, n, 0, 0, 0, 0x77);
            device.discovery.routes.next_hop(to.into()).unwrap().to_string()
        };
        // The second is not on the link, the third unknown.
        assert_eq!([hop(1), hop(2), hop(3)], ["2001:db8:0:1::77", "fe80::1", "fe80::1"]);
    });
    // What was known already, but for the MTU.
    to.send(router(&prefixes[..2], 1380));
    world.idle(Duration::from_millis(5));
    host.stack.with(|engine| assert_eq!(engine.pair.device.mtu(), 1380));
    to.send(router(&prefixes, 1000));
    world.idle(Duration::from_secs(2));
    assert_eq!(addresses(&host).len(), 6);
    // No link of IPv6 has so small an MTU.
    host.stack.with(|engine| assert_eq!(engine.pair.device.mtu(), 1380));
}

#[test]
fn a_neighbour_that_advertises_its_new_station_is_believed() {
    let (_host, mut world, to, from) = bench();
    world.idle(PROBED + Duration::from_secs(3));
    sent(&from);
    // The first packet waits for the answer.
    to.send(ping(OLD, PEER));
    world.idle(Duration::from_millis(5));
    let asked = sent(&from);
    assert_eq!(asked.len(), 1);
    assert_eq!((asked[0].1.to_string().as_str(), asked[0].3[0]), ("ff02::1:ff00:7", 135));
    let solicited = NdiscNeighborFlags::SOLICITED;
    to.send(advertise(OLD, PEER, OWN, solicited | NdiscNeighborFlags::OVERRIDE));
    assert_eq!(replies(&mut world, &from), [OLD]);
    // Unsolicited, as after a failover.
    to.send(advertise(NEW, PEER, ALL_NODES, NdiscNeighborFlags::OVERRIDE));
    to.send(ping(NEW, PEER));
    assert_eq!(replies(&mut world, &from), [NEW]);
    // Without the wish to override it is not believed, but asked about, once a second at most.
    world.idle(Duration::from_secs(1));
    to.send(advertise(OLD, PEER, ALL_NODES, NdiscNeighborFlags::empty()));
    world.idle(Duration::from_millis(5));
    assert_eq!(sent(&from).iter().map(|(.., body)| body[0]).collect::<Vec<_>>(), [135]);
    to.send(ping(NEW, PEER));
    assert_eq!(replies(&mut world, &from), [NEW]);
}

#[test]
fn groups_are_reported_on_every_port_that_the_machine_moves_to() {
    let (host, mut world, _to, from) = bench();
    let group: Ipv6Address = "ff15::9".parse().unwrap();
    host.stack.join_multicast(group.into()).unwrap();
    host.stack.join_multicast("239.1.2.3".parse().unwrap()).unwrap();
    world.idle(Duration::from_secs(5));
    let solicited: Ipv6Address = "ff02::1:ff00:1".parse().unwrap();
    let reported = |from: &Wire| {
        let mut igmp = 0;
        let mut mld = 0;
        while let Some(frame) = from.take() {
            let names = |group: Ipv6Address| frame.windows(16).any(|part| part == group.octets());
            mld += usize::from(names(REPORTS) && names(group) && names(solicited));
            // An IGMP report goes to its group.
            igmp += usize::from(frame[..6] == [1, 0, 0x5e, 1, 2, 3] && frame[23] == 2);
        }
        (igmp, mld)
    };
    reported(&from);
    // A NIC like the one before takes its place, as in a migration.
    drop(host.stack.detach(Role::Primary));
    host.attach();
    world.idle(Duration::from_secs(3));
    let (igmp, mld) = reported(&from);
    assert!(igmp >= 2 && mld >= 2, "{igmp} reports by IGMP, {mld} by MLD");
    // And where the machine is told that it was moved.
    host.stack.announce();
    world.idle(Duration::from_secs(3));
    let (igmp, mld) = reported(&from);
    assert!(igmp >= 2 && mld >= 2, "{igmp} reports by IGMP, {mld} by MLD");
}

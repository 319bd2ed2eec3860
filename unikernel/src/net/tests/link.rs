//! The link: who is where on it, what waits for neighbours, routers outside of the network, and
//! frames with a priority. One stack, and a test that plays everybody else.

use core::net::SocketAddr;
use std::format;
use std::vec;
use std::vec::Vec;

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::time::Duration;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
    EthernetRepr, Icmpv4Packet, Icmpv4Repr, IpProtocol, Ipv4Address, Ipv4Packet, Ipv4Repr,
    UdpPacket,
};

use super::network::{Host, Wire, World, host_with};
use crate::net::{Addressing6, Config, UdpSocket};

const OURS: EthernetAddress = EthernetAddress([0x52, 0x54, 0, 0, 0, 1]);
const OWN: Ipv4Address = Ipv4Address::new(10, 0, 0, 1);
const PEER: Ipv4Address = Ipv4Address::new(10, 0, 0, 2);
const OLD: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 0xa]);
const NEW: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 0xb]);
const MOMENT: Duration = Duration::from_millis(5);

/// A stack, and both ends of its wire.
struct Bench {
    host: Host,
    world: World,
    to: Wire,
    from: Wire,
}

/// What the stack sent.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Sent {
    /// A question for an address, and whom it was put to.
    Question(Ipv4Address, EthernetAddress),
    Answer(EthernetAddress),
    /// An IP packet: its destination, and the station it went to.
    Packet(Ipv4Address, EthernetAddress),
}

impl Bench {
    fn new(address: &str, gateway: Option<&str>) -> Self {
        let [to, from] = [Wire::default(), Wire::default()];
        let config = Config {
            addressing: address.parse().unwrap(),
            gateway: gateway.map(|gateway| gateway.parse().unwrap()),
            addressing6: Addressing6::Off,
            ..Config::default()
        };
        let host = host_with(1, config, &to, &from);
        host.attach();
        let mut world = World::new(&[&host]);
        // Its announcements.
        world.idle(Duration::from_secs(3));
        while from.take().is_some() {}
        Self { host, world, to, from }
    }

    /// What it sends within a moment.
    fn sent(&mut self) -> Vec<Sent> {
        self.world.idle(MOMENT);
        let frames = core::iter::from_fn(|| self.from.take());
        frames.filter_map(|frame| understand(&frame)).collect()
    }

    /// Sends a datagram to a host.
    fn send(&mut self, socket: &UdpSocket, to: Ipv4Address) {
        let sent = socket.send_to(b"hello", SocketAddr::new(to.into(), 9));
        self.world.run(Duration::from_secs(1), sent).expect("a way");
    }

    fn socket(&self) -> UdpSocket {
        UdpSocket::bind(&self.host.stack, 0, 8, 8192).unwrap()
    }
}

fn understand(frame: &[u8]) -> Option<Sent> {
    let frame = EthernetFrame::new_checked(frame).unwrap();
    let to = frame.dst_addr();
    assert_eq!(frame.src_addr(), OURS);
    match frame.ethertype() {
        EthernetProtocol::Arp => {
            let arp = ArpPacket::new_checked(frame.payload()).unwrap();
            let ArpRepr::EthernetIpv4 { operation, target_protocol_addr, .. } =
                ArpRepr::parse(&arp).unwrap()
            else {
                return None;
            };
            Some(match operation {
                ArpOperation::Request => Sent::Question(target_protocol_addr, to),
                _ => Sent::Answer(to),
            })
        }
        EthernetProtocol::Ipv4 => {
            Some(Sent::Packet(Ipv4Packet::new_checked(frame.payload()).unwrap().dst_addr(), to))
        }
        _ => None,
    }
}

fn arp(
    operation: ArpOperation,
    (station, address): (EthernetAddress, Ipv4Address),
    (to, target): (EthernetAddress, Ipv4Address),
) -> Vec<u8> {
    let arp = ArpRepr::EthernetIpv4 {
        operation,
        source_hardware_addr: station,
        source_protocol_addr: address,
        target_hardware_addr: EthernetAddress([0; 6]),
        target_protocol_addr: target,
    };
    let ethernet =
        EthernetRepr { src_addr: station, dst_addr: to, ethertype: EthernetProtocol::Arp };
    let mut frame = vec![0; ethernet.buffer_len() + arp.buffer_len()];
    let mut packet = EthernetFrame::new_unchecked(&mut frame);
    ethernet.emit(&mut packet);
    arp.emit(&mut ArpPacket::new_unchecked(packet.payload_mut()));
    frame
}

fn answer(station: EthernetAddress, address: Ipv4Address) -> Vec<u8> {
    arp(ArpOperation::Reply, (station, address), (OURS, OWN))
}

/// An echo request to us.
fn ping(station: EthernetAddress, source: Ipv4Address) -> Vec<u8> {
    let icmp = Icmpv4Repr::EchoRequest { ident: 1, seq_no: 1, data: b"godwit" };
    let ip = Ipv4Repr {
        src_addr: source,
        dst_addr: OWN,
        next_header: IpProtocol::Icmp,
        payload_len: icmp.buffer_len(),
        hop_limit: 64,
    };
    let ethernet =
        EthernetRepr { src_addr: station, dst_addr: OURS, ethertype: EthernetProtocol::Ipv4 };
    let mut frame = vec![0; ethernet.buffer_len() + ip.buffer_len() + icmp.buffer_len()];
    let checksums = ChecksumCapabilities::default();
    let mut packet = EthernetFrame::new_unchecked(&mut frame);
    ethernet.emit(&mut packet);
    let mut packet = Ipv4Packet::new_unchecked(packet.payload_mut());
    ip.emit(&mut packet, &checksums);
    icmp.emit(&mut Icmpv4Packet::new_unchecked(packet.payload_mut()), &checksums);
    frame
}

/// The same frame with a tag.
fn tagged(frame: &[u8], tag: u16) -> Vec<u8> {
    [&frame[..12], &[0x81, 0], &tag.to_be_bytes(), &frame[12..]].concat()
}

#[test]
fn a_neighbour_that_says_its_new_station_is_believed() {
    let gratuitous = [ArpOperation::Request, ArpOperation::Reply]
        .map(|operation| arp(operation, (NEW, PEER), (EthernetAddress::BROADCAST, PEER)));
    for said in gratuitous {
        let mut bench = Bench::new("10.0.0.1/24", None);
        let socket = bench.socket();
        bench.to.send(arp(ArpOperation::Request, (OLD, PEER), (OURS, OWN)));
        assert_eq!(bench.sent(), [Sent::Answer(OLD)]);
        bench.send(&socket, PEER);
        assert_eq!(bench.sent(), [Sent::Packet(PEER, OLD)]);
        bench.to.send(said);
        bench.send(&socket, PEER);
        assert_eq!(bench.sent(), [Sent::Packet(PEER, NEW)]);
    }
    // Of strangers, nothing is kept.
    let mut bench = Bench::new("10.0.0.1/24", None);
    let said = arp(ArpOperation::Request, (NEW, PEER), (EthernetAddress::BROADCAST, PEER));
    bench.to.send(said);
    bench.sent();
    assert_eq!(bench.host.stack.with(|engine| engine.pair.device.discovery.neighbors.len()), 0);
}

#[test]
fn a_packet_from_a_neighbours_new_station_has_it_asked_for() {
    let mut bench = Bench::new("10.0.0.1/24", None);
    bench.to.send(answer(OLD, PEER));
    bench.to.send(ping(OLD, PEER));
    assert_eq!(bench.sent(), [Sent::Packet(PEER, OLD)]);
    bench.to.send(ping(NEW, PEER));
    let question = Sent::Question(PEER, EthernetAddress::BROADCAST);
    // Whoever forges a packet gets no answer sent to.
    assert_eq!(bench.sent(), [Sent::Packet(PEER, OLD), question]);
    // A flood of them is no flood of questions.
    for _ in 0..50 {
        bench.to.send(ping(NEW, PEER));
    }
    assert_eq!(bench.sent(), vec![Sent::Packet(PEER, OLD); 50]);
    bench.to.send(answer(NEW, PEER));
    bench.to.send(ping(NEW, PEER));
    assert_eq!(bench.sent(), [Sent::Packet(PEER, NEW)]);
}

#[test]
fn a_gateway_that_does_not_answer_is_asked_again() {
    let gateway = Ipv4Address::new(10, 0, 0, 254);
    let far = Ipv4Address::new(192, 0, 2, 1);
    let mut bench = Bench::new("10.0.0.1/24", Some("10.0.0.254"));
    let socket = bench.socket();
    bench.send(&socket, far);
    assert_eq!(bench.sent(), [Sent::Question(gateway, EthernetAddress::BROADCAST)]);
    bench.to.send(answer(OLD, gateway));
    assert_eq!(bench.sent(), [Sent::Packet(far, OLD)]);
    // As long as packets come by way of it, it need not be asked.
    for _ in 0..10 {
        bench.world.idle(Duration::from_secs(1));
        bench.to.send(ping(OLD, far));
        assert_eq!(bench.sent(), [Sent::Packet(far, OLD)]);
    }
    // It fails over without a word: it is asked itself, then all are.
    let mut questions = Vec::new();
    for _ in 0..55 {
        bench.send(&socket, far);
        let sent = bench.sent();
        assert!(sent.contains(&Sent::Packet(far, OLD)), "it is used until it is given up");
        questions.extend(sent.into_iter().filter(|sent| matches!(sent, Sent::Question(..))));
        bench.world.idle(Duration::from_millis(85));
    }
    let expected = [OLD, EthernetAddress::BROADCAST].map(|to| Sent::Question(gateway, to));
    assert_eq!(questions[..2], expected);
    bench.to.send(answer(NEW, gateway));
    bench.send(&socket, far);
    assert_eq!(bench.sent(), [Sent::Packet(far, NEW)]);
}

#[test]
fn one_packet_waits_for_each_neighbour_that_is_asked_for() {
    let mut bench = Bench::new("10.0.0.1/16", None);
    // The first packet from each of many addresses is answered, all at once.
    let peers: Vec<_> = (0..60).map(|n| Ipv4Address::new(10, 0, 1, n + 1)).collect();
    for &peer in &peers {
        bench.to.send(ping(OLD, peer));
    }
    let all = EthernetAddress::BROADCAST;
    let questions: Vec<_> = peers.iter().map(|&peer| Sent::Question(peer, all)).collect();
    assert_eq!(bench.sent(), questions);
    for &peer in &peers {
        bench.to.send(answer(OLD, peer));
    }
    let mut sent = bench.sent();
    sent.sort_by_key(|sent| format!("{sent:?}"));
    let mut expected: Vec<_> = peers.iter().map(|&peer| Sent::Packet(peer, OLD)).collect();
    expected.sort_by_key(|sent| format!("{sent:?}"));
    assert_eq!(sent, expected);
    // One that never answers is given up after three questions, and its packet with it.
    let dropped = bench.host.stack.traffic().tx_dropped;
    bench.to.send(ping(OLD, PEER));
    bench.world.idle(Duration::from_secs(5));
    assert_eq!(bench.sent(), vec![Sent::Question(PEER, all); 3]);
    assert_eq!(bench.host.stack.traffic().tx_dropped, dropped + 1);
}

#[test]
fn hundreds_of_peers_are_known_and_forged_ones_do_not_push_them_out() {
    let mut bench = Bench::new("10.0.0.1/8", None);
    let free = bench.host.pool.statistics().slots_free;
    let peers: Vec<_> = (0..400u32).map(|n| Ipv4Address::from_bits(0x0a01_0000 + n)).collect();
    for &peer in &peers {
        bench.to.send(arp(ArpOperation::Request, (OLD, peer), (OURS, OWN)));
        bench.sent();
    }
    for n in 0..5000u32 {
        bench.to.send(ping(NEW, Ipv4Address::from_bits(0x0a02_0000 + n)));
        bench.world.idle(Duration::from_millis(1));
    }
    while bench.from.take().is_some() {}
    let kept = free - bench.host.pool.statistics().slots_free;
    assert!(kept <= 70, "{kept} buffers are kept");
    // At full speed: nobody has to be asked for.
    for &peer in &peers {
        bench.to.send(ping(OLD, peer));
    }
    bench.world.idle(Duration::from_millis(20));
    let sent = bench.sent();
    assert!(peers.iter().all(|&peer| sent.contains(&Sent::Packet(peer, OLD))));
}

#[test]
fn a_gateway_outside_of_the_network_is_looked_for_on_the_link() {
    let gateway = Ipv4Address::new(172, 31, 1, 1);
    for own in ["10.0.0.1/32", "10.0.0.1/24"] {
        let mut bench = Bench::new(own, Some("172.31.1.1"));
        let socket = bench.socket();
        let far = Ipv4Address::new(192, 0, 2, 1);
        bench.send(&socket, far);
        assert_eq!(bench.sent(), [Sent::Question(gateway, EthernetAddress::BROADCAST)]);
        bench.to.send(answer(OLD, gateway));
        assert_eq!(bench.sent(), [Sent::Packet(far, OLD)]);
        // It asks back.
        bench.to.send(arp(ArpOperation::Request, (OLD, gateway), (OURS, OWN)));
        assert_eq!(bench.sent(), [Sent::Answer(OLD)]);
    }
}

/// A datagram to us, as long as that.
fn datagram(station: EthernetAddress, source: Ipv4Address, port: u16) -> Vec<u8> {
    let mut frame = ping(station, source);
    let mut packet = EthernetFrame::new_unchecked(&mut frame);
    let mut packet = Ipv4Packet::new_unchecked(packet.payload_mut());
    packet.set_next_header(IpProtocol::Udp);
    packet.fill_checksum();
    let len = packet.payload_mut().len() as u16;
    let mut udp = UdpPacket::new_unchecked(packet.payload_mut());
    udp.set_src_port(9);
    udp.set_dst_port(port);
    udp.set_len(len);
    udp.fill_checksum(&source.into(), &OWN.into());
    frame
}

/// Of frames with the same headers the first alone is looked at closely. In each turn there is a
/// first one.
#[test]
fn a_peer_whose_frames_are_all_alike_stays_known() {
    let mut bench = Bench::new("10.0.0.1/24", None);
    let socket = bench.socket();
    bench.to.send(arp(ArpOperation::Request, (OLD, PEER), (OURS, OWN)));
    assert_eq!(bench.sent(), [Sent::Answer(OLD)]);
    for _ in 0..2000 {
        bench.to.send(datagram(OLD, PEER, socket.port()));
        assert_eq!(bench.sent(), []);
        let moment = Duration::from_secs(1);
        let (_, from) = bench.world.run(moment, socket.recv_from(&mut []));
        assert_eq!(from.ip(), PEER);
    }
    bench.send(&socket, PEER);
    assert_eq!(bench.sent(), [Sent::Packet(PEER, OLD)], "nobody has to be asked for");
}

#[test]
fn frames_with_a_priority_are_untagged_ones() {
    let mut bench = Bench::new("10.0.0.1/24", None);
    let priority = 5 << 13;
    bench.to.send(tagged(&arp(ArpOperation::Request, (OLD, PEER), (OURS, OWN)), priority));
    assert_eq!(bench.sent(), [Sent::Answer(OLD)]);
    bench.to.send(tagged(&ping(OLD, PEER), priority));
    assert_eq!(bench.sent(), [Sent::Packet(PEER, OLD)]);
    // Those of a VLAN are for somebody else.
    bench.to.send(tagged(&ping(OLD, PEER), priority | 7));
    assert_eq!(bench.sent(), []);
    // Whatever is cut off.
    let whole = tagged(&ping(OLD, PEER), priority);
    for len in 0..whole.len() {
        bench.to.send(whole[..len].to_vec());
    }
    assert_eq!(bench.sent(), []);
}

//! Routers on the way whose links are narrower than the interface.

use core::cell::Cell;
use std::vec::Vec;

use embassy_futures::join::join;
use embassy_futures::select::{Either, select};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::time::Duration;
use smoltcp::wire::{
    EthernetFrame, Icmpv4DstUnreachable, Icmpv4Packet, Icmpv4Repr, Icmpv6Packet, Icmpv6Repr,
    IpProtocol, Ipv4Packet, Ipv4Repr, Ipv6Packet, Ipv6Repr,
};

use super::network::{Host, Wire, World, host, host6};
use super::traffic::{BUFFERS, LIMIT, PORT, pattern, receive, send};
use crate::net::{Addressing6, TcpListener, TcpStream, UdpSocket};

/// Passes frames on, except those with packets that are longer than this. Those it answers, if it
/// is asked to, with what it claims.
struct Router {
    mtu: usize,
    claims: Option<u32>,
    refused: Cell<usize>,
    passed: Cell<usize>,
}

impl Router {
    fn new(mtu: usize, claims: Option<u32>) -> Self {
        Self { mtu, claims, refused: Cell::new(0), passed: Cell::new(0) }
    }

    async fn pass(&self, wires: [(&Wire, &Wire); 2], back: &Wire) {
        loop {
            for (from, to) in wires {
                while let Some(frame) = from.take() {
                    let may_be_cut = frame[12..14] == [8, 0] && frame[20] & 0x40 == 0;
                    if frame.len() - 14 <= self.mtu || may_be_cut {
                        self.passed.set(self.passed.get() + 1);
                        to.send(frame);
                    } else {
                        self.refused.set(self.refused.get() + 1);
                        self.claims.into_iter().for_each(|mtu| back.send(too_big(&frame, mtu)));
                    }
                }
            }
            embassy_futures::yield_now().await;
        }
    }
}

fn too_big(frame: &[u8], mtu: u32) -> Vec<u8> {
    let ethernet = EthernetFrame::new_unchecked(frame);
    let sums = ChecksumCapabilities::default();
    let mut bytes = [&frame[6..12], &frame[..6], &frame[12..14]].concat();
    if frame[12..14] == [8, 0] {
        let ip = Ipv4Packet::new_unchecked(ethernet.payload());
        let header = Ipv4Repr {
            src_addr: ip.src_addr(),
            dst_addr: ip.dst_addr(),
            next_header: ip.next_header(),
            payload_len: usize::from(ip.total_len()) - 20,
            hop_limit: ip.hop_limit(),
        };
        let reason = Icmpv4DstUnreachable::FragRequired;
        let icmp = Icmpv4Repr::DstUnreachable { reason, header, data: &ip.payload()[..8] };
        let outer = Ipv4Repr {
            src_addr: ip.dst_addr(),
            dst_addr: ip.src_addr(),
            next_header: IpProtocol::Icmp,
            payload_len: icmp.buffer_len(),
            hop_limit: 64,
        };
        bytes.resize(14 + 20 + icmp.buffer_len(), 0);
        outer.emit(&mut Ipv4Packet::new_unchecked(&mut bytes[14..]), &sums);
        let mut packet = Icmpv4Packet::new_unchecked(&mut bytes[34..]);
        icmp.emit(&mut packet, &sums);
        bytes[34 + 6..34 + 8].copy_from_slice(&(mtu as u16).to_be_bytes());
        Icmpv4Packet::new_unchecked(&mut bytes[34..]).fill_checksum();
    } else {
        let ip = Ipv6Packet::new_unchecked(ethernet.payload());
        let header = Ipv6Repr {
            src_addr: ip.src_addr(),
            dst_addr: ip.dst_addr(),
            next_header: ip.next_header(),
            payload_len: ip.payload_len().into(),
            hop_limit: ip.hop_limit(),
        };
        let icmp = Icmpv6Repr::PktTooBig { mtu, header, data: &ip.payload()[..1000] };
        let outer = Ipv6Repr {
            src_addr: ip.dst_addr(),
            dst_addr: ip.src_addr(),
            next_header: IpProtocol::Icmpv6,
            payload_len: icmp.buffer_len(),
            hop_limit: 64,
        };
        bytes.resize(14 + 40 + icmp.buffer_len(), 0);
        outer.emit(&mut Ipv6Packet::new_unchecked(&mut bytes[14..]));
        let mut packet = Icmpv6Packet::new_unchecked(&mut bytes[54..]);
        icmp.emit(&outer.src_addr, &outer.dst_addr, &mut packet, &sums);
    }
    bytes
}

/// Sends data from a server to a client behind the router. Returns what was received.
fn download(make: fn(u8, &Wire, &Wire) -> Host, cuts: bool, router: &Router) -> Option<bool> {
    let [to_a, to_b, from_a, from_b] = core::array::from_fn(|_| Wire::default());
    let (a, b) = (make(1, &to_a, &from_a), make(2, &to_b, &from_b));
    if cuts {
        b.attach_segmenting();
        // Nobody fills in checksums on these wires.
        a.attach_offloading();
    } else {
        a.attach();
        b.attach();
    }
    let mut world = World::new(&[&a, &b]);
    world.idle(Duration::from_secs(3));
    let address: core::net::IpAddr = match b.stack.ipv6_addresses().first() {
        Some(cidr) => cidr.address().into(),
        None => b.stack.lease().unwrap().address.address().into(),
    };
    let listener = TcpListener::bind(&b.stack, PORT, 1, BUFFERS).unwrap();
    let data = pattern(300_000);
    let session = async {
        // The second knows from the beginning.
        for _ in 0..2 {
            let connect = TcpStream::connect(&a.stack, (address, PORT).into(), BUFFERS);
            let (client, server) = join(connect, listener.accept()).await;
            let client = client.expect("a connection");
            let ((), received) = join(send(&server, &data), receive(&client)).await;
            assert!(received == data);
        }
    };
    let pass = router.pass([(&from_a, &to_b), (&from_b, &to_a)], &to_b);
    let patience = async {
        for _ in 0..40_000 {
            embassy_futures::yield_now().await;
        }
    };
    match world.run(LIMIT, select(select(session, pass), patience)) {
        Either::First(_) => Some(true),
        Either::Second(()) => None,
    }
}

fn ipv4(mac: u8, rx: &Wire, tx: &Wire) -> Host {
    host(mac, &std::format!("10.0.0.{mac}/24"), rx, tx)
}

fn ipv6(mac: u8, rx: &Wire, tx: &Wire) -> Host {
    host6(mac, Addressing6::Auto, rx, tx)
}

#[test]
fn a_narrow_path_passes_tcp_with_and_without_a_nic_that_cuts() {
    for (make, mtu, claims, cuts) in [
        (ipv4 as fn(u8, &Wire, &Wire) -> Host, 1300, 1300, false),
        (ipv4, 1300, 1300, true),
        (ipv6, 1300, 1300, false),
        // Older than RFC 1191.
        (ipv4, 1006, 0, false),
        // Less than is believed: may be cut on the way.
        (ipv4, 400, 400, false),
        (ipv4, 400, 400, true),
    ] {
        let router = Router::new(mtu, Some(claims));
        assert_eq!(download(make, cuts, &router), Some(true), "{mtu} {claims} {cuts}");
        // The first window, and no more.
        let refused = router.refused.get();
        assert!((1..100).contains(&refused), "{refused} packets were too long for {mtu}");
    }
}

#[test]
fn a_narrow_path_passes_datagrams_over_ipv6() {
    for len in [1252, 1253, 1400, 5000] {
        let router = Router::new(1300, Some(1300));
        let [to_a, to_b, from_a, from_b] = core::array::from_fn(|_| Wire::default());
        let (a, b) = (ipv6(1, &to_a, &from_a), ipv6(2, &to_b, &from_b));
        a.attach();
        b.attach();
        let mut world = World::new(&[&a, &b]);
        world.idle(Duration::from_secs(3));
        let [client, server] =
            [&a, &b].map(|host| UdpSocket::bind(&host.stack, PORT, 16, 100_000).unwrap());
        let to = (a.stack.ipv6_addresses()[0].address(), PORT).into();
        let data = pattern(len);
        let session = async {
            // Until one arrives: the first ask for the neighbour, and hear from the router.
            let repeat = async {
                loop {
                    server.send_to(&data, to).await.unwrap();
                    for _ in 0..100 {
                        embassy_futures::yield_now().await;
                    }
                }
            };
            let arrive = client.receive_with(|_, payload| payload == data);
            match select(repeat, arrive).await {
                Either::First(never) => never,
                Either::Second(is_right) => assert!(is_right, "{len} bytes arrived as others"),
            }
        };
        let pass = router.pass([(&from_a, &to_b), (&from_b, &to_a)], &to_b);
        world.run(LIMIT, select(session, pass));
        let refused = router.refused.get();
        assert_eq!(refused > 0, len > 1252, "{refused} packets of {len} bytes were refused");
    }
}

#[test]
fn without_a_word_from_the_router_nothing_helps() {
    let router = Router::new(1300, None);
    assert_eq!(download(ipv4, false, &router), None);
}

#[test]
fn what_no_socket_has_sent_is_not_believed() {
    let [rx, tx] = core::array::from_fn(|_| Wire::default());
    let host = ipv4(2, &rx, &tx);
    host.attach();
    let mut world = World::new(&[&host]);
    world.idle(Duration::from_millis(1));
    // A TCP segment of nobody's, from this host.
    let mut frame = std::vec![0; 1514];
    frame[..14].copy_from_slice(&[0x52, 0x54, 0, 0, 0, 1, 0x52, 0x54, 0, 0, 0, 2, 8, 0]);
    let start = [0x45, 0, 5, 220, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 2, 10, 0, 0, 1];
    frame[14..34].copy_from_slice(&start);
    rx.send(too_big(&frame, 600));
    world.idle(Duration::from_millis(10));
    assert!(host.stack.with(|engine| engine.pair.device.paths.is_empty()));
}

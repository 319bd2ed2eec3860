//! A wire on which somebody changes, repeats, cuts and lengthens frames. Whatever arrives, a stack
//! goes on.
//!
//! The NICs claim to have verified checksums, so that changed packets get as far as they can.

use core::future::poll_fn;
use core::net::IpAddr;
use core::pin::pin;
use core::task::Poll;
use std::vec::Vec;

use embassy_futures::join::{join, join4};
use embassy_futures::select::{Either, select};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::time::Duration;
use smoltcp::wire::{
    EthernetFrame, EthernetProtocol, Icmpv4Packet, Icmpv6Packet, IgmpPacket, IpProtocol,
    Ipv4Address, Ipv4Packet, Ipv6Packet, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber,
};

use super::address;
use super::ipv6::advertisement;
use super::network::{Host, PROBED, Wire, World, host, host6, segment};
use super::traffic::{BUFFERS, LIMIT, PORT, endpoint, pattern};
use crate::net::{Addressing6, Role, TcpListener, TcpStream, UdpFrames, UdpSocket};

/// Sessions of [`STEPS`] turns each.
const SESSIONS: u16 = 30;
const STEPS: usize = 200;

/// Repeatable numbers (G. Marsaglia, "Xorshift RNGs", 2003).
struct Dice(u64);

impl Dice {
    /// A number below `sides`.
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % sides
    }

    /// Values that parsers get wrong, and any.
    fn byte(&mut self) -> u8 {
        match self.roll(3) {
            0 => [0, 1, 2, 0x3f, 0x7f, 0x80, 0xfe, 0xff][self.roll(8)],
            _ => self.roll(256) as u8,
        }
    }

    /// Does something to a frame. Headers are where it matters.
    fn tamper(&mut self, frame: &mut Vec<u8>) {
        for _ in 0..=self.roll(4) {
            let end = if self.roll(4) == 0 { frame.len() } else { frame.len().min(14 + 60) };
            // The station addresses stay, or nobody would look at the rest.
            let at = 12 + self.roll(end - 12);
            match self.roll(4) {
                0 => frame[at] ^= 1 << self.roll(8),
                _ => frame[at] = self.byte(),
            }
        }
        match self.roll(8) {
            0 => frame.truncate(14 + self.roll(frame.len() - 13)),
            1 => frame.resize((frame.len() + self.roll(64)).min(1514), 0xff),
            _ => {}
        }
        mend(frame);
    }
}

/// Makes the checksums right that no NIC looks at.
fn mend(frame: &mut [u8]) {
    let mut ethernet = EthernetFrame::new_unchecked(frame);
    match ethernet.ethertype() {
        EthernetProtocol::Ipv4 => {
            let Ok(mut ip) = Ipv4Packet::new_checked(ethernet.payload_mut()) else { return };
            match ip.next_header() {
                IpProtocol::Icmp => {
                    if let Ok(mut icmp) = Icmpv4Packet::new_checked(ip.payload_mut()) {
                        icmp.fill_checksum();
                    }
                }
                IpProtocol::Igmp => {
                    if let Ok(mut igmp) = IgmpPacket::new_checked(ip.payload_mut()) {
                        igmp.fill_checksum();
                    }
                }
                _ => {}
            }
        }
        EthernetProtocol::Ipv6 => {
            let Ok(mut ip) = Ipv6Packet::new_checked(ethernet.payload_mut()) else { return };
            let (from, to) = (ip.src_addr(), ip.dst_addr());
            if ip.next_header() == IpProtocol::Icmpv6
                && let Ok(mut icmp) = Icmpv6Packet::new_checked(ip.payload_mut())
            {
                icmp.fill_checksum(&from, &to);
            }
        }
        _ => {}
    }
}

/// Brings what came along one wire to another, changed now and then, and whole at other times.
fn carry(from: &Wire, to: &Wire, dice: &mut Dice) {
    while let Some(frame) = from.take() {
        for _ in 0..dice.roll(3) {
            let mut changed = frame.clone();
            dice.tamper(&mut changed);
            to.send(changed);
        }
        if dice.roll(8) != 0 {
            to.send(frame);
        }
    }
}

/// What no stack here sends: echo requests, queries for members of groups, advertisements of
/// routers.
fn asked_by_others(dice: &mut Dice) -> Vec<u8> {
    if dice.roll(7) == 0 {
        return advertisement(Duration::from_secs(60), Duration::from_secs(30), 255);
    }
    let echo: &[u8] = &[8, 0, 0, 0, 0, 1, 0, 1, 1, 2, 3, 4];
    let unreachable: &[u8] = &[
        3, 3, 0, 0, 0, 0, 0, 0, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 2, 10, 0, 0, 1,
        0, 7, 0, 7, 0, 8, 0, 0,
    ];
    let membership: &[u8] = &[0x11, 100, 0, 0, 0, 0, 0, 0];
    let echo6: &[u8] = &[128, 0, 0, 0, 0, 1, 0, 1, 1, 2, 3, 4];
    // A hop-by-hop header with a router alert, then a general query (RFC 3810, section 5.1).
    let listeners: &[u8] = &[
        58, 0, 5, 2, 0, 0, 1, 0, 130, 0, 0, 0, 0x27, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 2, 125, 0, 0,
    ];
    let fragment: &[u8] = &[17, 0, 0, 1, 0, 0, 0, 9, 0, 7, 0, 7, 0, 12, 0, 0, 1, 2, 3, 4];
    let (protocol, body) =
        [(1, echo), (1, unreachable), (2, membership), (58, echo6), (0, listeners), (44, fragment)]
            [dice.roll(6)];
    let is_ipv4 = matches!(protocol, 1 | 2);
    let mut frame = std::vec![0x52, 0x54, 0, 0, 0, 2, 0x52, 0x54, 0, 0, 0, 1];
    if is_ipv4 {
        frame.extend([8, 0, 0x45, 0, 0, 20 + body.len() as u8, 0, 0, 0, 0, 1, protocol, 0, 0]);
        frame.extend([10, 0, 0, 1, 10, 0, 0, 2]);
    } else {
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, body.len() as u8, protocol, 255]);
        frame.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0x50, 0x54, 0, 0xff, 0xfe, 0, 0, 1]);
        frame.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0x50, 0x54, 0, 0xff, 0xfe, 0, 0, 2]);
    }
    frame.extend(body);
    frame
}

/// Sends a little and closes, and takes what comes back; connections may break at any point.
async fn talk(stream: TcpStream) {
    let data = pattern(5000);
    let _ = stream
        .write_with(|room| {
            let len = room.len().min(data.len());
            room[..len].copy_from_slice(&data[..len]);
            (len, ())
        })
        .await;
    stream.close();
    while let Ok(Some(())) = stream.read_with(|data| (data.len(), ())).await {}
}

async fn session(client: &Host, to: IpAddr, server: &Host) {
    let listener = TcpListener::bind(&server.stack, PORT, 2, BUFFERS).unwrap();
    let serve = async {
        loop {
            talk(listener.accept().await).await;
        }
    };
    let there = UdpSocket::bind(&server.stack, 7, 16, 16 * 1024).unwrap();
    let echo = async {
        loop {
            let mut from = Vec::new();
            there.receive_each(|peer, payload| from.push((peer, payload.len()))).await;
            for (peer, len) in from {
                let _ = there.send_with(peer, len, |room| room.fill(1)).await;
            }
        }
    };
    let in_place = UdpFrames::bind(&server.stack, 8, 16).unwrap();
    let take = async {
        loop {
            in_place.recv_each(|datagram| assert!(datagram.len() <= 0xffff)).await;
        }
    };
    let here = UdpSocket::bind(&client.stack, 0, 16, 16 * 1024).unwrap();
    let ask = async {
        // Two go in fragments, the last where nobody listens.
        for (len, port) in [(100, 7), (4000, 7), (100, 8), (4000, 8), (10, 9)] {
            let _ = here.send_with((to, port).into(), len, |room| room.fill(2)).await;
        }
        let to = (to, PORT).into();
        if let Ok(stream) = TcpStream::connect(&client.stack, to, BUFFERS).await {
            talk(stream).await;
        }
        core::future::pending::<()>().await;
    };
    join4(serve, echo, take, ask).await;
}

#[test]
fn whatever_arrives_the_stack_goes_on() {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for over_ipv6 in [false, true] {
        let [to_a, to_b, from_a, from_b] = core::array::from_fn(|_| Wire::default());
        let make = if over_ipv6 { with_ipv6 } else { with_ipv4 };
        let (a, b) = (make(1, &to_a, &from_a), make(2, &to_b, &from_b));
        let mut world = World::new(&[&a, &b]);
        world.idle(PROBED);
        let to = if over_ipv6 {
            b.stack.ipv6_addresses()[0].address().into()
        } else {
            endpoint(2, PORT).ip()
        };
        for _ in 0..SESSIONS {
            let mut session = pin!(session(&a, to, &b));
            for _ in 0..STEPS {
                let _ = world.step(session.as_mut());
                let mut frame = asked_by_others(&mut dice);
                dice.tamper(&mut frame);
                to_b.send(frame);
                carry(&from_a, &to_b, &mut dice);
                carry(&from_b, &to_a, &mut dice);
            }
        }
        // Left alone, it works: neighbours that were lied about are found again.
        world.idle(Duration::from_secs(60));
        let listener = TcpListener::bind(&b.stack, PORT, 1, BUFFERS).unwrap();
        let to = (to, PORT).into();
        let connect = TcpStream::connect(&a.stack, to, BUFFERS);
        let pass = poll_fn(|_| {
            for (from, to) in [(&from_a, &to_b), (&from_b, &to_a)] {
                core::iter::from_fn(|| from.take()).for_each(|frame| to.send(frame));
            }
            Poll::<()>::Pending
        });
        let connected = world.run(LIMIT, select(join(connect, listener.accept()), pass));
        assert!(matches!(connected, Either::First((Ok(_), _))), "{to}");
    }
}

/// Whoever does not wait for an acknowledgement may send more than the receive buffer has room for.
#[test]
fn a_peer_that_ignores_the_window_does_no_harm() {
    let [rx, tx] = core::array::from_fn(|_| Wire::default());
    let host = with_ipv4(2, &rx, &tx);
    let mut world = World::new(&[&host]);
    world.idle(Duration::from_millis(1));
    let listener = TcpListener::bind(&host.stack, PORT, 1, BUFFERS).unwrap();
    let data = [7; 1400];
    let (from, ignored) = (Ipv4Address::new(10, 0, 0, 1), ChecksumCapabilities::ignored());
    let mut tcp = TcpRepr {
        src_port: 40_000,
        dst_port: PORT,
        control: TcpControl::Syn,
        seq_number: TcpSeqNumber(1),
        ack_number: None,
        window_len: 1000,
        window_scale: Some(7),
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: &[],
    };
    let station = |last| [0x52, 0x54, 0, 0, 0, last];
    let question =
        [&[0, 1, 8, 0, 6, 4, 0, 1], &station(1)[..], &[10, 0, 0, 1], &[0; 6], &[10, 0, 0, 2]];
    rx.send([&station(2)[..], &station(1), &[8, 6], &question.concat()].concat());
    rx.send(segment(from, &tcp, &ignored));
    world.idle(Duration::from_millis(10));
    let answer = core::iter::from_fn(|| tx.take()).find_map(|frame| {
        let frame = EthernetFrame::new_checked(&frame[..]).ok()?;
        let ip = Ipv4Packet::new_checked(frame.payload()).ok()?;
        let is_tcp = ip.next_header() == IpProtocol::Tcp;
        Some(TcpPacket::new_checked(ip.payload()).ok().filter(|_| is_tcp)?.seq_number())
    });
    (tcp.control, tcp.window_scale) = (TcpControl::None, None);
    tcp.ack_number = Some(answer.expect("an answer") + 1);
    tcp.seq_number += 1;
    for payload in core::iter::once(&[][..]).chain([&data[..]; 60]) {
        rx.send(segment(from, &TcpRepr { payload, ..tcp }, &ignored));
        tcp.seq_number += payload.len();
    }
    let stream = world.run(LIMIT, listener.accept());
    let received = world.run(LIMIT, stream.read_with(|data| (data.len(), data.len())));
    assert!(received.expect("a connection").is_some_and(|received| received <= BUFFERS.receive));
}

#[test]
fn whatever_a_dhcp_server_says_the_stack_goes_on() {
    let mut dice = Dice(0xd1b5_4a32_d192_ed03);
    let [up, down, client] = core::array::from_fn(|_| Wire::default());
    let host = host(2, "dhcp", &client, &up);
    let mut world = World::new(&[&host]);
    for _ in 0..SESSIONS {
        // A link that comes back has it ask again.
        let cable = host.attach();
        for step in 0..10 * STEPS {
            cable.set(step % STEPS != 0);
            world.idle(Duration::from_millis(1));
            address::serve(&up, &down, Ipv4Address::new(10, 0, 2, 15));
            carry(&down, &client, &mut dice);
        }
        drop(host.stack.detach(Role::Primary));
    }
}

fn with_ipv4(mac: u8, rx: &Wire, tx: &Wire) -> Host {
    joined(host(mac, &std::format!("10.0.0.{mac}/24"), rx, tx))
}

fn with_ipv6(mac: u8, rx: &Wire, tx: &Wire) -> Host {
    joined(host6(mac, Addressing6::Auto, rx, tx))
}

fn joined(host: Host) -> Host {
    host.attach_offloading();
    host.stack.join_multicast(Ipv4Address::new(239, 1, 2, 3).into()).unwrap();
    host
}

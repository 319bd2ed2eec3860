//! Connections that begin and end many at a time, and those that never do either.

use std::collections::HashSet;
use std::vec::Vec;

use embassy_futures::join::{join, join_array};
use embedded_io_async::Read;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{
    EthernetFrame, EthernetProtocol, IpProtocol, Ipv4Address, Ipv4Packet, TcpControl, TcpPacket,
    TcpRepr, TcpSeqNumber,
};

use super::network::{Host, Wire, World, host, pair};
use super::traffic::{BUFFERS, LIMIT, PORT, endpoint, pattern, receive, send};
use crate::net::{Buffers, Error, TcpListener, TcpStream};

const SMALL: Buffers = Buffers { receive: 2048, transmit: 8192 };

fn sockets(host: &Host) -> usize {
    host.stack.with_sockets(|sockets| sockets.count())
}

/// A segment to port 80 of 10.0.0.2.
fn segment(from: (Ipv4Address, u16), control: TcpControl, numbers: (i32, Option<i32>)) -> Vec<u8> {
    let tcp = TcpRepr {
        src_port: from.1,
        dst_port: PORT,
        control,
        seq_number: TcpSeqNumber(numbers.0),
        ack_number: numbers.1.map(TcpSeqNumber),
        window_len: 1000,
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: &[],
    };
    super::network::segment(from.0, &tcp, &ChecksumCapabilities::default())
}

/// What TCP had to say on this wire: control, sequence number, and what it acknowledges.
fn said(wire: &Wire) -> Vec<(TcpControl, TcpSeqNumber, Option<TcpSeqNumber>)> {
    let parse = |frame: Vec<u8>| {
        let frame = EthernetFrame::new_checked(&frame[..]).ok()?;
        let ip = Ipv4Packet::new_checked(frame.payload()).ok()?;
        (frame.ethertype() == EthernetProtocol::Ipv4 && ip.next_header() == IpProtocol::Tcp)
            .then_some(())?;
        let tcp = TcpPacket::new_checked(ip.payload()).ok()?;
        let (from, to) = (ip.src_addr().into(), ip.dst_addr().into());
        let tcp = TcpRepr::parse(&tcp, &from, &to, &ChecksumCapabilities::default()).ok()?;
        Some((tcp.control, tcp.seq_number, tcp.ack_number))
    };
    core::iter::from_fn(|| wire.take()).filter_map(parse).collect()
}

/// A server that nobody but this test talks to.
fn server() -> (World, Host, Wire, Wire) {
    let (there, back) = (Wire::default(), Wire::default());
    let server = host(2, "10.0.0.2/24", &there, &back);
    server.attach();
    let mut world = World::new(&[&server]);
    // It knows the stranger's station.
    let station = |last| [0x52, 0x54, 0, 0, 0, last];
    let question =
        [&[0, 1, 8, 0, 6, 4, 0, 1], &station(1)[..], &[10, 0, 0, 7], &[0; 6], &[10, 0, 0, 2]];
    there.send([&station(2)[..], &station(1), &[8, 6], &question.concat()].concat());
    world.idle(Duration::from_millis(1));
    (world, server, there, back)
}

/// One connection, after which the two know where they are.
fn greet(world: &mut World, client: &Host, listener: &TcpListener) {
    let client = TcpStream::connect(&client.stack, endpoint(2, PORT), SMALL);
    let (client, server) = world.run(LIMIT, join(client, listener.accept()));
    client.expect("a connection").abort();
    drop(server);
    world.idle(Duration::from_millis(5));
}

const STRANGER: Ipv4Address = Ipv4Address::new(10, 0, 0, 7);

#[test]
fn a_burst_of_connections_is_accepted_whole() {
    let (a, b) = pair();
    let mut world = World::new(&[&a, &b]);
    let listener = TcpListener::bind(&b.stack, PORT, 128, SMALL).unwrap();
    greet(&mut world, &a, &listener);
    let (before, connections) = (sockets(&b), b.stack.connections());
    let clients: [_; 128] =
        core::array::from_fn(|_| TcpStream::connect(&a.stack, endpoint(2, PORT), SMALL));
    let clients = world.run(Duration::from_millis(100), join_array(clients));
    world.idle(Duration::from_millis(5));
    assert_eq!(sockets(&b), before + 128);
    assert_eq!(b.stack.connections(), connections + 128);
    for client in &clients {
        let server = world.run(LIMIT, listener.accept());
        let client = client.as_ref().expect("accepted");
        assert_eq!((server.local(), server.peer()), (client.peer(), client.local()));
        let data = pattern(5000);
        let ((), received) = world.run(LIMIT, join(send(client, &data), receive(&server)));
        assert!(received == data);
    }
}

#[test]
fn beyond_the_backlog_connections_wait() {
    let (a, b) = pair();
    let mut world = World::new(&[&a, &b]);
    let listener = TcpListener::bind(&b.stack, PORT, 2, SMALL).unwrap();
    greet(&mut world, &a, &listener);
    let clients: [_; 5] =
        core::array::from_fn(|_| TcpStream::connect(&a.stack, endpoint(2, PORT), SMALL));
    let clients = world.run(Duration::from_millis(100), join_array(clients));
    let data = pattern(5000);
    for client in clients.iter().flatten() {
        let serve = async { receive(&listener.accept().await).await };
        let ((), received) = world.run(LIMIT, join(send(client, &data), serve));
        assert!(received == data);
    }
}

#[test]
fn a_flood_of_syns_keeps_nobody_out() {
    let (a, b) = pair();
    let mut world = World::new(&[&a, &b]);
    let listener = TcpListener::bind(&b.stack, PORT, 8, BUFFERS).unwrap();
    let before = sockets(&b);
    let flood = |world: &mut World, from: u32| {
        for source in from..from + 5000 {
            let source = Ipv4Address::from_bits(u32::from(Ipv4Address::new(203, 0, 0, 0)) + source);
            a.tx.send(segment((source, 1024), TcpControl::Syn, (1, None)));
        }
        while !a.tx.is_empty() {
            world.idle(Duration::from_millis(1));
        }
    };
    flood(&mut world, 0);
    assert!(b.stack.traffic().handshakes_evicted > 2000);
    assert_eq!(sockets(&b), before, "sockets for nobody");
    for round in 1..5 {
        let client = TcpStream::connect(&a.stack, endpoint(2, PORT), BUFFERS);
        let (client, server) =
            world.run(Duration::from_millis(100), join(client, listener.accept()));
        let client = client.expect("a connection");
        flood(&mut world, round * 5000);
        let data = pattern(50_000);
        let ((), received) = world.run(LIMIT, join(send(&client, &data), receive(&server)));
        assert!(received == data);
    }
    // All is forgotten, and nothing is left to wake up for.
    world.idle(Duration::from_secs(60));
    let tend_at = b.stack.with(|engine| engine.pair.device.listeners.tend_at());
    assert_eq!(tend_at, None);
}

#[test]
fn an_answer_that_may_be_lost_is_repeated_and_one_that_is_not_wanted_is_not() {
    let (mut world, server, to, from) = server();
    let listener = TcpListener::bind(&server.stack, PORT, 1, SMALL).unwrap();
    to.send(segment((STRANGER, 1000), TcpControl::Syn, (7, None)));
    world.idle(Duration::from_secs(60));
    let answers = said(&from);
    assert_eq!(answers.len(), 4);
    let (control, number, _) = answers[0];
    assert!(answers.iter().all(|answer| *answer == (control, number, Some(TcpSeqNumber(8)))));
    // Too late: it is forgotten.
    to.send(segment((STRANGER, 1000), TcpControl::None, (8, Some(number.0.wrapping_add(1)))));
    world.idle(Duration::from_millis(10));
    assert!(matches!(said(&from)[..], [(TcpControl::Rst, ..)]));

    to.send(segment((STRANGER, 1001), TcpControl::Syn, (7, None)));
    world.idle(Duration::from_millis(10));
    assert_eq!(said(&from).len(), 1);
    to.send(segment((STRANGER, 1001), TcpControl::Rst, (8, None)));
    world.idle(Duration::from_secs(60));
    assert!(said(&from).is_empty());
    drop(listener);
}

#[test]
fn only_who_got_the_answer_gets_a_connection() {
    let (mut world, server, to, from) = server();
    let _listener = TcpListener::bind(&server.stack, PORT, 4, SMALL).unwrap();
    let before = sockets(&server);
    let shake = |world: &mut World, at: i32, acknowledged: i32| {
        to.send(segment((STRANGER, 1000), TcpControl::Syn, (7, None)));
        world.idle(Duration::from_millis(1));
        let number = said(&from)[0].1.0;
        let ack = Some(number.wrapping_add(acknowledged));
        to.send(segment((STRANGER, 1000), TcpControl::None, (at, ack)));
        world.idle(Duration::from_millis(1));
        said(&from)
    };
    // A guess is reset; what comes out of order is not.
    assert!(matches!(shake(&mut world, 8, 2)[..], [(TcpControl::Rst, ..)]));
    assert_eq!(shake(&mut world, 9, 1), []);
    assert_eq!(sockets(&server), before);
    assert_eq!(shake(&mut world, 8, 1), []);
    assert_eq!(sockets(&server), before + 1);
}

#[test]
fn a_new_syn_of_the_same_peer_begins_anew() {
    let (mut world, server, to, from) = server();
    let _listener = TcpListener::bind(&server.stack, PORT, 4, SMALL).unwrap();
    for number in [7, 70_000] {
        to.send(segment((STRANGER, 1000), TcpControl::Syn, (number, None)));
        world.idle(Duration::from_millis(1));
        assert!(
            matches!(said(&from)[..], [(TcpControl::Syn, _, Some(ack))] if ack.0 == number + 1)
        );
    }
}

/// RFC 6528: with each connection of the same two it goes up, and from the others nothing can be
/// told.
#[test]
fn sequence_numbers_go_up_and_cannot_be_told() {
    let (mut world, server, to, from) = server();
    let _listener = TcpListener::bind(&server.stack, PORT, 4, SMALL).unwrap();
    let number_of = |world: &mut World, port| {
        to.send(segment((STRANGER, port), TcpControl::Syn, (7, None)));
        world.idle(Duration::from_millis(1));
        let number = said(&from)[0].1;
        to.send(segment((STRANGER, port), TcpControl::Rst, (8, None)));
        number
    };
    let first = number_of(&mut world, 1000);
    world.idle(Duration::from_secs(1));
    let later = number_of(&mut world, 1000);
    // A tick each 4 µs.
    assert!((250_000..260_000).contains(&(later - first)), "{first} and {later}");
    let steps: HashSet<_> = (1000..1100)
        .map(|port| number_of(&mut world, port).0 as u32)
        .collect::<Vec<_>>()
        .windows(2)
        .map(|pair| pair[1].wrapping_sub(pair[0]) >> 16)
        .collect();
    assert!(steps.len() > 90, "{} different steps", steps.len());
}

/// What the numbers are is up to smoltcp, whose generator is made to draw them: an update of it
/// may need another way.
#[test]
fn smoltcp_uses_the_numbers_it_is_given() {
    use crate::net::sequence::Sequence;
    let (a, b) = pair();
    let mut world = World::new(&[&a, &b]);
    let listener = TcpListener::bind(&b.stack, PORT, 1, SMALL).unwrap();
    for _ in 0..50 {
        let client = TcpStream::connect(&a.stack, endpoint(2, PORT), SMALL);
        let (client, server) = world.run(LIMIT, join(client, listener.accept()));
        let (client, data) = (client.expect("a connection"), pattern(100));
        // They talk only if the table and the socket agree on the numbers.
        let both = join(send(&client, &data), receive(&server));
        assert!(world.run(LIMIT, both).1 == data);
    }
    let (sequence, [local, peer]) = (Sequence::default(), [1, 2].map(|last| endpoint(last, 5)));
    let number = |at| sequence.first(local.into(), peer.into(), Instant::from_micros(at));
    assert_eq!(number(4000) - number(0), 1000);
}

#[test]
fn every_client_gets_all_when_all_connections_are_dropped_at_once() {
    const CLIENTS: usize = 200;
    let (a, b) = pair();
    let mut world = World::new(&[&a, &b]);
    let before = (sockets(&a), sockets(&b));
    let listener = TcpListener::bind(&b.stack, PORT, 4, SMALL).unwrap();
    let mut connect = || {
        let client = TcpStream::connect(&a.stack, endpoint(2, PORT), SMALL);
        let (client, server) = world.run(LIMIT, join(client, listener.accept()));
        (client.unwrap(), server)
    };
    let (clients, servers): (Vec<_>, Vec<_>) = (0..CLIENTS).map(|_| connect()).unzip();
    let data = pattern(SMALL.transmit);
    for server in &servers {
        world
            .run(
                LIMIT,
                server.write_with(|room| {
                    room.copy_from_slice(&data[..room.len()]);
                    (room.len(), ())
                }),
            )
            .expect("room");
    }
    drop((servers, listener));
    // They read late, and after that close late.
    world.idle(Duration::from_secs(8));
    for client in &clients {
        assert!(world.run(LIMIT, receive(client)) == data);
    }
    for mut client in clients {
        assert_eq!(world.run(LIMIT, client.read(&mut [0; 1])), Ok(0));
    }
    world.idle(Duration::from_secs(30));
    assert_eq!((sockets(&a), sockets(&b)), before);
}

/// It acknowledges, but its window stays shut: a connection that nobody owns would live for ever.
#[test]
fn a_peer_that_takes_nothing_of_the_rest_is_given_up() {
    let (a, b) = pair();
    let mut world = World::new(&[&a, &b]);
    let before = sockets(&b);
    let listener = TcpListener::bind(&b.stack, PORT, 1, BUFFERS).unwrap();
    let client = TcpStream::connect(&a.stack, endpoint(2, PORT), SMALL);
    let (client, server) = world.run(LIMIT, join(client, listener.accept()));
    world.run(LIMIT, server.write_with(|room| (room.len(), ()))).expect("room");
    drop((server, listener));
    world.idle(Duration::from_secs(50));
    assert_eq!(sockets(&b), before + 1);
    world.idle(Duration::from_secs(30));
    assert_eq!(sockets(&b), before);
    let mut client = client.expect("a connection");
    let mut end = Ok(1);
    while end == Ok(1) {
        end = world.run(LIMIT, client.read(&mut [0; 1]));
    }
    assert_eq!(end, Err(Error::Reset));
}

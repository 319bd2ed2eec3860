//! TCP, UDP and ARP between two stacks, with loss, floods, and NICs that come and go.

use core::cell::Cell;
use core::net::SocketAddr;
use std::boxed::Box;
use std::vec;
use std::vec::Vec;

use embassy_futures::join::join;
use embassy_futures::select::select;
use embassy_futures::yield_now;
use smoltcp::time::Duration;
use smoltcp::wire::{ArpPacket, ArpRepr, EthernetFrame, EthernetProtocol, Ipv4Address};

use super::network::{Host, Keeper, POOL, Wire, World, host, pair};
use crate::net::engine::Next;
use crate::net::{Buffers, Error, Role, TcpListener, TcpStream, UdpSocket};

pub(super) const PORT: u16 = 80;
pub(super) const LIMIT: Duration = Duration::from_secs(60);
pub(super) const BUFFERS: Buffers = Buffers { receive: 64 * 1024, transmit: 64 * 1024 };

pub(super) fn endpoint(last: u8, port: u16) -> SocketAddr {
    (Ipv4Address::new(10, 0, 0, last), port).into()
}

pub(super) fn connect(
    world: &mut World,
    a: &Host,
    b: &Host,
) -> (TcpStream, TcpStream, TcpListener) {
    let listener = TcpListener::bind(&b.stack, PORT, 2, BUFFERS).unwrap();
    let client = TcpStream::connect(&a.stack, endpoint(2, PORT), BUFFERS);
    let (client, server) = world.run(LIMIT, join(client, listener.accept()));
    (client.expect("a connection"), server, listener)
}

pub(super) async fn send(stream: &TcpStream, mut data: &[u8]) {
    while !data.is_empty() {
        let write = stream.write_with(|room| {
            let len = room.len().min(data.len());
            room[..len].copy_from_slice(&data[..len]);
            (len, len)
        });
        data = &data[write.await.expect("an open connection")..];
    }
    stream.close();
}

pub(super) async fn receive(stream: &TcpStream) -> Vec<u8> {
    let mut received = Vec::new();
    let read = |data: &mut [u8]| {
        received.extend_from_slice(data);
        (data.len(), ())
    };
    let mut read = read;
    while stream.read_with(&mut read).await.expect("an open connection").is_some() {}
    received
}

pub(super) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + (i >> 8)) as u8).collect()
}

#[test]
fn tcp_both_ways() {
    let (a, b) = pair();
    let mut world = World::new(&[&a, &b]);
    let (client, server, _listener) = connect(&mut world, &a, &b);
    let (up, down) = (pattern(300_000), pattern(200_000));
    let all = join(
        join(send(&client, &up), receive(&client)),
        join(send(&server, &down), receive(&server)),
    );
    let (((), at_client), ((), at_server)) = world.run(LIMIT, all);
    assert!(at_client == down && at_server == up);
}

#[test]
fn tcp_survives_loss() {
    let (a, b) = pair();
    a.tx.lose_every(17);
    b.tx.lose_every(23);
    let mut world = World::new(&[&a, &b]);
    let (client, server, _listener) = connect(&mut world, &a, &b);
    let data = pattern(200_000);
    let ((), received) = world.run(LIMIT, join(send(&client, &data), receive(&server)));
    assert!(received == data);
}

#[test]
fn checksums_left_to_the_nic_are_not_computed() {
    let (there, back) = (Wire::default(), Wire::default());
    let a = host(1, "10.0.0.1/24", &back, &there);
    let b = host(2, "10.0.0.2/24", &there, &back);
    a.attach_offloading();
    b.attach();
    let mut world = World::new(&[&a, &b]);
    // Nobody fills them in on this wire, so the other side must find them wrong.
    let socket = UdpSocket::bind(&a.stack, PORT, 4, 4096).unwrap();
    world.run(LIMIT, socket.send_to(b"hello", endpoint(2, PORT))).expect("room");
    let observer = Keeper::default();
    let _observation = b.stack.observe(Box::new(observer.clone()));
    world.idle(Duration::from_secs(2));
    let frames = observer.0.borrow();
    let udp = frames.iter().find(|f| f.len() >= 42 && f[23] == 17).expect("the datagram");
    assert_eq!(udp[40..42], [0, 0]);
}

#[test]
fn long_packets_are_left_to_a_nic_that_cuts_them() {
    let (there, back) = (Wire::default(), Wire::default());
    let a = host(1, "10.0.0.1/24", &back, &there);
    let b = host(2, "10.0.0.2/24", &there, &back);
    let segments = a.attach_segmenting();
    b.attach_offloading();
    // Lost segments are repeated, whatever packet they were part of.
    there.lose_every(37);
    let mut world = World::new(&[&a, &b]);
    let (client, server, _listener) = connect(&mut world, &a, &b);
    let data = pattern(1_000_000);
    let ((), received) = world.run(LIMIT, join(send(&client, &data), receive(&server)));
    assert!(received == data);
    let frames = a.stack.traffic().tx_frames as usize;
    assert!(segments.get() > 2 * frames, "{} segments, {frames} frames", segments.get());
    // Nothing is held but what the device keeps ready for the next packets.
    drop((client, server));
    world.idle(Duration::from_secs(30));
    let held = a.pool.statistics().slots - a.pool.statistics().slots_free;
    assert!(held <= 32 + 1, "{held} slots");
}

#[test]
fn connections_live_through_a_change_of_nics() {
    let (a, b) = pair();
    let mut world = World::new(&[&a, &b]);
    let (client, server, _listener) = connect(&mut world, &a, &b);
    let data = pattern(400_000);
    let swaps = Cell::new(0);
    let swap = async {
        for _ in 0..5 {
            for _ in 0..20 {
                yield_now().await;
            }
            drop(b.stack.detach(Role::Primary).expect("a NIC"));
            for _ in 0..400 {
                yield_now().await;
            }
            b.attach();
            swaps.set(swaps.get() + 1);
        }
    };
    let transfer = join(send(&client, &data), receive(&server));
    let (((), received), ()) = world.run(LIMIT, join(transfer, swap));
    assert!(received == data);
    assert_eq!(swaps.get(), 5);
}

/// The interrupt that tells of a link may get lost.
#[test]
fn only_a_nic_without_a_link_is_asked_for_it_again_and_again() {
    const SOON: Duration = Duration::from_millis(100);
    let (a, _) = pair();
    let mut world = World::new(&[&a]);
    let sleeps_until = |now| match a.stack.turn(now) {
        Next::Again => panic!("there is nothing to do"),
        Next::Sleep(until) => until,
    };
    // All announcements are made.
    world.idle(Duration::from_secs(5));
    assert_eq!(sleeps_until(world.now), None);
    drop(a.stack.detach(Role::Primary));
    assert_eq!(sleeps_until(world.now), None, "a NIC that is not there has no link to wait for");

    let link = a.attach();
    link.set(false);
    for _ in 0..20 {
        let until = sleeps_until(world.now).expect("a time to look");
        assert!(until > world.now && until <= world.now + SOON, "looks at {until}");
        world.now = until;
    }
    link.set(true);
    sleeps_until(world.now);
    assert!(a.stack.link().up, "found without an interrupt");
}

#[test]
fn a_full_ring_is_slept_on_until_there_is_room() {
    let (there, back) = (Wire::default(), Wire::default());
    let a = host(1, "10.0.0.1/24", &back, &there);
    let b = host(2, "10.0.0.2/24", &there, &back);
    let nic = a.nic();
    let pauses = nic.pause_switch();
    assert!(a.stack.attach(Box::new(nic)).is_ok());
    b.attach();
    let mut world = World::new(&[&a, &b]);
    let socket = UdpSocket::bind(&a.stack, PORT, 1000, 1 << 20).unwrap();
    let send = |count| {
        let socket = &socket;
        async move {
            for _ in 0..count {
                socket.send_to(&[7; 100], endpoint(2, PORT)).await.expect("room");
            }
        }
    };
    world.run(LIMIT, send(1));
    world.idle(Duration::from_secs(1));
    pauses.set(true);
    world.run(LIMIT, send(1000));
    world.idle(Duration::from_millis(10));
    let Next::Sleep(Some(until)) = a.stack.turn(world.now) else { panic!("awake, or for ever") };
    assert!(until > world.now && until <= world.now + Duration::from_millis(10), "until {until}");
    assert!(b.stack.traffic().rx_frames < 1000);
    pauses.set(false);
    world.idle(Duration::from_secs(1));
    assert!(b.stack.traffic().rx_frames > 1000, "all of them came");
}

#[test]
fn attaching_announces_the_address() {
    let (a, b) = pair();
    let mut world = World::new(&[&a, &b]);
    world.idle(Duration::from_secs(3));
    drop(a.stack.detach(Role::Primary));
    drop(b.stack.detach(Role::Primary));
    while b.tx.take().is_some() {}
    b.attach();
    world.idle(Duration::from_secs(3));
    let announcements = core::iter::from_fn(|| b.tx.take()).filter(|frame| {
        let frame = EthernetFrame::new_checked(frame).expect("a frame");
        frame.ethertype() == EthernetProtocol::Arp
            && frame.dst_addr().is_broadcast()
            && matches!(
                ArpRepr::parse(&ArpPacket::new_checked(frame.payload()).unwrap()),
                Ok(ArpRepr::EthernetIpv4 { source_protocol_addr, target_protocol_addr, .. })
                    if source_protocol_addr == target_protocol_addr
                        && target_protocol_addr == Ipv4Address::new(10, 0, 0, 2)
            )
    });
    assert_eq!(announcements.count(), 4);
}

#[test]
fn a_listener_without_memory_listens_when_there_is_some() {
    let (a, b) = pair();
    let mut world = World::new(&[&a, &b]);
    let none = Buffers { transmit: usize::MAX, ..BUFFERS };
    assert_eq!(TcpListener::bind(&b.stack, PORT, 2, none).err(), Some(Error::NoMemory));
    assert_eq!(UdpSocket::bind(&b.stack, PORT, 1, usize::MAX).err(), Some(Error::NoMemory));
    let listener = TcpListener::bind(&b.stack, PORT, 1, BUFFERS).unwrap();
    listener.port.buffers.set(Buffers { receive: usize::MAX, ..BUFFERS });
    let client = TcpStream::connect(&a.stack, endpoint(2, PORT), BUFFERS);
    let client = world.run(LIMIT, client).expect("a peer that answers");
    world.idle(Duration::from_secs(1));
    assert!(b.stack.traffic().connections_deferred != 0);
    listener.port.buffers.set(BUFFERS);
    let data = pattern(5000);
    let serve = async { receive(&listener.accept().await).await };
    let ((), received) = world.run(LIMIT, join(send(&client, &data), serve));
    assert!(received == data);
}

#[test]
fn a_refused_connection_and_a_reset_one_say_so() {
    let (a, b) = pair();
    let mut world = World::new(&[&a, &b]);
    let client = TcpStream::connect(&a.stack, endpoint(2, 81), BUFFERS);
    assert_eq!(world.run(LIMIT, client).err(), Some(Error::Refused));
    let (client, server, _listener) = connect(&mut world, &a, &b);
    client.abort();
    assert_eq!(world.run(LIMIT, server.read_with(|d| (d.len(), ()))), Err(Error::Reset));
}

#[test]
fn dropped_connections_leave_nothing_behind() {
    let (a, b) = pair();
    let mut world = World::new(&[&a, &b]);
    let sockets = |host: &Host| host.stack.with_sockets(|sockets| sockets.count());
    let before = (sockets(&a), sockets(&b));
    for _ in 0..5 {
        let (client, server, listener) = connect(&mut world, &a, &b);
        // The server goes first, with data on its way that it will never read.
        world.run(LIMIT, client.write_with(|room| (room.len(), ()))).expect("room");
        drop((server, listener));
        world.idle(Duration::from_secs(1));
        // The client has been told, though it goes on living.
        assert_eq!(sockets(&b), before.1);
        assert_eq!(world.run(LIMIT, client.write_with(|_| (0, ()))), Err(Error::Reset));
        drop(client);
        world.idle(Duration::from_secs(30));
    }
    assert_eq!((sockets(&a), sockets(&b)), before);
}

#[test]
fn udp_datagrams_arrive_whole_even_when_fragmented() {
    let (a, b) = pair();
    let mut world = World::new(&[&a, &b]);
    let from = UdpSocket::bind(&a.stack, 1000, 8, 69_000).unwrap();
    let to = UdpSocket::bind(&b.stack, 2000, 8, 100_000).unwrap();
    for len in [0, 1, 1472, 8000] {
        let data = pattern(len);
        let mut got = Vec::new();
        let receive = to.receive_each(|peer, payload| {
            assert_eq!(peer, endpoint(1, 1000));
            got.push(payload.to_vec());
        });
        let (sent, ()) = world.run(LIMIT, join(from.send_to(&data, endpoint(2, 2000)), receive));
        assert_eq!(sent, Ok(()));
        assert!(got == [data]);
    }
    let too_long = vec![0; 70_000];
    let sent = world.run(LIMIT, from.send_to(&too_long, endpoint(2, 2000)));
    assert_eq!(sent, Err(Error::TooLong));

    // One right behind the other.
    let data = [pattern(8000), pattern(60_000)];
    for data in &data {
        world.run(LIMIT, from.send_to(data, endpoint(2, 2000))).expect("room");
    }
    let mut got = Vec::new();
    while got.len() < data.len() {
        world.run(LIMIT, to.receive_each(|_, payload| got.push(payload.to_vec())));
    }
    assert!(got == data);
}

#[test]
fn a_flood_does_not_starve_the_rest() {
    let (a, b) = pair();
    let mut world = World::new(&[&a, &b]);
    let (client, server, _listener) = connect(&mut world, &a, &b);
    // Ten thousand frames that nobody wants arrive before the data does.
    for _ in 0..10_000 {
        a.tx.send(vec![0xff; 60]);
    }
    let data = pattern(50_000);
    let ((), received) = world.run(LIMIT, join(send(&client, &data), receive(&server)));
    assert!(received == data);
    assert!(b.stack.traffic().rx_frames > 10_000);
}

#[test]
fn draining_leaves_nothing_but_a_flood_that_does_not_end() {
    let (a, b) = pair();
    let mut world = World::new(&[&a, &b]);
    for _ in 0..1000 {
        a.tx.send(vec![0xff; 60]);
    }
    world.run(LIMIT, b.stack.drain());
    assert!(a.tx.is_empty());
    let flood = async {
        loop {
            for _ in 0..100 {
                a.tx.send(vec![0xff; 60]);
            }
            yield_now().await;
        }
    };
    world.run(LIMIT, select(b.stack.drain(), flood));
    assert!(!a.tx.is_empty());
}

#[test]
fn the_observer_owns_the_frames() {
    let (a, b) = pair();
    let mut world = World::new(&[&a, &b]);
    let free = |host: &Host| host.pool.statistics().slots_free;
    let before = free(&b);
    let keeper = Keeper::default();
    let _observation = b.stack.observe(Box::new(keeper.clone()));
    let (client, server, _listener) = connect(&mut world, &a, &b);
    let data = pattern(30_000);
    world.run(LIMIT, join(send(&client, &data), receive(&server)));
    world.idle(Duration::from_secs(1));
    let held = keeper.0.borrow().len();
    assert!(held as u64 == b.stack.traffic().rx_frames);
    drop(b.stack.detach(Role::Primary));
    assert_eq!(free(&b), before - held as u32);
    keeper.0.borrow_mut().clear();
    assert_eq!(free(&b), before);
}

#[test]
fn an_exhausted_pool_costs_packets_and_comes_back() {
    let (a, b) = pair();
    let mut world = World::new(&[&a, &b]);
    let (client, server, _listener) = connect(&mut world, &a, &b);
    let mut hoard: Vec<_> = core::iter::from_fn(|| b.pool.transmit_buffer()).collect();
    assert!(hoard.len() > POOL / 4096);
    world.idle(Duration::from_millis(100));
    hoard.clear();
    let data = pattern(50_000);
    let ((), received) = world.run(LIMIT, join(send(&client, &data), receive(&server)));
    assert!(received == data);
}

#[test]
fn every_task_that_waits_for_a_change_learns_of_it() {
    let (a, _) = pair();
    let mut world = World::new(&[&a]);
    world.idle(Duration::from_secs(1));
    let mut slow = a.stack.watcher();
    let both = join(a.stack.changed(), a.stack.changed());
    let unplug = async { drop(a.stack.detach(Role::Primary)) };
    world.run(LIMIT, join(both, unplug));
    world.run(LIMIT, slow.changed());
}

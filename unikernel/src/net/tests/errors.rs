//! What sockets say when something goes wrong, and which ports they get.

use core::time::Duration as StdDuration;

use embassy_futures::join::join;
use embassy_futures::select::select;
use embassy_futures::yield_now;
use embedded_io_async::{Read, ReadReady, Write, WriteReady};
use smoltcp::time::Duration;

use super::network::{Host, Wire, World, host, pair};
use super::traffic::{BUFFERS, LIMIT, PORT, connect, endpoint};
use crate::net::{Error, Role, TcpListener, TcpStream, UdpSocket};

#[test]
fn a_port_is_given_to_one_socket_at_a_time() {
    let (a, _) = pair();
    let listen = |port| TcpListener::bind(&a.stack, port, 1, BUFFERS);
    let bind = |port| UdpSocket::bind(&a.stack, port, 4, 4096);
    let (first, datagrams) = (listen(PORT).unwrap(), bind(PORT).unwrap());
    assert_eq!(listen(PORT).err(), Some(Error::PortInUse));
    assert_eq!(bind(PORT).err(), Some(Error::PortInUse));
    drop((first, datagrams));
    assert!(listen(PORT).is_ok() && bind(PORT).is_ok());
    let chosen = [listen(0).unwrap(), listen(0).unwrap()];
    assert_ne!(chosen[0].port(), chosen[1].port());
    let chosen = [bind(0).unwrap(), bind(0).unwrap()];
    assert_ne!(chosen[0].port(), chosen[1].port());
}

#[test]
fn a_port_is_free_again_when_there_was_no_memory_for_the_socket() {
    let (a, _) = pair();
    let none = crate::net::Buffers { receive: usize::MAX, transmit: 0 };
    assert_eq!(TcpListener::bind(&a.stack, PORT, 1, none).err(), Some(Error::NoMemory));
    assert!(TcpListener::bind(&a.stack, PORT, 1, BUFFERS).is_ok());
}

#[test]
fn connections_to_the_same_peer_come_from_different_ports() {
    let (a, b) = pair();
    let mut world = World::new(&[&a, &b]);
    let listener = TcpListener::bind(&b.stack, PORT, 2, BUFFERS).unwrap();
    let mut connect = || {
        let client = TcpStream::connect(&a.stack, endpoint(2, PORT), BUFFERS);
        let (client, server) = world.run(LIMIT, join(client, listener.accept()));
        (client.unwrap(), server)
    };
    let (one, other) = (connect(), connect());
    assert_ne!(one.0.local(), other.0.local());
    for (client, server) in [one, other] {
        assert_eq!((client.local(), client.peer()), (server.peer(), server.local()));
        assert_eq!(client.peer(), endpoint(2, PORT));
    }
}

#[test]
fn who_connects_learns_why_not() {
    let (a, b) = pair();
    let mut world = World::new(&[&a, &b]);
    let mut connect =
        |to| world.run(LIMIT, TcpStream::connect(&a.stack, to, BUFFERS)).err().unwrap();
    assert_eq!(connect(endpoint(2, 81)), Error::Refused);
    // Nobody has that address.
    assert_eq!(connect(endpoint(3, PORT)), Error::TimedOut);
    assert_eq!(connect("192.0.2.1:80".parse().unwrap()), Error::Unreachable, "no gateway");
    assert_eq!(connect("[fe80::1]:80".parse().unwrap()), Error::Unreachable, "no IPv6");
    for to in ["10.0.0.2:0", "0.0.0.0:80", "224.0.0.1:80", "255.255.255.255:80", "[ff02::1]:80"] {
        assert_eq!(connect(to.parse().unwrap()), Error::InvalidAddress, "{to}");
    }
    let wire = Wire::default();
    let without_lease = host(1, "dhcp", &wire, &wire);
    let connect = TcpStream::connect(&without_lease.stack, endpoint(2, PORT), BUFFERS);
    assert_eq!(world.run(LIMIT, connect).err(), Some(Error::Unreachable));
    let socket = UdpSocket::bind(&without_lease.stack, 0, 4, 4096).unwrap();
    let sent = world.run(LIMIT, socket.send_to(b"hello", endpoint(2, PORT)));
    assert_eq!(sent, Err(Error::Unreachable));
}

#[test]
fn a_reset_is_told_from_a_timeout() {
    let (a, b) = pair();
    let mut world = World::new(&[&a, &b]);
    let (client, server, listener) = connect(&mut world, &a, &b);
    client.abort();
    let read = world.run(LIMIT, server.read_with(|data| (data.len(), ())));
    assert_eq!(read, Err(Error::Reset));
    let write = world.run(LIMIT, server.write_with(|room| (room.len(), ())));
    assert_eq!(write, Err(Error::Reset));
    assert_eq!(world.run(LIMIT, client.read_with(|data| (data.len(), ()))), Err(Error::Closed));

    drop((client, server, listener));
    world.idle(Duration::from_secs(30));
    let (client, server, listener) = connect(&mut world, &a, &b);
    client.set_timeout(Some(StdDuration::from_secs(2)));
    drop(b.stack.detach(Role::Primary));
    world.run(LIMIT, client.write_with(|room| (room.len(), ()))).unwrap();
    let read = world.run(LIMIT, client.read_with(|data| (data.len(), ())));
    assert_eq!(read, Err(Error::TimedOut));
    assert_eq!(world.run(LIMIT, client.flush()), Err(Error::TimedOut));
    drop((client, server, listener));

    // Neither is remembered by the next that has the socket's place.
    b.attach();
    let (client, server, _listener) = connect(&mut world, &a, &b);
    server.close();
    let write = world.run(LIMIT, server.write_with(|room| (room.len(), ())));
    assert_eq!(write, Err(Error::Closed));
    assert_eq!(world.run(LIMIT, client.read_with(|data| (data.len(), ()))), Ok(None));
    client.set_timeout(Some(StdDuration::from_secs(2)));
    drop(b.stack.detach(Role::Primary));
    world.run(LIMIT, client.write_with(|room| (room.len(), ()))).unwrap();
    assert_eq!(world.run(LIMIT, client.flush()), Err(Error::TimedOut));
}

/// A handshake came to nothing, and something else was reset meanwhile.
#[test]
fn a_failed_handshake_is_not_held_against_the_next() {
    for listens_anew in [false, true] {
        let (a, b) = pair();
        let mut world = World::new(&[&a, &b]);
        let mut listener = TcpListener::bind(&b.stack, PORT, 1, BUFFERS).unwrap();
        // They know each other.
        let greeting = TcpStream::connect(&a.stack, endpoint(2, 81), BUFFERS);
        assert_eq!(world.run(LIMIT, greeting).err(), Some(Error::Refused));
        // A client that says no more after its first segment.
        b.tx.lose_every(1);
        let client = TcpStream::connect(&a.stack, endpoint(2, PORT), BUFFERS);
        let some_turns = async {
            for _ in 0..6 {
                yield_now().await;
            }
        };
        world.run(LIMIT, select(client, some_turns));
        drop(a.stack.detach(Role::Primary));
        b.tx.lose_every(0);
        world.idle(Duration::from_secs(30));
        a.attach();
        let client = TcpStream::connect(&b.stack, endpoint(1, 81), BUFFERS);
        assert_eq!(world.run(LIMIT, client).err(), Some(Error::Refused));
        if listens_anew {
            drop(listener);
            // It gets the socket's place.
            let lost = TcpStream::connect(&b.stack, endpoint(9, PORT), BUFFERS);
            assert_eq!(world.run(LIMIT, lost).err(), Some(Error::TimedOut));
            listener = TcpListener::bind(&b.stack, PORT, 1, BUFFERS).unwrap();
        }
        let client = TcpStream::connect(&a.stack, endpoint(2, PORT), BUFFERS);
        let (client, server) = world.run(LIMIT, join(client, listener.accept()));
        assert!(client.is_ok());
        server.set_timeout(Some(StdDuration::from_secs(2)));
        drop(a.stack.detach(Role::Primary));
        world.run(LIMIT, server.write_with(|room| (room.len(), ()))).unwrap();
        assert_eq!(world.run(LIMIT, server.flush()), Err(Error::TimedOut));
    }
}

#[test]
fn halves_of_a_connection_live_in_tasks_of_their_own() {
    let (a, b) = pair();
    let mut world = World::new(&[&a, &b]);
    let sockets = |host: &Host| host.stack.with_sockets(|sockets| sockets.count());
    let none = sockets(&a);
    let (client, server, _listener) = connect(&mut world, &a, &b);
    let (mut reader, mut writer) = client.into_split();
    let (mut from_client, to_client) = server.into_split();
    assert_eq!((reader.read_ready(), writer.write_ready()), (Ok(false), Ok(true)));
    world.run(LIMIT, writer.write_all(b"hello")).unwrap();
    // Dropped, the writing half ends what it wrote; the other direction goes on.
    drop(writer);
    let mut text = [0; 16];
    assert_eq!(world.run(LIMIT, from_client.read(&mut text)), Ok(5));
    assert_eq!(world.run(LIMIT, from_client.read(&mut text)), Ok(0));
    let mut to_client = to_client;
    world.run(LIMIT, to_client.write_all(b"bye")).unwrap();
    world.run(LIMIT, reader.readable());
    assert_eq!(reader.read_ready(), Ok(true));
    assert_eq!(world.run(LIMIT, reader.read(&mut text)), Ok(3));
    drop((from_client, to_client));
    assert_eq!(world.run(LIMIT, reader.read(&mut text)), Ok(0));
    drop(reader);
    world.idle(Duration::from_secs(30));
    assert_eq!((sockets(&a), sockets(&b)), (none, none));
}

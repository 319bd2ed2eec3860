//! Connections beside one another: a segment is one's alone, and those that have nothing to do cost
//! nothing.

use core::cell::Cell;
use core::pin::pin;
use std::vec::Vec;

use embassy_futures::join::{join, join_array, join3};
use smoltcp::time::Duration;

use super::network::{Host, World, pair};
use super::traffic::{LIMIT, PORT, endpoint};
use crate::net::{Buffers, Role, TcpListener, TcpStream, UdpSocket};

const BUFFERS: Buffers = Buffers { receive: 4096, transmit: 4096 };

fn awake(host: &Host) -> usize {
    host.stack.with_sockets(|sockets| sockets.connections.awake())
}

fn connect_all(
    world: &mut World,
    (a, b): (&Host, &Host),
    count: usize,
) -> Vec<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind(&b.stack, PORT, count, BUFFERS).unwrap();
    let pairs = (0..count).map(|_| {
        let client = TcpStream::connect(&a.stack, endpoint(2, PORT), BUFFERS);
        let (client, server) = world.run(LIMIT, join(client, listener.accept()));
        (client.unwrap(), server)
    });
    pairs.collect()
}

#[test]
fn each_has_what_was_sent_to_it_and_those_without_work_sleep() {
    let (a, b) = pair();
    let mut world = World::new(&[&a, &b]);
    let mut pairs = connect_all(&mut world, (&a, &b), 20);
    world.idle(Duration::from_secs(1));
    assert_eq!((awake(&a), awake(&b)), (0, 0));
    for round in 0_u8..3 {
        for (number, (client, server)) in (0_u8..).zip(&pairs) {
            for stream in [client, server] {
                let message = [round, number];
                let write = stream.write_with(|room| {
                    room[..2].copy_from_slice(&message);
                    (2, ())
                });
                world.run(LIMIT, write).unwrap();
            }
        }
        world.idle(Duration::from_secs(1));
        for (number, (client, server)) in (0_u8..).zip(&pairs) {
            for stream in [client, server] {
                let read = stream.read_with(|data| (data.len(), data.to_vec()));
                assert_eq!(world.run(LIMIT, read).unwrap().unwrap(), [round, number]);
            }
        }
        world.idle(Duration::from_secs(1));
        assert_eq!((awake(&a), awake(&b)), (0, 0));
        // Others take the places of those that go.
        pairs.truncate(10);
        world.idle(Duration::from_secs(60));
        pairs.extend(connect_all(&mut world, (&a, &b), 10));
    }
}

/// What is lost is repeated: a connection that sleeps has its timers.
#[test]
fn one_that_sleeps_wakes_up_when_its_timer_runs_out() {
    let (a, b) = pair();
    let mut world = World::new(&[&a, &b]);
    let pairs = connect_all(&mut world, (&a, &b), 2);
    let (client, server) = &pairs[1];
    world.idle(Duration::from_secs(1));
    a.tx.lose_every(1);
    world.run(LIMIT, client.write_with(|room| (room.len().min(10), ()))).unwrap();
    world.idle(Duration::from_millis(10));
    a.tx.lose_every(0);
    assert_eq!(awake(&a), 0);
    let read = server.read_with(|data| (data.len(), data.len()));
    assert_eq!(world.run(LIMIT, read).unwrap(), Some(10));
}

/// Whoever is always asked first would have it all.
#[test]
fn where_there_is_little_room_each_has_its_share() {
    const SENDERS: usize = 10;
    let (a, b) = pair();
    drop(a.stack.detach(Role::Primary));
    let mut nic = a.nic();
    nic.ring = 4;
    assert!(a.stack.attach(Box::new(nic)).is_ok());
    let mut world = World::new(&[&a, &b]);
    let buffers = Buffers { receive: 65_536, transmit: 65_536 };
    let listener = TcpListener::bind(&b.stack, PORT, SENDERS, buffers).unwrap();
    let pairs: [_; SENDERS] = core::array::from_fn(|_| {
        let client = TcpStream::connect(&a.stack, endpoint(2, PORT), buffers);
        let (client, server) = world.run(LIMIT, join(client, listener.accept()));
        (client.unwrap(), server)
    });
    let from = UdpSocket::bind(&a.stack, 7, 4, 4096).unwrap();
    let to = UdpSocket::bind(&b.stack, 7, 64, 4096).unwrap();
    let received: [Cell<usize>; SENDERS + 1] = core::array::from_fn(|_| Cell::new(0));
    let add = &|index: usize, count: usize| received[index].set(received[index].get() + count);
    let transfers: [_; SENDERS] = core::array::from_fn(|index| {
        let (client, server) = &pairs[index];
        let send = async {
            loop {
                client.write_with(|room| (room.len(), ())).await.unwrap();
            }
        };
        let receive = async move {
            while let Some(count) = server.read_with(|data| (data.len(), data.len())).await.unwrap()
            {
                add(index, count);
            }
        };
        join(send, receive)
    });
    let datagrams = async {
        loop {
            from.send_to(&[0; 100], endpoint(2, 7)).await.unwrap();
        }
    };
    let heard = async {
        loop {
            to.receive_each(|_, _| add(SENDERS, 1)).await;
        }
    };
    let all = join3(join_array(transfers), datagrams, heard);
    let mut all = pin!(all);
    for _ in 0..4000 {
        let _ = world.step(all.as_mut());
    }
    let received = received.each_ref().map(Cell::get);
    let (datagrams, streams) = received.split_last().unwrap();
    let (least, most) = (streams.iter().min().unwrap(), streams.iter().max().unwrap());
    assert!(*datagrams > 200 && 3 * least > *most, "{streams:?}, {datagrams} datagrams");
}

#[test]
fn those_that_are_over_are_remembered_for_a_while_but_not_all_of_many() {
    let (a, b) = pair();
    let mut world = World::new(&[&a, &b]);
    let there = |host: &Host| host.stack.with_sockets(|sockets| sockets.connections.len());
    let close = |world: &mut World, count: usize| {
        let (clients, servers): (Vec<_>, Vec<_>) =
            connect_all(world, (&a, &b), count).into_iter().unzip();
        // Who closes first remembers.
        drop(clients);
        world.idle(Duration::from_secs(1));
        drop(servers);
        world.idle(Duration::from_secs(1));
    };
    close(&mut world, 130);
    assert_eq!((there(&a), there(&b)), (128, 0));
    world.idle(Duration::from_secs(11));
    assert_eq!((there(&a), there(&b)), (0, 0));
    close(&mut world, 3);
    assert_eq!(there(&a), 3);
    // Others need the memory.
    a.stack.with(|engine| engine.sockets.free_memory(engine.now()));
    assert_eq!(there(&a), 0);
}

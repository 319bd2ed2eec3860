//! Connections beside one another: a segment is one's alone, and those that have nothing to do cost
//! nothing.

use std::vec::Vec;

use embassy_futures::join::join;
use smoltcp::time::Duration;

use super::network::{Host, World, pair};
use super::traffic::{LIMIT, PORT, endpoint};
use crate::net::{Buffers, TcpListener, TcpStream};

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

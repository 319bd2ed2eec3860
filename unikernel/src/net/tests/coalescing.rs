//! Segments that are coalesced before smoltcp sees them, between two stacks.

use std::vec::Vec;

use embassy_futures::join::join;
use smoltcp::time::Duration;

use super::network::{Host, Wire, World, host};
use super::traffic::{self, LIMIT, pattern, receive, send};
use crate::net::{TcpListener, TcpStream};

/// 10.0.0.1 and 10.0.0.2, with NICs that cut packets and look at checksums. And the wire from the
/// first to the second.
fn pair() -> (Host, Host, Wire) {
    let (there, back) = (Wire::default(), Wire::default());
    let a = host(1, "10.0.0.1/24", &back, &there);
    let b = host(2, "10.0.0.2/24", &there, &back);
    a.attach_segmenting();
    b.attach_segmenting();
    (a, b, there)
}

/// A connection over which so much was sent that more than a few segments go at once.
fn connect(world: &mut World, a: &Host, b: &Host) -> (TcpStream, TcpStream, TcpListener) {
    let (client, server, listener) = traffic::connect(world, a, b);
    write(world, &client, &server, &pattern(60_000));
    write(world, &client, &server, &pattern(60_000));
    world.idle(Duration::from_secs(1));
    (client, server, listener)
}

/// Has the data sent, and received.
fn write(world: &mut World, client: &TcpStream, server: &TcpStream, data: &[u8]) {
    let write = client.write_with(|room| {
        room[..data.len()].copy_from_slice(data);
        (data.len(), ())
    });
    let mut received = Vec::new();
    let read = async {
        while received.len() < data.len() {
            let read = server.read_with(|data| {
                received.extend_from_slice(data);
                (data.len(), ())
            });
            read.await.expect("an open connection").expect("more");
        }
    };
    // Less than it takes to send anything again.
    let moment = Duration::from_millis(100);
    world.run(moment, join(write, read)).0.expect("an open connection");
    assert!(received == data);
}

/// Segments that became part of another's packet.
fn coalesced(host: &Host) -> usize {
    host.stack.with(|engine| engine.pair.device.coalesced())
}

/// What is coalesced of a batch does not wait for what comes after it.
#[test]
fn segments_of_a_batch_are_received_with_it() {
    let (a, b, _) = pair();
    let mut world = World::new(&[&a, &b]);
    let (client, server, _listener) = connect(&mut world, &a, &b);
    let before = coalesced(&b);
    write(&mut world, &client, &server, &pattern(10_000));
    let coalesced = coalesced(&b) - before;
    assert_eq!(coalesced, 4, "all of 7 but two, in one packet");
}

#[test]
fn tcp_survives_loss_where_segments_are_coalesced() {
    let (a, b, _) = pair();
    a.tx.lose_every(17);
    b.tx.lose_every(23);
    let mut world = World::new(&[&a, &b]);
    let (client, server, _listener) = traffic::connect(&mut world, &a, &b);
    let (up, down) = (pattern(500_000), pattern(300_000));
    let both = join(
        join(send(&client, &up), receive(&client)),
        join(send(&server, &down), receive(&server)),
    );
    let (((), at_client), ((), at_server)) = world.run(LIMIT, both);
    assert!(at_client == down && at_server == up);
    assert!(coalesced(&a) > 5 && coalesced(&b) > 5, "{} and {}", coalesced(&a), coalesced(&b));
}

/// A sender finds a loss by the duplicate acknowledgements of what came behind it (RFC 5681, 4.2),
/// in whichever turn that comes.
#[test]
fn behind_a_hole_each_segment_is_answered() {
    let (a, b, wire) = pair();
    let mut world = World::new(&[&a, &b]);
    let (client, server, _listener) = connect(&mut world, &a, &b);
    let before = coalesced(&b);
    let data = pattern(14 * 1460);
    let write = client.write_with(|room| {
        room[..data.len()].copy_from_slice(&data);
        (data.len(), ())
    });
    world.stacks.clear();
    world.run(LIMIT, write).expect("an open connection");
    a.stack.turn(world.now);
    let mut segments: Vec<_> = core::iter::from_fn(|| wire.take()).collect();
    assert_eq!(segments.len(), 14);
    let lost = segments.remove(6);
    let answers = |segments: &[Vec<u8>]| {
        segments.iter().for_each(|segment| wire.send(segment.clone()));
        b.stack.turn(world.now);
        core::iter::from_fn(|| b.tx.take()).count()
    };
    assert!(answers(&segments[..6]) < 3);
    assert_eq!(coalesced(&b) - before, 3, "all but two, in one packet");
    assert_eq!(answers(&segments[6..9]), 3);
    assert_eq!(answers(&segments[9..]), 4);
    assert_eq!((coalesced(&b) - before, answers(&[lost])), (3, 1));
    let mut received = Vec::new();
    let read = server.read_with(|data| {
        received.extend_from_slice(data);
        (data.len(), ())
    });
    world.run(LIMIT, read).expect("an open connection");
    assert!(received == data[..received.len()] && received.len() > 7 * 1460);
}

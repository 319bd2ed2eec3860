//! The sockets as code has them that knows edge-nal's traits alone.

use core::cell::Cell;
use core::net::{Ipv4Addr, SocketAddr};
use core::pin::pin;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::task::{Context, Waker};
use std::sync::Arc;
use std::task::Wake;
use std::vec;
use std::vec::Vec;

use edge_nal::{
    Close, MulticastV4, Readable, TcpAccept, TcpShutdown, TcpSplit, UdpReceive, UdpSend, UdpSplit,
    UdpSplitMulticast,
};
use embassy_futures::join::{join, join3};
use embedded_io_async::{Read, Write};
use smoltcp::time::Duration;

use super::network::{World, pair};
use super::traffic::{BUFFERS, LIMIT, PORT, connect, endpoint, pattern};
use crate::net::{Error, TcpListener, TcpStream, UdpSocket};

/// Sends everything back to one client, and says where it came from.
async fn echo(listener: &impl TcpAccept<Error = Error>) -> SocketAddr {
    let (peer, mut stream) = listener.accept().await.unwrap();
    {
        let (mut reader, mut writer) = stream.split();
        let mut piece = vec![0; 1000];
        loop {
            reader.readable().await.unwrap();
            match reader.read(&mut piece).await.unwrap() {
                0 => break,
                len => writer.write_all(&piece[..len]).await.unwrap(),
            }
        }
    }
    stream.close(Close::Write).await.unwrap();
    peer
}

async fn ask<T>(mut stream: T, data: &[u8]) -> Vec<u8>
where
    T: Read<Error = Error> + Write<Error = Error> + TcpSplit<Error = Error> + TcpShutdown,
{
    let mut answer = Vec::new();
    {
        let (mut reader, mut writer) = stream.split();
        let read = async {
            let mut piece = vec![0; 1000];
            while answer.len() < data.len() {
                let len = reader.read(&mut piece).await.unwrap();
                answer.extend_from_slice(&piece[..len]);
            }
        };
        let write = async { writer.write_all(data).await.unwrap() };
        join(read, write).await;
    }
    stream.close(Close::Both).await.unwrap();
    answer
}

#[test]
fn tasks_share_a_listener() {
    let (a, b) = pair();
    let mut world = World::new(&[&a, &b]);
    let listener = TcpListener::bind(&b.stack, PORT, 3, BUFFERS).unwrap();
    let data = pattern(100_000);
    let served = Cell::new(0);
    let serve = async || {
        let peer = echo(&listener).await;
        served.set(served.get() + 1);
        peer
    };
    let client = async || {
        let stream = TcpStream::connect(&a.stack, endpoint(2, PORT), BUFFERS).await.unwrap();
        let local = stream.local();
        assert!(ask(stream, &data).await == data);
        local
    };
    let serve_all = join3(serve(), serve(), serve());
    let ask_all = async { (client().await, client().await, client().await) };
    // One after the other: each waits for its turn.
    let (peers, locals) = world.run(LIMIT, join(serve_all, ask_all));
    let (mut peers, mut locals) =
        (vec![peers.0, peers.1, peers.2], vec![locals.0, locals.1, locals.2]);
    peers.sort_unstable();
    locals.sort_unstable();
    assert_eq!((served.get(), peers), (3, locals));
}

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn every_task_that_waits_for_a_connection_is_woken_when_it_is_its_turn() {
    let (a, b) = pair();
    let mut world = World::new(&[&a, &b]);
    let listener = TcpListener::bind(&b.stack, PORT, 2, BUFFERS).unwrap();
    let (mut first, mut second) = (pin!(listener.accept()), pin!(listener.accept()));
    let woken: [Arc<Woken>; 2] = Default::default();
    let wakers = woken.clone().map(Waker::from);
    let [mut at_first, mut at_second] = wakers.each_ref().map(Context::from_waker);
    assert!(first.as_mut().poll(&mut at_first).is_pending());
    assert!(second.as_mut().poll(&mut at_second).is_pending());
    let mut connect = || {
        world.run(LIMIT, TcpStream::connect(&a.stack, endpoint(2, PORT), BUFFERS)).unwrap();
        woken.each_ref().map(|woken| woken.0.swap(0, Ordering::Relaxed) != 0)
    };
    assert_eq!(connect(), [true, false]);
    assert!(first.as_mut().poll(&mut at_first).is_ready());
    assert_eq!(woken[1].0.swap(0, Ordering::Relaxed), 1);
    assert!(second.as_mut().poll(&mut at_second).is_pending());
    assert_eq!(connect(), [false, true]);
    assert!(second.as_mut().poll(&mut at_second).is_ready());
}

#[test]
fn a_task_that_gives_up_waiting_for_a_connection_leaves_it_to_the_others() {
    let (a, b) = pair();
    let mut world = World::new(&[&a, &b]);
    let listener = TcpListener::bind(&b.stack, PORT, 1, BUFFERS).unwrap();
    {
        let mut first = pin!(listener.accept());
        assert!(world.step(first.as_mut()).is_pending());
        let mut second = pin!(listener.accept());
        assert!(world.step(second.as_mut()).is_pending());
    }
    let client = TcpStream::connect(&a.stack, endpoint(2, PORT), BUFFERS);
    let (client, _server) = world.run(LIMIT, join(client, listener.accept()));
    assert!(client.is_ok());
}

#[test]
fn a_shutdown_waits_for_the_peer() {
    let (a, b) = pair();
    let mut world = World::new(&[&a, &b]);
    let (client, server, listener) = connect(&mut world, &a, &b);
    world.run(LIMIT, client.write_with(|room| (room.len(), ()))).unwrap();
    let done = Cell::new(false);
    let shutdown = async {
        let result = client.shutdown().await;
        done.set(true);
        result
    };
    let read = async {
        super::pair::turns(500).await;
        assert!(!done.get(), "the window is full");
        while server.read_with(|data| (data.len(), ())).await.unwrap().is_some() {}
    };
    assert_eq!(world.run(LIMIT, join(shutdown, read)), (Ok(()), ()));
    drop((client, server, listener));

    let (client, server, _listener) = connect(&mut world, &a, &b);
    world.run(LIMIT, client.write_with(|room| (room.len(), ()))).unwrap();
    server.abort();
    assert_eq!(world.run(LIMIT, client.shutdown()), Err(Error::Reset));
}

async fn echo_datagram(socket: &mut impl UdpSplit<Error = Error>) {
    let (mut receive, mut send) = socket.split();
    let mut buffer = [0; 100];
    receive.readable().await.unwrap();
    let (len, from) = receive.receive(&mut buffer).await.unwrap();
    send.send(from, &buffer[..len.min(100)]).await.unwrap();
}

#[test]
fn datagrams_go_both_ways_and_to_groups() {
    let (a, b) = pair();
    let mut world = World::new(&[&a, &b]);
    let bind = |host: &super::network::Host| UdpSocket::bind(&host.stack, PORT, 4, 4096).unwrap();
    let mut client = bind(&a);
    let data = pattern(200);
    let mut buffer = [0; 300];
    let ask = async {
        client.send(endpoint(2, PORT), &data).await.unwrap();
        client.receive(&mut buffer).await.unwrap()
    };
    let mut server = bind(&b);
    let ((), (len, from)) = world.run(LIMIT, join(echo_datagram(&mut server), ask));
    // What did not fit was dropped.
    assert_eq!((len, from), (100, endpoint(2, PORT)));
    assert_eq!(buffer[..100], data[..100]);

    // What was sent is sent although the socket goes.
    let send = async {
        server.send(endpoint(1, PORT), b"bye").await.unwrap();
        server.flush().await;
        drop(server);
    };
    let ((), got) = world.run(LIMIT, join(send, client.receive(&mut buffer)));
    assert_eq!(got, Ok((3, endpoint(2, PORT))));

    let group = Ipv4Addr::new(239, 1, 2, 3);
    let mut member = bind(&b);
    let (mut receive, _, mut groups, _) = member.split_multicast();
    world.run(LIMIT, groups.join_v4(group, Ipv4Addr::UNSPECIFIED)).unwrap();
    let no_group = groups.join_v4(Ipv4Addr::LOCALHOST, Ipv4Addr::UNSPECIFIED);
    assert_eq!(world.run(LIMIT, no_group), Err(Error::InvalidAddress));
    let to = SocketAddr::from((group, PORT));
    let (sent, got) = world.run(LIMIT, join(client.send(to, b"all"), receive.receive(&mut buffer)));
    assert_eq!((sent, got), (Ok(()), Ok((3, endpoint(1, PORT)))));
    world.run(LIMIT, groups.leave_v4(group, Ipv4Addr::UNSPECIFIED)).unwrap();
    world.run(LIMIT, client.send(to, b"nobody")).unwrap();
    world.idle(Duration::from_millis(10));
    let mut more = pin!(receive.receive(&mut buffer));
    assert!(world.step(more.as_mut()).is_pending());
}

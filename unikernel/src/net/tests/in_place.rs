//! Frames and datagrams that tasks get in the memory they arrived in.

use core::cell::Cell;
use core::net::SocketAddr;
use core::pin::pin;
use std::boxed::Box;
use std::rc::Rc;
use std::vec::Vec;

use embassy_futures::join::join;
use smoltcp::time::Duration;
use smoltcp::wire::{Ipv4Address, Ipv4Packet};

use super::network::{Host, Keeper, PROBED, Wire, World, host, host6, pair};
use super::traffic::{LIMIT, PORT, connect, endpoint, pattern, receive, send};
use crate::dma::RxBuffer;
use crate::net::engine::Next;
use crate::net::{Addressing6, Error, FrameSocket, Observer, Payload, Role, UdpFrames, UdpSocket};

/// Frames of an Ethernet type of their own.
fn is_ours(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&[0x88, 0xb5])
}

fn ours(number: u8) -> Vec<u8> {
    let mut frame = std::vec![number; 60];
    frame[..6].copy_from_slice(&[0x52, 0x54, 0, 0, 0, 2]);
    frame[6..14].copy_from_slice(&[0x52, 0x54, 0, 0, 0, 1, 0x88, 0xb5]);
    frame
}

fn free(host: &Host) -> u32 {
    host.pool.statistics().slots_free
}

#[test]
fn a_raw_frame_socket_takes_what_its_filter_accepts_instead_of_the_stack() {
    let (a, b) = pair();
    let mut world = World::new(&[&a, &b]);
    world.idle(Duration::from_secs(3));
    let keeper = Keeper::default();
    let _observation = b.stack.observe(Box::new(keeper.clone()));
    let socket = FrameSocket::bind(&b.stack, Box::new(is_ours), 8).unwrap();
    let later = FrameSocket::bind(&b.stack, Box::new(is_ours), 8).unwrap();
    let before = free(&b);
    (0..3).for_each(|number| a.tx.send(ours(number)));
    let first = world.run(LIMIT, socket.recv());
    assert_eq!(&*first, ours(0));
    let mut rest = Vec::new();
    world.run(LIMIT, socket.recv_each(|frame| rest.push(frame[20])));
    assert_eq!(rest, [1, 2]);
    world.idle(Duration::from_secs(3));
    assert!(keeper.0.borrow().is_empty());
    assert!(later.try_recv().is_none(), "the first that was bound gets it");
    assert_eq!(free(&b), before - 1, "what was taken is held by who took it");
    // The rest of the network goes its usual way.
    let (client, server, _listener) = connect(&mut world, &a, &b);
    let data = pattern(100_000);
    let ((), received) = world.run(LIMIT, join(send(&client, &data), receive(&server)));
    assert!(received == data);
    // Without the socket, its frames do too.
    drop((socket, later));
    a.tx.send(ours(9));
    world.idle(Duration::from_secs(1));
    assert!(keeper.0.borrow().iter().any(|frame| is_ours(frame)));
}

#[test]
fn beyond_its_depth_a_raw_frame_socket_drops_and_counts() {
    let (a, b) = pair();
    let mut world = World::new(&[&a, &b]);
    world.idle(Duration::from_secs(3));
    let socket = FrameSocket::bind(&b.stack, Box::new(is_ours), 4).unwrap();
    let before = free(&b);
    (0..10).for_each(|number| a.tx.send(ours(number)));
    world.idle(Duration::from_millis(10));
    assert_eq!((socket.dropped(), free(&b)), (6, before - 4));
    let taken: Vec<u8> = core::iter::from_fn(|| socket.try_recv()).map(|frame| frame[20]).collect();
    assert_eq!((taken, free(&b)), (std::vec![0, 1, 2, 3], before));
    assert_eq!(
        FrameSocket::bind(&b.stack, Box::new(is_ours), usize::MAX).err(),
        Some(Error::NoMemory)
    );
}

/// The same as the example does: no queue, no task, and no memory but what they came in.
#[test]
fn frames_are_reflected_in_the_turn_that_receives_them() {
    let (a, b) = pair();
    let mut world = World::new(&[&a, &b]);
    let there = FrameSocket::bind(&a.stack, Box::new(is_ours), 256).unwrap();
    let later = FrameSocket::bind(&b.stack, Box::new(is_ours), 256).unwrap();
    let swap = |frame: &mut [u8]| frame[..12].rotate_left(6);
    let reflection = b.stack.reflect(Box::new(is_ours), Box::new(swap));
    world.idle(Duration::from_millis(10));
    let (before, sent) = (free(&b), b.stack.traffic().tx_frames);
    (0..100).for_each(|number| a.tx.send(ours(number)));
    world.idle(Duration::from_millis(10));
    let back: Vec<_> = core::iter::from_fn(|| there.try_recv()).collect();
    assert_eq!((back.len(), free(&b)), (100, before));
    assert_eq!(b.stack.traffic().tx_frames - sent, 100);
    for (number, frame) in back.iter().enumerate() {
        assert_eq!(frame[..6], [0x52, 0x54, 0, 0, 0, 1]);
        assert_eq!(frame[6..12], [0x52, 0x54, 0, 0, 0, 2]);
        assert_eq!(frame[12..], ours(number as u8)[12..]);
    }
    assert!(later.try_recv().is_none(), "nobody else sees them");
    // Another takes its place, and the end of the first is not the other's.
    let other = b.stack.reflect(Box::new(is_ours), Box::new(swap));
    drop(reflection);
    a.tx.send(ours(7));
    world.idle(Duration::from_millis(10));
    assert!(there.try_recv().is_some());
    drop(other);
    a.tx.send(ours(8));
    world.idle(Duration::from_millis(10));
    assert!(there.try_recv().is_none() && later.try_recv().is_some());
}

/// By a task, with a queue in between.
#[test]
fn frames_are_sent_back_in_the_memory_they_came_in() {
    let (a, b) = pair();
    let mut world = World::new(&[&a, &b]);
    let there = FrameSocket::bind(&a.stack, Box::new(is_ours), 256).unwrap();
    let reflector = FrameSocket::bind(&b.stack, Box::new(is_ours), 256).unwrap();
    world.idle(Duration::from_millis(10));
    (0..100).for_each(|number| a.tx.send(ours(number)));
    let reflect = async {
        let mut count = 0;
        while count < 100 {
            reflector
                .recv_each(|frame| {
                    count += 1;
                    let sent = reflector.reply(frame, |copy| {
                        let (to, rest) = copy.split_at_mut(6);
                        to.swap_with_slice(&mut rest[..6]);
                    });
                    assert!(sent);
                })
                .await;
        }
    };
    world.run(LIMIT, reflect);
    world.idle(Duration::from_millis(10));
    let back: Vec<_> = core::iter::from_fn(|| there.try_recv()).collect();
    assert_eq!(back.len(), 100);
    for (number, frame) in back.iter().enumerate() {
        assert_eq!(frame[..6], [0x52, 0x54, 0, 0, 0, 1]);
        assert_eq!(frame[6..12], [0x52, 0x54, 0, 0, 0, 2]);
        assert_eq!(frame[12..], ours(number as u8)[12..]);
    }
}

#[test]
fn sending_a_frame_waits_for_room_and_for_a_link() {
    let (there, back) = (Wire::default(), Wire::default());
    let a = host(1, "10.0.0.1/24", &back, &there);
    let mut world = World::new(&[&a]);
    let socket = FrameSocket::bind(&a.stack, Box::new(is_ours), 1).unwrap();
    let buffer = || {
        let mut buffer = socket.transmit_buffer().unwrap();
        buffer[..60].copy_from_slice(&ours(7));
        buffer
    };
    assert!(!socket.try_send(buffer(), 60), "there is no NIC");
    assert_eq!(a.stack.traffic().tx_dropped, 1);
    let nic = a.nic();
    let pauses = nic.pause_switch();
    assert!(a.stack.attach(Box::new(nic)).is_ok());
    // The send before there is a link is the first of all.
    world.run(LIMIT, socket.send(buffer(), 60)).unwrap();
    world.idle(Duration::from_secs(3));
    pauses.set(true);
    while socket.try_send(buffer(), 60) {}
    {
        let mut send = pin!(socket.send(buffer(), 60));
        for _ in 0..20 {
            assert!(world.step(send.as_mut()).is_pending());
        }
        let Next::Sleep(Some(until)) = a.stack.turn(world.now) else {
            panic!("awake, or for ever")
        };
        assert!(until <= world.now + Duration::from_millis(10), "until {until}");
        pauses.set(false);
        assert_eq!(world.run(Duration::from_millis(10), send), Ok(()));
    }
    let sent = core::iter::from_fn(|| there.take()).filter(|frame| is_ours(frame)).count();
    assert_eq!(sent as u64 + 4, a.stack.traffic().tx_frames, "four announcements");
    assert_eq!(world.run(LIMIT, socket.send(buffer(), 1515)), Err(Error::TooLong));
    assert!(!socket.try_send(buffer(), 1515));
}

fn datagram_socket(host: &Host) -> UdpSocket {
    UdpSocket::bind(&host.stack, 1000, 8, 69_000).unwrap()
}

#[test]
fn datagrams_arrive_in_place_or_whole_again() {
    let (a, b) = pair();
    let mut world = World::new(&[&a, &b]);
    let (from, to) = (datagram_socket(&a), UdpFrames::bind(&b.stack, PORT, 8).unwrap());
    assert_eq!(UdpSocket::bind(&b.stack, PORT, 1, 1).err(), Some(Error::PortInUse));
    for (len, in_place) in [(0, true), (1, true), (1472, true), (8000, false)] {
        let data = pattern(len);
        let (sent, got) = world.run(LIMIT, join(from.send_to(&data, endpoint(2, PORT)), to.recv()));
        assert_eq!(sent, Ok(()));
        assert_eq!((&*got, got.source), (&data[..], endpoint(1, 1000)));
        match &got.payload {
            Payload::InFrame(frame, range) => assert_eq!(frame[range.clone()], data),
            Payload::Copied(bytes) => assert_eq!(*bytes, data),
        }
        assert_eq!(matches!(got.payload, Payload::InFrame(..)), in_place);
        // And back.
        let mut buffer = [0; 9000];
        let answer = join(to.send_to(&data, got.source), from.recv_from(&mut buffer));
        assert_eq!(world.run(LIMIT, answer), (Ok(()), (len, endpoint(2, PORT))));
    }
    let mut got = 0;
    for _ in 0..3 {
        world.run(LIMIT, from.send_to(b"hello", endpoint(2, PORT))).unwrap();
    }
    world.idle(Duration::from_millis(10));
    world.run(LIMIT, to.recv_each(|_| got += 1));
    assert_eq!(got, 3);
    for _ in 0..12 {
        world.run(LIMIT, from.send_to(b"hello", endpoint(2, PORT))).unwrap();
        world.idle(Duration::from_millis(1));
    }
    assert_eq!(to.dropped(), 4);
    drop(to);
    let to = UdpSocket::bind(&b.stack, PORT, 1, 100).unwrap();
    let (sent, ()) = world
        .run(LIMIT, join(from.send_to(b"hello", endpoint(2, PORT)), to.receive_with(|_, _| {})));
    assert_eq!(sent, Ok(()));
}

#[test]
fn datagrams_in_place_over_ipv6() {
    let (there, back) = (Wire::default(), Wire::default());
    let a = host6(1, Addressing6::Auto, &back, &there);
    let b = host6(2, Addressing6::Auto, &there, &back);
    a.attach();
    b.attach();
    let mut world = World::new(&[&a, &b]);
    world.idle(PROBED);
    let to: SocketAddr = (b.stack.ipv6_addresses()[0].address(), PORT).into();
    let (from, socket) = (datagram_socket(&a), UdpFrames::bind(&b.stack, PORT, 8).unwrap());
    let (sent, got) = world.run(LIMIT, join(from.send_to(b"hello", to), socket.recv()));
    assert_eq!((sent, &*got), (Ok(()), &b"hello"[..]));
    assert!(matches!(got.payload, Payload::InFrame(..)));
    assert_eq!(got.source.ip(), a.stack.ipv6_addresses()[0].address());
}

/// Changes a frame with a datagram in it. UDP's checksum is left out then, IPv4's made right.
pub(super) fn set(frame: &mut [u8], at: usize, bytes: &[u8]) {
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    frame[40..42].fill(0);
    Ipv4Packet::new_unchecked(&mut frame[14..]).fill_checksum();
}

/// A NIC that verifies checksums says nothing of those of a fragment.
#[test]
fn fragments_are_not_taken_for_datagrams() {
    let wire = Wire::default();
    let b = host(2, "10.0.0.2/24", &wire, &Wire::default());
    b.attach_offloading();
    let mut world = World::new(&[&b]);
    let socket = UdpFrames::bind(&b.stack, PORT, 8).unwrap();
    for (flags_and_offset, count) in [([0, 0], 1), ([0x20, 0], 0), ([0, 8], 0)] {
        let mut frame = super::pair::datagram(b"hello");
        set(&mut frame, 20, &flags_and_offset);
        wire.send(frame);
        world.idle(Duration::from_millis(10));
        let mut taken = 0;
        let _ = world.step(pin!(socket.recv_each(|_| taken += 1)));
        assert_eq!(taken, count, "{flags_and_offset:?}");
    }
}

/// What the stack would not have taken for this host's either.
#[test]
fn datagrams_for_others_and_damaged_ones_are_not_taken() {
    let (a, b) = pair();
    let mut world = World::new(&[&a, &b]);
    let group = Ipv4Address::new(239, 1, 2, 3);
    let socket = UdpFrames::bind(&b.stack, PORT, 8).unwrap();
    let mut taken = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut frame = super::pair::datagram(b"hello");
        change(&mut frame);
        a.tx.send(frame);
        world.idle(Duration::from_millis(10));
        let taken = Cell::new(0);
        let mut poll = pin!(socket.recv_each(|datagram| {
            assert!(matches!(datagram.payload, Payload::InFrame(..)));
            taken.set(taken.get() + 1);
        }));
        let _ = world.step(poll.as_mut());
        taken.get()
    };
    assert_eq!(taken(&|_| {}), 1);
    assert_eq!(taken(&|frame| *frame.last_mut().unwrap() ^= 1), 0, "a damaged payload");
    assert_eq!(taken(&|frame| frame[24] ^= 1), 0, "a damaged header");
    assert_eq!(taken(&|frame| set(frame, 36, &[0, 81])), 0, "another port");
    assert_eq!(taken(&|frame| set(frame, 30, &[10, 0, 0, 3])), 0, "another address");
    assert_eq!(taken(&|frame| set(frame, 0, &[0x52, 0x54, 0, 0, 0, 3])), 0, "another station");
    assert_eq!(taken(&|frame| set(frame, 26, &[224, 0, 0, 1])), 0, "from a group");
    assert_eq!(taken(&|frame| set(frame, 30, &[10, 0, 0, 255])), 1, "a broadcast");
    let to_group = |frame: &mut Vec<u8>| {
        set(frame, 30, &group.octets());
        set(frame, 0, &[0x01, 0, 0x5e, 1, 2, 3]);
    };
    assert_eq!(taken(&to_group), 0, "to a group it is not in");
    b.stack.join_multicast(group.into()).unwrap();
    assert_eq!(taken(&to_group), 1);
    b.stack.leave_multicast(group.into());
    assert_eq!(taken(&to_group), 0);
}

/// Keeps every other frame.
struct Half(Rc<Cell<usize>>, Vec<RxBuffer>);

impl Observer for Half {
    fn received(&mut self, frame: RxBuffer, _: embassy_time::Instant) -> Option<RxBuffer> {
        self.0.set(self.0.get() + 1);
        if self.0.get().is_multiple_of(2) {
            return Some(frame);
        }
        self.1.push(frame);
        None
    }
}

#[test]
fn observers_hand_frames_on_and_go_when_dropped() {
    let (a, b) = pair();
    let mut world = World::new(&[&a, &b]);
    world.idle(Duration::from_secs(3));
    let others = b.stack.traffic().rx_frames;
    let (seen, keeper) = (Rc::new(Cell::new(0)), Keeper::default());
    let before = free(&b);
    let first = b.stack.observe(Box::new(Half(seen.clone(), Vec::new())));
    let second = b.stack.observe(Box::new(keeper.clone()));
    (0..100).for_each(|number| a.tx.send(ours(number)));
    world.idle(Duration::from_secs(3));
    let kept = keeper.0.borrow().len();
    assert_eq!((seen.get() as u64, kept), (b.stack.traffic().rx_frames - others, seen.get() / 2));
    assert_eq!(free(&b), before - seen.get() as u32);
    drop(first);
    assert_eq!(free(&b), before - kept as u32);
    a.tx.send(ours(1));
    world.idle(Duration::from_millis(10));
    assert_eq!((keeper.0.borrow().len(), Rc::strong_count(&seen)), (kept + 1, 1));
    drop(second);
    a.tx.send(ours(1));
    world.idle(Duration::from_millis(10));
    assert_eq!(keeper.0.borrow().len(), kept + 1);
    drop(b.stack.detach(Role::Primary));
}

/// Takes DMA memory until no more may be kept, and gives it back when dropped.
fn hoard(host: &Host) -> Vec<crate::dma::TxBuffer> {
    let more = || {
        let dma = host.pool.statistics();
        (dma.slots_free > dma.slots / 4).then(|| host.pool.transmit_buffer())?
    };
    core::iter::from_fn(more).collect()
}

#[test]
fn nothing_is_kept_of_the_memory_that_the_nic_needs() {
    let (a, b) = pair();
    let mut world = World::new(&[&a, &b]);
    let from = datagram_socket(&a);
    let (client, server, _listener) = connect(&mut world, &a, &b);
    let keeper = Keeper::default();
    let observation = b.stack.observe(Box::new(keeper.clone()));
    let frames = FrameSocket::bind(&b.stack, Box::new(is_ours), 1000).unwrap();
    let datagrams = UdpFrames::bind(&b.stack, PORT, 1000).unwrap();
    world.idle(Duration::from_secs(3));
    keeper.0.borrow_mut().clear();
    let hoard = hoard(&b);
    let refused = |count| assert_eq!(b.stack.traffic().kept_refused, count);
    refused(0);
    a.tx.send(ours(1));
    world.idle(Duration::from_millis(10));
    refused(1);
    world.run(LIMIT, from.send_to(b"hello", endpoint(2, PORT))).unwrap();
    world.idle(Duration::from_millis(10));
    refused(2);
    a.tx.send(std::vec![0xff; 60]);
    world.idle(Duration::from_millis(10));
    refused(3);
    assert!(keeper.0.borrow().is_empty() && frames.try_recv().is_none());
    // What the stack itself does with a frame goes on.
    let data = pattern(100_000);
    let ((), received) = world.run(LIMIT, join(send(&client, &data), receive(&server)));
    assert!(received == data);
    drop((observation, hoard));
    a.tx.send(ours(1));
    world.run(LIMIT, frames.recv());
    let (sent, _) =
        world.run(LIMIT, join(from.send_to(b"hello", endpoint(2, PORT)), datagrams.recv()));
    assert_eq!(sent, Ok(()));
}

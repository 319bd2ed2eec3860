//! Datagrams that come to a socket without smoltcp.

use core::cell::Cell;
use core::pin::pin;
use std::boxed::Box;
use std::vec::Vec;

use smoltcp::time::Duration;

use super::in_place::set;
use super::network::{Keeper, World, pair};
use super::pair::datagram;
use super::traffic::PORT;
use crate::net::UdpSocket;

/// What smoltcp would not have taken for this host's either. Observers see all of it.
#[test]
fn datagrams_for_others_and_damaged_ones_come_into_no_inbox() {
    let (a, b) = pair();
    let mut world = World::new(&[&a, &b]);
    world.idle(Duration::from_secs(3));
    let keeper = Keeper::default();
    let _observation = b.stack.observe(Box::new(keeper.clone()));
    let socket = UdpSocket::bind(&b.stack, PORT, 8, 1000).unwrap();
    let mut taken = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut frame = datagram(b"hello");
        change(&mut frame);
        a.tx.send(frame);
        world.idle(Duration::from_millis(10));
        let taken = Cell::new(0);
        let mut poll = pin!(socket.receive_each(|_, payload| {
            assert_eq!(payload, b"hello");
            taken.set(taken.get() + 1);
        }));
        let _ = world.step(poll.as_mut());
        taken.get()
    };
    assert_eq!(taken(&|_| {}), 1);
    assert_eq!(keeper.0.borrow().len(), 1);
    assert_eq!(taken(&|frame| *frame.last_mut().unwrap() ^= 1), 0, "a damaged payload");
    assert_eq!(taken(&|frame| frame[24] ^= 1), 0, "a damaged header");
    assert_eq!(taken(&|frame| set(frame, 36, &[0, 81])), 0, "another port");
    assert_eq!(taken(&|frame| set(frame, 30, &[10, 0, 0, 3])), 0, "another address");
    assert_eq!(taken(&|frame| set(frame, 0, &[0x52, 0x54, 0, 0, 0, 3])), 0, "another station");
    assert_eq!(taken(&|frame| set(frame, 26, &[224, 0, 0, 1])), 0, "from a group");
    assert_eq!(taken(&|frame| set(frame, 30, &[10, 0, 0, 255])), 1, "a broadcast");
}

/// What is known of a datagram is not taken for known of the one behind it, however little they
/// differ.
#[test]
fn what_follows_a_datagram_is_looked_at_as_well() {
    let (a, b) = pair();
    let mut world = World::new(&[&a, &b]);
    world.idle(Duration::from_secs(3));
    let socket = UdpSocket::bind(&b.stack, PORT, 8, 1000).unwrap();
    let mut taken = |at: usize, bytes: &[u8]| {
        let mut other = datagram(b"hello");
        set(&mut other, at, bytes);
        // In one turn, so that the first of them is remembered.
        for frame in [datagram(b"hello"), other, datagram(b"hello")] {
            a.tx.send(frame);
        }
        world.idle(Duration::from_millis(10));
        let taken = Cell::new(0);
        let mut poll = pin!(socket.receive_each(|_, payload| {
            assert_eq!(payload, b"hello");
            taken.set(taken.get() + 1);
        }));
        let _ = world.step(poll.as_mut());
        taken.get()
    };
    assert_eq!(taken(42, b"hello"), 3);
    assert_eq!(taken(0, &[0x52, 0x54, 0, 0, 0, 3]), 2, "another station");
    assert_eq!(taken(6, &[3]), 2, "from a group's station");
    assert_eq!(taken(12, &[0x88, 0xb5]), 2, "another type");
    assert_eq!(taken(16, &[0, 28 + 6]), 2, "longer than the frame");
    assert_eq!(taken(16, &[0, 28 + 4]), 2, "longer than the packet");
    assert_eq!(taken(20, &[0x20, 0]), 2, "a fragment, and more to come");
    assert_eq!(taken(20, &[0, 1]), 2, "a fragment, and not the first");
    assert_eq!(taken(23, &[17 + 1]), 2, "another protocol");
    assert_eq!(taken(26, &[224, 0, 0, 1]), 2, "from a group");
    assert_eq!(taken(30, &[10, 0, 0, 3]), 2, "another address");
    assert_eq!(taken(30, &[10, 0, 0, 255]), 3, "a broadcast");
    assert_eq!(taken(36, &[0, 81]), 2, "another port");
    assert_eq!(taken(38, &[0, 7]), 2, "shorter than its header");
}

/// Beyond its room it drops, and goes on.
#[test]
fn an_inbox_is_bounded() {
    let (a, b) = pair();
    let mut world = World::new(&[&a, &b]);
    world.idle(Duration::from_secs(3));
    let socket = UdpSocket::bind(&b.stack, PORT, 4, 1000).unwrap();
    for count in [6, 1] {
        (0..count).for_each(|_| a.tx.send(datagram(b"hello")));
        world.idle(Duration::from_millis(10));
        let taken = Cell::new(0);
        let mut poll = pin!(socket.receive_each(|_, _| taken.set(taken.get() + 1)));
        let _ = world.step(poll.as_mut());
        assert_eq!(taken.get(), count.min(4));
    }
}

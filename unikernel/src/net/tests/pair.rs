//! A primary and a standby behind one interface: which of them is used when, and what a move
//! between them costs.

use core::cell::Cell;
use std::boxed::Box;
use std::rc::Rc;
use std::vec::Vec;

use embassy_futures::join::join;
use embassy_futures::yield_now;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::time::Duration;
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, IpProtocol, Ipv4Address,
    Ipv4Packet, Ipv4Repr, UdpPacket, UdpRepr,
};

use super::network::{FakeNic, Host, Keeper, Port, Wire, World, host, pair};
use super::traffic::{LIMIT, PORT, connect, endpoint, pattern, receive, send};
use crate::net::{Role, UdpSocket};

/// Two hosts, the second with a primary and a standby on two ports of a switch. Returns the links
/// of both.
fn hosts() -> (Host, Host, [Rc<Cell<bool>>; 2]) {
    let (a, b) = pair();
    drop(b.stack.detach(Role::Primary));
    let learned = Rc::new(Cell::new(0));
    let links = [0, 1].map(|number| {
        let mut nic = b.nic();
        nic.standby = number == 1;
        nic.port = Some(Port { number, learned: learned.clone() });
        let link = nic.link_switch();
        assert!(b.stack.attach(Box::new(nic)).is_ok());
        link
    });
    (a, b, links)
}

fn in_use(host: &Host) -> Option<Role> {
    let is_standby = host.stack.with_nic(|nic| nic.is_standby());
    is_standby.map(|is_standby| if is_standby { Role::Standby } else { Role::Primary })
}

pub(super) async fn turns(count: usize) {
    for _ in 0..count {
        yield_now().await;
    }
}

#[test]
fn a_transfer_goes_on_over_links_that_fail_and_nics_that_leave() {
    let (a, b, [primary, standby]) = hosts();
    let mut world = World::new(&[&a, &b]);
    let (client, server, _listener) = connect(&mut world, &a, &b);
    let (up, down) = (pattern(3_000_000), pattern(2_000_000));
    let moves = Cell::new(0);
    let seen = |role| {
        assert_eq!(in_use(&b), Some(role));
        moves.set(moves.get() + 1);
    };
    let change = async {
        for _ in 0..3 {
            turns(20).await;
            primary.set(false);
            turns(250).await;
            seen(Role::Standby);
            primary.set(true);
            turns(250).await;
            seen(Role::Primary);
            let nic = b.stack.detach(Role::Primary).expect("the primary");
            turns(20).await;
            seen(Role::Standby);
            assert!(b.stack.attach(nic).is_ok());
            turns(250).await;
            seen(Role::Primary);
            // Nothing happens to traffic on the primary.
            standby.set(false);
            turns(250).await;
            seen(Role::Primary);
            standby.set(true);
            turns(250).await;
        }
    };
    let transfer = join(
        join(send(&client, &up), receive(&client)),
        join(send(&server, &down), receive(&server)),
    );
    let ((((), at_client), ((), at_server)), ()) = world.run(LIMIT, join(transfer, change));
    assert!(at_client == down && at_server == up);
    assert_eq!(moves.get(), 15);
}

#[test]
fn the_primary_is_used_while_its_link_is_up() {
    let (a, b, [primary, standby]) = hosts();
    let mut world = World::new(&[&a, &b]);
    let mut after = |primary_up: bool, standby_up: bool| {
        primary.set(primary_up);
        standby.set(standby_up);
        world.idle(Duration::from_millis(300));
        (in_use(&b), b.stack.link().up)
    };
    assert_eq!(after(true, true), (Some(Role::Primary), true));
    assert_eq!(after(true, false), (Some(Role::Primary), true));
    assert_eq!(after(false, false), (Some(Role::Primary), false));
    assert_eq!(after(false, true), (Some(Role::Standby), true));
    assert_eq!(after(false, false), (Some(Role::Standby), false));
    assert_eq!(after(true, false), (Some(Role::Primary), true));
    let other = b.stack.detach(Role::Standby).expect("the standby");
    assert!(other.is_standby() && b.stack.detach(Role::Standby).is_none());
    assert_eq!(in_use(&b), Some(Role::Primary));
    assert!(b.stack.attach(other).is_ok());
    drop(b.stack.detach(Role::Primary));
    assert_eq!(in_use(&b), Some(Role::Standby));
    drop(b.stack.detach(Role::Standby));
    assert_eq!(in_use(&b), None);
}

#[test]
fn only_a_standby_with_the_same_address_makes_a_pair() {
    let wire = Wire::default();
    let b = host(2, "10.0.0.2/24", &wire, &wire);
    let nic = |mac, standby| {
        let mut nic = FakeNic::new(b.pool, mac, &wire, &wire);
        nic.standby = standby;
        Box::new(nic)
    };
    assert_eq!(b.stack.attach(nic(2, true)).ok(), Some(Role::Standby), "alone it is used");
    for misfit in [nic(3, false), nic(3, true), nic(2, true)] {
        assert!(b.stack.attach(misfit).is_err());
    }
    assert_eq!(b.stack.attach(nic(2, false)).ok(), Some(Role::Primary));
    assert!(b.stack.attach(nic(2, false)).is_err(), "two are enough");
    drop(b.stack.detach(Role::Standby));
    assert!(b.stack.attach(nic(2, false)).is_err(), "two primaries");
    assert!(b.stack.attach(nic(3, true)).is_err());
    assert_eq!(b.stack.attach(nic(2, true)).ok(), Some(Role::Standby));
}

#[test]
fn the_idle_nic_is_silent_and_each_move_is_announced() {
    let (a, b) = pair();
    drop(b.stack.detach(Role::Primary));
    let mut wires = Vec::new();
    let mut links = Vec::new();
    for standby in [false, true] {
        let (rx, tx) = (Wire::default(), Wire::default());
        let mut nic = FakeNic::new(b.pool, 2, &rx, &tx);
        nic.standby = standby;
        links.push(nic.link_switch());
        assert!(b.stack.attach(Box::new(nic)).is_ok());
        wires.push((rx, tx));
    }
    let mut world = World::new(&[&a, &b]);
    let mut announcements = |up: bool| {
        links[0].set(up);
        world.idle(Duration::from_secs(3));
        [0, 1].map(|i: usize| core::iter::from_fn(|| wires[i].1.take()).count())
    };
    assert_eq!(announcements(true), [4, 0]);
    assert_eq!(announcements(false), [0, 4]);
    assert_eq!(announcements(true), [4, 0]);
    assert_eq!(announcements(true), [0, 0]);
    // The machine itself has moved.
    b.stack.announce();
    assert_eq!(announcements(true), [4, 0]);

    // A broadcast reaches both.
    let keeper = Keeper::default();
    let _observation = b.stack.observe(Box::new(keeper.clone()));
    let free = b.pool.statistics().slots_free;
    wires.iter().for_each(|(rx, _)| rx.send(std::vec![0xff; 60]));
    world.idle(Duration::from_secs(1));
    assert!(wires.iter().all(|(rx, _)| rx.is_empty()));
    assert_eq!(keeper.0.borrow().len(), 1);
    assert_eq!(b.pool.statistics().slots_free, free - 1);
}

/// What a NIC hears and says, and its link.
struct Network {
    heard: Wire,
    said: Wire,
    link: Rc<Cell<bool>>,
}

/// A host with a primary and a standby on networks of their own.
fn two_networks() -> (Host, [Network; 2]) {
    let unused = Wire::default();
    let b = host(2, "10.0.0.2/24", &unused, &unused);
    drop(b.stack.detach(Role::Primary));
    let networks = [false, true].map(|standby| {
        let (heard, said) = (Wire::default(), Wire::default());
        let mut nic = FakeNic::new(b.pool, 2, &heard, &said);
        nic.standby = standby;
        let link = nic.link_switch();
        assert!(b.stack.attach(Box::new(nic)).is_ok());
        Network { heard, said, link }
    });
    (b, networks)
}

/// A datagram for that host.
pub(super) fn datagram(payload: &[u8]) -> Vec<u8> {
    let (from, to) = (Ipv4Address::new(10, 0, 0, 9), Ipv4Address::new(10, 0, 0, 2));
    let ethernet = EthernetRepr {
        src_addr: EthernetAddress([2, 0, 0, 0, 0, 9]),
        dst_addr: EthernetAddress([0x52, 0x54, 0, 0, 0, 2]),
        ethertype: EthernetProtocol::Ipv4,
    };
    let udp = UdpRepr { src_port: PORT, dst_port: PORT };
    let ip = Ipv4Repr {
        src_addr: from,
        dst_addr: to,
        next_header: IpProtocol::Udp,
        payload_len: udp.header_len() + payload.len(),
        hop_limit: 64,
    };
    let checksums = ChecksumCapabilities::default();
    let mut bytes = std::vec![0; ethernet.buffer_len() + ip.buffer_len() + ip.payload_len];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes);
    ethernet.emit(&mut frame);
    let mut packet = Ipv4Packet::new_unchecked(frame.payload_mut());
    ip.emit(&mut packet, &checksums);
    let mut datagram = UdpPacket::new_unchecked(packet.payload_mut());
    let copy = |room: &mut [u8]| room.copy_from_slice(payload);
    udp.emit(&mut datagram, &from.into(), &to.into(), payload.len(), copy, &checksums);
    bytes
}

#[test]
fn what_is_on_its_way_to_the_nic_of_before_still_arrives() {
    let (b, [primary, standby]) = two_networks();
    let mut world = World::new(&[&b]);
    let keeper = Keeper::default();
    let _observation = b.stack.observe(Box::new(keeper.clone()));
    let received = || core::mem::take(&mut *keeper.0.borrow_mut()).len();
    primary.link.set(false);
    world.idle(Duration::from_secs(3));
    assert_eq!(in_use(&b), Some(Role::Standby));
    primary.link.set(true);
    while in_use(&b) != Some(Role::Primary) {
        world.idle(Duration::from_millis(1));
    }
    received();
    while standby.said.take().is_some() {}
    // Late on the standby: a datagram, one that was damaged, and a broadcast, which both hear.
    standby.heard.send(datagram(b"late"));
    let mut damaged = datagram(b"damaged");
    *damaged.last_mut().expect("a frame has bytes") ^= 1;
    standby.heard.send(damaged);
    standby.heard.send(std::vec![0xff; 60]);
    primary.heard.send(std::vec![0xff; 60]);
    world.idle(Duration::from_millis(20));
    assert_eq!(received(), 2);
    // Too late: what comes now, the one in use gets as well.
    world.idle(Duration::from_secs(1));
    standby.heard.send(datagram(b"flooded"));
    world.idle(Duration::from_secs(1));
    assert_eq!((received(), standby.heard.is_empty()), (0, true));
    // Whatever there was to be said to it was said where the host is now.
    assert!(standby.said.is_empty());
}

#[test]
fn a_hypervisor_that_announces_the_standby_is_answered() {
    let (b, [primary, standby]) = two_networks();
    let mut world = World::new(&[&b]);
    world.idle(Duration::from_secs(3));
    assert_eq!(in_use(&b), Some(Role::Primary));
    let keeper = Keeper::default();
    let _observation = b.stack.observe(Box::new(keeper.clone()));
    let _socket = UdpSocket::bind(&b.stack, PORT, 4, 4096).unwrap();
    let mut announcements = |station: u8| {
        world.idle(Duration::from_millis(200));
        while primary.said.take().is_some() {}
        // QEMU's, through the standby, and what a switch then sends there.
        let mut rarp = std::vec![0; 60];
        rarp[..6].fill(0xff);
        rarp[6..12].copy_from_slice(&[0x52, 0x54, 0, 0, 0, station]);
        rarp[12..14].copy_from_slice(&[0x80, 0x35]);
        primary.heard.send(rarp);
        standby.heard.send(datagram(b"misled"));
        world.idle(Duration::from_millis(20));
        assert!(standby.said.is_empty());
        core::iter::from_fn(|| primary.said.take()).count()
    };
    assert_eq!(announcements(3), 0, "of another station");
    assert_eq!(keeper.0.borrow().len(), 1);
    assert_eq!(announcements(2), 1);
    assert_eq!(keeper.0.borrow().len(), 3);
}

#[test]
fn a_nic_that_was_switched_over_from_receives_until_it_is_detached() {
    let (b, [primary, standby]) = two_networks();
    let mut world = World::new(&[&b]);
    let keeper = Keeper::default();
    let _observation = b.stack.observe(Box::new(keeper.clone()));
    world.idle(Duration::from_secs(3));
    while primary.said.take().is_some() {}
    assert!(!b.stack.switch_over_from(Role::Standby), "it is not in use");
    assert!(b.stack.switch_over_from(Role::Primary));
    primary.heard.send(datagram(b"late"));
    world.idle(Duration::from_millis(15));
    assert_eq!((in_use(&b), keeper.0.borrow().len()), (Some(Role::Standby), 1));
    assert!(
        primary.said.is_empty() && !standby.said.is_empty(),
        "the move was announced by the standby"
    );
    world.idle(Duration::from_secs(1));
    assert_eq!(in_use(&b), Some(Role::Standby), "it does not come back");
    primary.heard.send(datagram(b"flooded"));
    assert!(b.stack.detach(Role::Primary).is_some_and(|nic| !nic.is_standby()));
    assert_eq!(keeper.0.borrow().len(), 1);
    drop(b.stack.detach(Role::Standby));
    assert!(!b.stack.switch_over_from(Role::Primary), "there is nobody to take its place");
}

#[test]
fn sockets_and_addresses_stay() {
    let (a, b, [primary, _]) = hosts();
    let mut world = World::new(&[&a, &b]);
    let (from, to) = (
        UdpSocket::bind(&a.stack, PORT, 4, 4096).unwrap(),
        UdpSocket::bind(&b.stack, PORT, 4, 4096).unwrap(),
    );
    let lease = b.stack.lease();
    for up in [true, false, true, false] {
        primary.set(up);
        world.idle(Duration::from_millis(300));
        let mut got = Vec::new();
        let receive = to.receive_each(|_, payload| got.push(payload.to_vec()));
        let (sent, ()) = world.run(LIMIT, join(from.send_to(b"hello", endpoint(2, PORT)), receive));
        assert_eq!(sent, Ok(()));
        assert_eq!(got, [b"hello"]);
        assert_eq!(b.stack.lease(), lease);
    }
}

//! Names, asked of a small server.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use std::vec::Vec;

use embassy_futures::select::{Either, select};
use smoltcp::time::Duration;

use super::network::{Host, Wire, World, host_with, pair};
use super::traffic::LIMIT;
use crate::net::{Config, Error, Family, NameServers, UdpSocket};

const V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
const V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7);
const A: u8 = 1;
const NO_SUCH_NAME: u8 = 3;

/// `both` has two addresses, `six` an IPv6 one, and other names do not exist.
fn answer(query: &[u8]) -> Vec<u8> {
    let name: Vec<u8> = query[12..].iter().copied().take_while(|&byte| byte != 0).collect();
    let kind = query[12 + name.len() + 2];
    let address = match (&name[..], kind) {
        (b"\x04both", A) => V4.octets().to_vec(),
        (b"\x04both" | b"\x03six", 28) => V6.octets().to_vec(),
        _ => Vec::new(),
    };
    let exists = matches!(&name[..], b"\x04both" | b"\x03six");
    let mut reply = query.to_vec();
    reply[2] |= 0x80;
    reply[3] = if exists { 0 } else { NO_SUCH_NAME };
    if !address.is_empty() {
        reply[7] = 1;
        reply.extend([0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 60, 0, address.len() as u8]);
        reply.extend(address);
    }
    reply
}

/// A host that asks 10.0.0.2, and that one.
fn hosts(servers: &str) -> (Host, Host, World) {
    let (there, back) = (Wire::default(), Wire::default());
    let config = |addressing: &str, servers: &str| Config {
        addressing: addressing.parse().unwrap(),
        name_servers: servers.parse().unwrap_or_default(),
        addressing6: crate::net::Addressing6::Off,
        ..Config::default()
    };
    let a = host_with(1, config("10.0.0.1/24", servers), &back, &there);
    let b = host_with(2, config("10.0.0.2/24", ""), &there, &back);
    a.attach();
    b.attach();
    let mut world = World::new(&[&a, &b]);
    world.idle(Duration::from_secs(1));
    (a, b, world)
}

fn resolve(
    (a, b, world): &mut (Host, Host, World),
    name: &str,
    family: Family,
) -> Result<IpAddr, Error> {
    let mut resolve = pin!(a.stack.resolve(name, family));
    if let Poll::Ready(result) = resolve.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        return result;
    }
    // It is asked a while after the last turn of the stack.
    world.now += Duration::from_secs(100);
    let socket = UdpSocket::bind(&b.stack, 53, 4, 4096).unwrap();
    let serve = async {
        loop {
            let query = socket.receive_with(|from, query| (from, query.to_vec())).await;
            socket.send_to(&answer(&query.1), query.0).await.unwrap();
        }
    };
    match world.run(LIMIT, select(resolve, serve)) {
        Either::First(result) => result,
        Either::Second(()) => unreachable!("it serves for ever"),
    }
}

#[test]
fn names_have_addresses_of_either_family() {
    let net = &mut hosts("10.0.0.2");
    for (name, family, expected) in [
        ("both", Family::Ipv4, Ok(V4.into())),
        ("both", Family::Ipv6, Ok(V6.into())),
        ("both", Family::Any, Ok(V4.into())),
        ("six", Family::Ipv4, Err(Error::NoSuchName)),
        ("six", Family::Any, Ok(V6.into())),
        ("none", Family::Any, Err(Error::NoSuchName)),
        ("", Family::Any, Err(Error::NoSuchName)),
        ("a..b", Family::Any, Err(Error::NoSuchName)),
        (&["a23456789"; 30].join("."), Family::Any, Err(Error::TooLong)),
    ] {
        assert_eq!(resolve(net, name, family), expected, "{name} {family:?}");
    }
}

#[test]
fn addresses_need_no_server() {
    let (a, _) = pair();
    let mut world = World::new(&[&a]);
    let mut resolve = |name, family| world.run(LIMIT, a.stack.resolve(name, family));
    assert_eq!(resolve("192.0.2.7", Family::Any), Ok(V4.into()));
    assert_eq!(resolve("2001:db8::7", Family::Ipv6), Ok(V6.into()));
    assert_eq!(resolve("2001:db8::7", Family::Ipv4), Err(Error::NoSuchName));
    assert_eq!(resolve("both", Family::Any), Err(Error::NoNameServer));
}

#[test]
fn a_server_that_is_silent_is_told_from_one_that_knows_no_such_name() {
    // The first of them does not exist.
    let net = &mut hosts("10.0.0.3,10.0.0.2");
    assert_eq!(resolve(net, "both", Family::Ipv4), Ok(V4.into()));
    assert_eq!(resolve(net, "none", Family::Ipv4), Err(Error::NoSuchName));
    let net = &mut hosts("10.0.0.3");
    assert_eq!(resolve(net, "both", Family::Ipv4), Err(Error::TimedOut));
}

#[test]
fn queries_that_are_given_up_leave_nothing_behind() {
    let (a, _, mut world) = hosts("10.0.0.3");
    for _ in 0..5 {
        let soon = super::pair::turns(10);
        let result = world.run(LIMIT, select(a.stack.resolve("both", Family::Ipv4), soon));
        assert!(matches!(result, Either::Second(())));
    }
    // Nobody would ask again, or wait for an answer.
    world.idle(Duration::from_secs(5));
    let sent = a.stack.traffic().tx_frames;
    world.idle(Duration::from_secs(30));
    assert_eq!(a.stack.traffic().tx_frames, sent);
}

#[test]
fn servers_on_the_command_line() {
    let parse = |text: &str| text.parse::<NameServers>();
    let servers: Vec<_> = parse("10.0.2.3,fd00::53").unwrap().iter().collect();
    assert_eq!(servers, ["10.0.2.3".parse::<IpAddr>().unwrap(), "fd00::53".parse().unwrap()]);
    for bad in [
        "",
        ",",
        "10.0.2.3,",
        "0.0.0.0",
        "ff02::1",
        "dns.example",
        "1.1.1.1,1.1.1.2,1.1.1.3,1.1.1.4",
    ] {
        assert!(std::string::ToString::to_string(&parse(bad).expect_err(bad)).contains("10.0.2.3"));
    }
}

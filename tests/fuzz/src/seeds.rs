//! Inputs for the stack that get far.

use std::net::{IpAddr, Ipv4Addr};

use etherparse::IpNumber;

use crate::link::MAC;
use crate::packets::{
    ADDRESS, ICMPV6, OURS, PEER, PEER_MAC, ROUTER, UDP_PORT, frame, from_router, ipv4, ipv6, is_at,
    tcp, udp, who_has,
};
use crate::stack::LINK;
use crate::steps::input;

/// Conversations with the stack.
pub(crate) fn frames() -> Vec<Vec<u8>> {
    let here = is_at(PEER, PEER_MAC);
    let connection = [
        here.clone(),
        tcp(40_000, "s", 1, b""),
        tcp(40_000, "a", 2, b"hello"),
        tcp(40_000, "a", 7, b""),
        tcp(40_000, "fa", 7, b""),
        tcp(40_000, "a", 8, b""),
    ];
    let reset = [here.clone(), tcp(1, "s", 9, b""), tcp(1, "a", 10, b""), tcp(1, "r", 10, b"")];
    let peer = (PEER, 5000);
    let mut first = udp(peer, (ADDRESS, UDP_PORT), &[3; 1000]);
    let mut last = first.clone();
    first[20..22].copy_from_slice(&0x2000u16.to_be_bytes());
    last[20..22].copy_from_slice(&126u16.to_be_bytes());
    let datagrams = [
        here.clone(),
        udp(peer, (ADDRESS, UDP_PORT), b"one"),
        udp(peer, (ADDRESS, UDP_PORT + 1), b"two"),
        udp(peer, (ADDRESS, 9), b"nobody"),
        udp(peer, (Ipv4Addr::new(239, 1, 2, 3), UDP_PORT), b"all"),
        last,
        first,
    ];
    let old = udp((ADDRESS, UDP_PORT), peer, b"12345678");
    let old = &old[14..42];
    let icmp = |kind: u8, code: u8, more: [u8; 4], body: &[u8]| {
        let message = [&[kind, code, 0, 0], &more[..], body].concat();
        ipv4(PEER, ADDRESS, IpNumber::ICMP, &message)
    };
    let control = [
        who_has(ADDRESS, PEER_MAC, PEER.octets()),
        icmp(8, 0, [0, 1, 0, 1], b"ping"),
        icmp(3, 3, [0; 4], old),
        icmp(3, 4, [0, 0, 2, 0x58], old),
        ipv4(PEER, Ipv4Addr::new(224, 0, 0, 1), IpNumber::IGMP, &[0x11, 100, 0, 0, 0, 0, 0, 0]),
    ];
    let solicit = [&[135, 0, 0, 0, 0, 0, 0, 0], &OURS[..], &[1, 1], &PEER_MAC].concat();
    let advert = [&[136, 0, 0, 0, 0x60, 0, 0, 0], &ROUTER[..], &[2, 1], &PEER_MAC].concat();
    let echo = [128, 0, 0, 0, 0, 1, 0, 1, 1, 2, 3, 4];
    // A hop-by-hop header with a router alert, then a general query (RFC 3810, section 5.1).
    let listeners = [&[58, 0, 5, 2, 0, 0, 1, 0, 130, 0, 0, 0, 0x27, 0x10][..], &[0; 22]].concat();
    let datagram = [&5000u16.to_be_bytes()[..], &UDP_PORT.to_be_bytes(), &[0, 12, 0, 0]].concat();
    let part = |offset: u8, more: u8, body: &[u8]| {
        let head = [17, 0, 0, offset << 3 | more, 0, 0, 0, 9];
        ipv6(OURS, 44, 64, &[&head, body].concat())
    };
    let too_big = [&[2, 0, 0, 0, 0, 0, 5, 0], &ipv6(ROUTER, 17, 64, &datagram)[14..]].concat();
    let v6 = [
        ipv6(OURS, ICMPV6, 255, &solicit),
        ipv6(OURS, ICMPV6, 255, &advert),
        ipv6(OURS, ICMPV6, 64, &echo),
        ipv6(OURS, 0, 1, &listeners),
        part(0, 1, &datagram),
        part(1, 0, b"late"),
        ipv6(OURS, ICMPV6, 64, &too_big),
        from_router(&advertisement()),
    ];
    let mut tagged = icmp(8, 0, [0, 1, 0, 2], b"first");
    tagged.splice(12..12, [0x81, 0, 0xe0, 0]);
    let odd = [tagged, frame(MAC, 0x88cc, &[2, 7, 4]), frame(MAC, 0x86dd, &[0x60])];
    [&connection[..], &reset, &datagrams, &control, &v6, &odd]
        .map(|frames| {
            let mut bytes = vec![0];
            bytes.extend(input(frames.iter().map(|frame| (0, &frame[..]))));
            // Time passes, and the cable comes out and in again.
            bytes.extend(input([(4, &[][..]), (1 << LINK | 2, &[]), (1 << LINK | 3, &[])]));
            bytes
        })
        .into()
}

/// A router's, with MTU, station address, a prefix, a route, DNS servers and search list.
fn advertisement() -> Vec<u8> {
    let head = [134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    let station = [&[1, 1], &PEER_MAC[..]].concat();
    let mtu = [5, 1, 0, 0, 0, 0, 5, 0];
    let prefix = |last| {
        let mut option = [&[3, 4, 64, 0xc0, 0, 1, 0, 0, 0, 0, 0x80, 0, 0, 0, 0, 0][..], &[0; 16]];
        let address = [0x20, 1, 0xd, 0xb8, 0, 0, 0, last, 0, 0, 0, 0, 0, 0, 0, 0];
        option[1] = &address;
        option.concat()
    };
    let route = [24, 2, 64, 0, 0, 0, 7, 8, 0x20, 1, 0xd, 0xb8, 0, 9, 0, 0];
    let servers = [&[25, 3, 0, 0, 0, 0, 7, 8][..], &ROUTER].concat();
    let search = [31, 2, 0, 0, 0, 0, 7, 8, 4, b'h', b'o', b'm', b'e', 0, 0, 0];
    let options = [station, mtu.into(), prefix(1), prefix(2), route.into(), servers, search.into()];
    [head.to_vec(), options.concat()].concat()
}

/// Routers that come and go.
pub(crate) fn advertisements() -> Vec<Vec<u8>> {
    let router = advertisement();
    let mut gone = router.clone();
    gone[6..8].fill(0);
    let redirect = [&[137, 0, 0, 0, 0, 0, 0, 0], &ROUTER[..], &OURS].concat();
    let solicited = [&[136, 0, 0, 0, 0xe0, 0, 0, 0], &OURS[..]].concat();
    vec![
        input([(3, &router[..]), (6, &[]), (3, &router), (3, &gone)]),
        input([(0, &solicited[..]), (3, &router), (1 << LINK | 3, &[]), (1 << LINK | 3, &[])]),
        input([(3, &router[..]), (3, &redirect)]),
    ]
}

/// A message of a DHCP server: 2 is an offer, 5 grants, 6 refuses.
fn dhcp_message(kind: u8, options: &[u8]) -> Vec<u8> {
    let mut message = vec![0; 240];
    message[..4].copy_from_slice(&[2, 1, 6, 0]);
    message[16..20].copy_from_slice(&[10, 0, 2, 15]);
    message[236..240].copy_from_slice(&[99, 130, 83, 99]);
    message.extend([53, 1, kind, 54, 4, 10, 0, 2, 2]);
    message.extend(options);
    message.push(255);
    message
}

/// Servers that grant, renew, refuse, and say odd things.
pub(crate) fn dhcp() -> Vec<Vec<u8>> {
    let plain = [1, 4, 255, 255, 255, 0, 3, 4, 10, 0, 2, 2, 51, 4, 0, 0, 0, 60];
    let more = [
        &plain[..],
        &[6, 8, 10, 0, 2, 3, 10, 0, 2, 4, 58, 4, 0, 0, 0, 30, 59, 4, 0, 0, 0, 50],
        &[26, 2, 5, 0, 33, 8, 192, 0, 2, 1, 10, 0, 2, 9],
        &[121, 13, 24, 198, 51, 100, 10, 0, 2, 7, 0, 10, 0, 2, 2, 52, 1, 3],
    ]
    .concat();
    let [offer, grant] = [2, 5].map(|kind| dhcp_message(kind, &more));
    let [refusal, bare] = [dhcp_message(6, &[]), dhcp_message(5, &plain)];
    // The first step is for the question to be asked.
    vec![
        input([(1, &[][..]), (1, &offer), (1, &grant), (5, &[]), (3, &bare), (5, &[])]),
        input([(1, &[][..]), (1, &offer), (1, &refusal), (4, &[]), (1, &refusal)]),
        input([(1, &[][..]), (1, &offer), (1, &grant), (1 << LINK | 3, &[]), (1 << LINK, &[])]),
        input([(1, &[][..]), (1, &offer), (1, &bare), (6, &[]), (3, &grant)]),
    ]
}

/// An answer about `a.example`, with this code and these records.
fn dns_message(code: u8, kind: u8, records: &[&[u8]]) -> Vec<u8> {
    let head = [0, 0, 0x81, 0x80 | code, 0, 1, 0, records.len() as u8, 0, 0, 0, 0];
    let question = [b"\x01a\x07example\x00\x00", &[kind, 0, 1][..]].concat();
    [&head, &question[..], &records.concat()].concat()
}

/// Answers of all kinds.
pub(crate) fn dns() -> Vec<Vec<u8>> {
    let record = |kind: u8, data: &[u8]| {
        let head = [0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 60, 0, data.len() as u8];
        [&head, data].concat()
    };
    let address = |address: IpAddr| match address {
        IpAddr::V4(address) => record(1, &address.octets()),
        IpAddr::V6(address) => record(28, &address.octets()),
    };
    let [four, six] = ["192.0.2.1", "2001:db8::1"].map(|text| address(text.parse().expect("one")));
    let alias = record(5, b"\x01b\xc0\x0e");
    let named = [b"\x01b\xc0\x0e", &four[2..]].concat();
    vec![
        input([(0, &dns_message(0, 1, &[&four, &four])[..])]),
        input([(0, &dns_message(3, 1, &[])[..]), (0, &dns_message(0, 28, &[&six]))]),
        input([(0, &dns_message(0, 1, &[&alias, &named])[..]), (4, &dns_message(0, 1, &[&alias]))]),
        input([(1, &dns_message(2, 1, &[])[..]), (4, &dns_message(0, 1, &[&six, &four]))]),
    ]
}

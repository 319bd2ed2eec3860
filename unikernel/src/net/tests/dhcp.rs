//! DHCP against servers that refuse, forget to say something, say more than others, or are silent.

use std::vec::Vec;

use embassy_futures::join::join;
use smoltcp::time::Duration;
use smoltcp::wire::{
    DhcpMessageType, DhcpOption, DhcpPacket, DhcpRepr, EthernetFrame, EthernetProtocol, IpProtocol,
    Ipv4Address, Ipv4Packet, UdpPacket,
};

use super::address::{SERVER, answer_arp, reply};
use super::network::{Host, Wire, World, host};
use super::traffic::{BUFFERS, LIMIT, pattern, receive, send};
use crate::net::{TcpListener, TcpStream};

const MINE: Ipv4Address = Ipv4Address::new(10, 0, 2, 15);
const MASK: Ipv4Address = Ipv4Address::new(255, 255, 255, 0);
const LEASE: u32 = 120;

/// A stack that looks for a server, which is the test.
struct Bench {
    host: Host,
    world: World,
    to: Wire,
    from: Wire,
}

/// What the stack asked a server for.
#[derive(Clone, Debug)]
struct Asked {
    kind: DhcpMessageType,
    at: u64,
    client: Ipv4Address,
    requested: Option<Ipv4Address>,
    wanted: Vec<u8>,
}

impl Bench {
    fn new() -> Self {
        let [to, from] = [Wire::default(), Wire::default()];
        let host = host(1, "dhcp", &to, &from);
        let world = World::new(&[&host]);
        Self { host, world, to, from }
    }

    /// Lets time pass, and a server answer with what `answer` makes of an ordinary reply.
    fn serve(
        &mut self,
        time: Duration,
        mut answer: impl FnMut(&Asked, DhcpRepr<'_>) -> Option<Vec<u8>>,
    ) -> Vec<Asked> {
        let end = self.world.now + time;
        let mut all = Vec::new();
        while self.world.now < end {
            self.world.idle(Duration::from_millis(10));
            while let Some(frame) = self.from.take() {
                answer_arp(&frame, &self.to);
                let Some((asked, transaction, mac)) = understand(&frame, self.world.now.secs())
                else {
                    continue;
                };
                let message_type = match asked.kind {
                    DhcpMessageType::Discover => DhcpMessageType::Offer,
                    _ => DhcpMessageType::Ack,
                };
                let ordinary = DhcpRepr {
                    message_type,
                    transaction_id: transaction,
                    secs: 0,
                    client_hardware_address: mac,
                    client_ip: Ipv4Address::UNSPECIFIED,
                    your_ip: MINE,
                    server_ip: SERVER,
                    router: Some(SERVER),
                    subnet_mask: Some(MASK),
                    relay_agent_ip: Ipv4Address::UNSPECIFIED,
                    broadcast: false,
                    requested_ip: None,
                    client_identifier: None,
                    server_identifier: Some(SERVER),
                    parameter_request_list: None,
                    dns_servers: None,
                    max_size: None,
                    lease_duration: Some(LEASE),
                    renew_duration: None,
                    rebind_duration: None,
                    additional_options: &[],
                };
                if let Some(frame) = answer(&asked, ordinary) {
                    self.to.send(frame);
                }
                all.push(asked);
            }
        }
        all
    }

    /// From now on the wire has another host at its end, and no server, until it is served again.
    /// That host, and a connection from there.
    fn connected(&self) -> (World, Host, TcpStream, TcpStream) {
        let peer = host(2, "10.0.2.2/24", &self.from, &self.to);
        peer.attach();
        let mut world = World::new(&[&self.host, &peer]);
        world.now = self.world.now;
        let listener = TcpListener::bind(&self.host.stack, 7, 1, BUFFERS).unwrap();
        let client = TcpStream::connect(&peer.stack, "10.0.2.15:7".parse().unwrap(), BUFFERS);
        let (client, server) = world.run(LIMIT, join(client, listener.accept()));
        (world, peer, client.expect("a connection"), server)
    }

    fn address(&self) -> Option<std::string::String> {
        self.host.stack.lease().map(|lease| std::format!("{}", lease.address))
    }

    /// The neighbour that packets to a host go to.
    fn next_hop(&self, to: &str) -> Option<std::string::String> {
        let hop = self
            .host
            .stack
            .with(|engine| engine.pair.device.discovery.routes.next_hop(to.parse().unwrap()));
        hop.map(|hop| std::format!("{hop}"))
    }
}

fn understand(frame: &[u8], at: i64) -> Option<(Asked, u32, smoltcp::wire::EthernetAddress)> {
    let ethernet = EthernetFrame::new_checked(frame).unwrap();
    let is_ip = ethernet.ethertype() == EthernetProtocol::Ipv4;
    let ip = Ipv4Packet::new_checked(ethernet.payload()).ok().filter(|_| is_ip)?;
    let is_udp = ip.next_header() == IpProtocol::Udp;
    let udp = UdpPacket::new_checked(ip.payload()).ok().filter(|_| is_udp)?;
    let packet = DhcpPacket::new_checked(udp.payload()).ok().filter(|_| udp.dst_port() == 67)?;
    let dhcp = DhcpRepr::parse(&packet).expect("DHCP");
    let asked = Asked {
        kind: dhcp.message_type,
        at: at as u64,
        client: dhcp.client_ip,
        requested: dhcp.requested_ip,
        wanted: dhcp.parameter_request_list.unwrap_or_default().to_vec(),
    };
    Some((asked, dhcp.transaction_id, dhcp.client_hardware_address))
}

fn answer(_: &Asked, ordinary: DhcpRepr<'_>) -> Option<Vec<u8>> {
    Some(reply(&ordinary))
}

fn silence(_: &Asked, _: DhcpRepr<'_>) -> Option<Vec<u8>> {
    None
}

fn kinds(asked: &[Asked]) -> Vec<DhcpMessageType> {
    asked.iter().map(|asked| asked.kind).collect()
}

#[test]
fn a_server_that_refuses_every_request_is_asked_ever_more_rarely() {
    let mut bench = Bench::new();
    bench.host.attach();
    let asked = bench.serve(Duration::from_secs(200), |asked, ordinary| {
        let refusal = DhcpRepr { message_type: DhcpMessageType::Nak, ..ordinary.clone() };
        Some(reply(if asked.kind == DhcpMessageType::Request { &refusal } else { &ordinary }))
    });
    assert_eq!(bench.address(), None);
    let starts: Vec<_> = asked
        .iter()
        .filter(|asked| asked.kind == DhcpMessageType::Discover)
        .map(|asked| asked.at)
        .collect();
    let pauses: Vec<_> = starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    // RFC 2131, section 4.1: 4 s, doubled up to 64 s, give or take something.
    for (pause, expected) in pauses.iter().zip([4, 8, 16, 32, 64]) {
        assert!((expected * 3 / 4 - 1..=expected * 5 / 4 + 1).contains(pause), "{pauses:?}");
    }
    assert!((4..=7).contains(&pauses.len()), "{pauses:?}");
}

#[test]
fn a_silent_server_is_asked_ever_more_rarely() {
    let mut bench = Bench::new();
    bench.host.attach();
    let asked = bench.serve(Duration::from_secs(200), silence);
    assert!((6..=10).contains(&asked.len()), "{asked:?}");
    assert!(asked[1].at - asked[0].at <= 2, "a lost packet costs no more than a second");
}

#[test]
fn what_a_renewal_does_not_say_is_as_it_was() {
    let mut bench = Bench::new();
    bench.host.attach();
    bench.serve(Duration::from_secs(1), answer);
    assert_eq!(bench.address().as_deref(), Some("10.0.2.15/24"));
    let asked = bench.serve(Duration::from_secs(u64::from(LEASE) * 5 / 4), |_, ordinary| {
        let short = DhcpRepr {
            subnet_mask: None,
            lease_duration: None,
            server_identifier: None,
            ..ordinary
        };
        Some(reply(&short))
    });
    assert_eq!(kinds(&asked), [DhcpMessageType::Request; 2]);
    assert_eq!((asked[0].client, asked[0].requested), (MINE, None));
    assert_eq!(bench.address().as_deref(), Some("10.0.2.15/24"));
    // Never said at all, it is that of the address's class.
    let mut bench = Bench::new();
    bench.host.attach();
    let unmasked = |_: &Asked, ordinary: DhcpRepr<'_>| {
        Some(reply(&DhcpRepr { subnet_mask: None, ..ordinary }))
    };
    bench.serve(Duration::from_secs(1), unmasked);
    assert_eq!(bench.address().as_deref(), Some("10.0.2.15/8"));
}

#[test]
fn routes_and_the_mtu_are_asked_for_and_used() {
    let classless =
        [&[0, 10, 0, 2, 7][..], &[24, 192, 0, 2, 10, 0, 2, 8], &[16, 172, 31, 0, 0, 0, 0]].concat();
    let of_class = [[192, 0, 2, 0], [10, 0, 2, 9]].concat();
    let mtu = DhcpOption { kind: 26, data: &[0x05, 0x14] };
    let statics = DhcpOption { kind: 33, data: &of_class };
    let classless = DhcpOption { kind: 121, data: &classless };
    let serve = |options: &[DhcpOption<'_>]| {
        let mut bench = Bench::new();
        bench.host.attach();
        let asked = bench.serve(Duration::from_secs(1), |_, ordinary| {
            Some(reply(&DhcpRepr { additional_options: options, ..ordinary }))
        });
        for option in [121, 33, 26] {
            assert!(asked.iter().all(|asked| asked.wanted.contains(&option)));
        }
        bench
    };
    let hops = |bench: &Bench| {
        ["8.8.8.8", "192.0.2.1", "172.31.5.5", "10.0.2.77"].map(|to| bench.next_hop(to).unwrap())
    };
    let bench = serve(&[mtu, statics]);
    assert_eq!(hops(&bench), ["10.0.2.2", "10.0.2.9", "10.0.2.2", "10.0.2.77"]);
    assert_eq!(bench.host.stack.with(|engine| engine.pair.device.mtu()), 1300);
    // Classless ones count instead of all others.
    let bench = serve(&[statics, classless]);
    assert_eq!(hops(&bench), ["10.0.2.7", "10.0.2.8", "172.31.5.5", "10.0.2.77"]);
    let gateway = bench.host.stack.lease().unwrap().gateway;
    assert_eq!(gateway, Some(Ipv4Address::new(10, 0, 2, 7)));
    assert_eq!(bench.host.stack.with(|engine| engine.pair.device.mtu()), 1500);
}

#[test]
fn a_gateway_outside_of_a_network_of_one_address() {
    let mut bench = Bench::new();
    bench.host.attach();
    bench.serve(Duration::from_secs(1), |_, ordinary| {
        let alone = Ipv4Address::BROADCAST;
        let gateway = Ipv4Address::new(172, 31, 1, 1);
        Some(reply(&DhcpRepr { subnet_mask: Some(alone), router: Some(gateway), ..ordinary }))
    });
    assert_eq!(bench.address().as_deref(), Some("10.0.2.15/32"));
    assert_eq!(bench.next_hop("8.8.8.8").as_deref(), Some("172.31.1.1"));
    assert_eq!(bench.next_hop("172.31.1.1").as_deref(), Some("172.31.1.1"));
}

#[test]
fn a_link_that_flaps_keeps_lease_and_connections_while_the_server_is_silent() {
    let mut bench = Bench::new();
    let cable = bench.host.attach();
    bench.serve(Duration::from_secs(1), answer);
    let (mut world, _peer, client, server) = bench.connected();
    for _ in 0..3 {
        cable.set(false);
        world.idle(Duration::from_secs(2));
        cable.set(true);
        world.idle(Duration::from_secs(20));
        assert_eq!(bench.address().as_deref(), Some("10.0.2.15/24"));
    }
    let data = pattern(50_000);
    let ((), received) = world.run(LIMIT, join(send(&client, &data), receive(&server)));
    assert!(received == data);
}

#[test]
fn another_network_is_noticed_after_a_flap() {
    let mut bench = Bench::new();
    let cable = bench.host.attach();
    bench.serve(Duration::from_secs(1), answer);
    cable.set(false);
    bench.world.idle(Duration::from_secs(1));
    cable.set(true);
    // A server that says so: there is another address at once.
    let other = Ipv4Address::new(10, 0, 2, 77);
    let elsewhere = |asked: &Asked, ordinary: DhcpRepr<'_>| {
        let refusal = DhcpRepr { message_type: DhcpMessageType::Nak, ..ordinary.clone() };
        let wrong = asked.requested == Some(MINE) && asked.kind == DhcpMessageType::Request;
        Some(reply(&if wrong { refusal } else { DhcpRepr { your_ip: other, ..ordinary } }))
    };
    let asked = bench.serve(Duration::from_secs(2), elsewhere);
    assert_eq!((asked[0].kind, asked[0].requested), (DhcpMessageType::Request, Some(MINE)));
    assert_eq!(bench.address().as_deref(), Some("10.0.2.77/24"));
    // One that does not know the lease is silent (RFC 2131, section 4.3.2), and found anew.
    cable.set(false);
    bench.world.idle(Duration::from_secs(1));
    cable.set(true);
    bench.serve(Duration::from_secs(30), |asked, ordinary| {
        let unknown = asked.requested == Some(other) && asked.kind == DhcpMessageType::Request;
        (!unknown).then(|| reply(&ordinary))
    });
    assert_eq!(bench.address().as_deref(), Some("10.0.2.15/24"));
}

#[test]
fn an_address_that_is_refused_and_granted_again_keeps_its_connections() {
    let mut bench = Bench::new();
    bench.host.attach();
    bench.serve(Duration::from_secs(1), answer);
    let (mut world, peer, client, server) = bench.connected();

    // The server is there again, and refuses to renew.
    bench.world.now = world.now;
    bench.serve(Duration::from_secs(u64::from(LEASE) / 2 + 1), |asked, ordinary| {
        let refusal = DhcpRepr { message_type: DhcpMessageType::Nak, ..ordinary };
        (asked.client == MINE).then(|| reply(&refusal))
    });
    assert_eq!(bench.address(), None);
    // Both sides have something to say, and nothing is said from that address meanwhile.
    let say = |data: &mut [u8]| {
        data[..5].copy_from_slice(b"hello");
        (5, ())
    };
    let mut theirs = World::new(&[&peer]);
    theirs.now = bench.world.now;
    theirs.run(LIMIT, client.write_with(say)).unwrap();
    theirs.idle(Duration::from_secs(1));
    bench.world.run(LIMIT, server.write_with(say)).unwrap();
    bench.world.idle(Duration::from_secs(3));
    let mut questions = 0;
    while let Some(frame) = bench.from.take() {
        assert!(understand(&frame, 0).is_some(), "{frame:02x?} was sent");
        questions += 1;
    }
    assert!(questions > 0, "no server was asked");

    bench.serve(Duration::from_secs(60), answer);
    assert_eq!(bench.address().as_deref(), Some("10.0.2.15/24"));
    world.now = bench.world.now;
    let data = pattern(50_000);
    let ((), received) = world.run(LIMIT, join(send(&client, &data), receive(&server)));
    assert!(received == [b"hello", &data[..]].concat());
}

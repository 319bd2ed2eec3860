//! Packets for the network stack: any frames, and the messages it takes addresses and names from.
//!
//! Each step of an input is a frame or a message. The low bits of its control byte say how much
//! time passes afterwards ([`link::time_of`](crate::link::time_of)), the others are the constants
//! here. The input's first byte is no step: with its bit 0 the NIC checks no sums.

use std::future::pending;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use godwit::futures::join::join5;
use godwit::futures::yield_now;
use godwit::time::Duration;
use smoltcp::wire::{
    EthernetFrame, EthernetProtocol, Icmpv4Packet, Icmpv6Packet, IgmpPacket, IpProtocol,
    Ipv4Packet, Ipv6Packet, TcpPacket, UdpPacket,
};
use unikernel::net::{
    Addressing6, Buffers, Config, Family, Stack, TcpListener, TcpStream, UdpFrames, UdpSocket,
};

use crate::link::{MAC, World, time_of};
use crate::packets::{self, ADDRESS, PEER, PEER_MAC, TCP_PORT, UDP_PORT};
use crate::steps::steps;

/// The cable is pulled out, or plugged in again, instead.
pub(crate) const LINK: u8 = 3;
/// The bytes go on the wire as they are. Else what the sender of a forged packet would see to is
/// seen to: station address, sums, and the numbers that the stack has sent.
pub(crate) const AS_IS: u8 = 4;

const BUFFERS: Buffers = Buffers { receive: 4096, transmit: 4096 };
/// More than there are: the link-local one, and five prefixes.
const MOST_ADDRESSES: usize = 7;
/// Longest time after which a stack that is left alone answers.
const RECOVERY: Duration = Duration::from_secs(2);

fn config(addressing: &str, addressing6: Addressing6) -> Config {
    let addressing = addressing.parse().expect("an address");
    let name_servers = PEER.to_string().parse().expect("an address");
    Config { addressing, addressing6, name_servers, ..Config::default() }
}

/// What an application does with a stack.
async fn program(stack: Stack) {
    let listener = TcpListener::bind(&stack, TCP_PORT, 4, BUFFERS).expect("a port");
    let serve = async || {
        loop {
            talk(listener.accept().await).await;
        }
    };
    let socket = UdpSocket::bind(&stack, UDP_PORT, 16, 16 * 1024).expect("a port");
    let echo = async {
        loop {
            let mut from = Vec::new();
            socket.receive_each(|peer, payload| from.push((peer, payload.len()))).await;
            for (peer, len) in from {
                // Where nobody can be it is refused.
                let _ = socket.send_with(peer, len, |room| room.fill(1)).await;
            }
        }
    };
    let in_place = UdpFrames::bind(&stack, UDP_PORT + 1, 16).expect("a port");
    let take = async {
        loop {
            in_place.recv_each(|datagram| assert!(datagram.len() <= 0xffff)).await;
        }
    };
    let connect = async {
        loop {
            let peer = SocketAddr::from((PEER, TCP_PORT));
            if let Ok(stream) = TcpStream::connect(&stack, peer, BUFFERS).await {
                talk(stream).await;
            }
            yield_now().await;
        }
    };
    stack.join_multicast(Ipv4Addr::new(239, 1, 2, 3).into()).expect("a group");
    join5(serve(), serve(), echo, take, connect).await;
}

/// Sends a little and closes, and takes what comes.
async fn talk(stream: TcpStream) {
    let say = stream.write_with(|room| {
        let len = room.len().min(3000);
        room[..len].fill(b'x');
        (len, ())
    });
    // It may break at any point.
    if say.await.is_ok() {
        stream.close();
        while let Ok(Some(())) = stream.read_with(|data| (data.len(), ())).await {}
    }
}

/// Frames, of any kind.
pub(crate) fn frames(input: &[u8]) {
    let Some((&first, input)) = input.split_first() else { return };
    let config = config(&format!("{ADDRESS}/24"), Addressing6::Auto);
    World::run(config, first & 1 == 0, program, |world, mut program| {
        world.pass(Duration::from_millis(1), program.as_mut());
        let mut numbers = Numbers::default();
        for step in steps(input) {
            if step.has(LINK) {
                world.toggle_link();
            } else if step.has(AS_IS) {
                world.send(step.bytes);
            } else {
                let mut frame = step.bytes.to_vec();
                mend(&mut frame, &numbers);
                world.send(&frame);
            }
            world.pass(time_of(step.control), program.as_mut());
            world.take().iter().for_each(|frame| numbers.note(frame));
            check_addresses(world);
        }
        // Left alone, it answers whoever comes.
        world.set_link(true);
        world.pass(RECOVERY, program.as_mut());
        world.take();
        world.send(&packets::who_has(ADDRESS, [2, 0, 0, 0, 0, 0x77], [10, 0, 0, 77]));
        world.pass(Duration::from_millis(4), program.as_mut());
        let is_answer =
            |frame: &Vec<u8>| frame[..6] == [2, 0, 0, 0, 0, 0x77] && frame[12..14] == [8, 6];
        assert!(world.take().iter().any(is_answer), "it does not say where it is");
    });
}

fn check_addresses(world: &World) {
    let addresses = world.stack().ipv6_addresses();
    assert!(addresses.len() < MOST_ADDRESSES, "{addresses:?}");
    for address in addresses {
        let address = address.address();
        assert!(!address.is_multicast() && !address.is_unspecified(), "{address}");
    }
}

/// What somebody on the way would know of the last TCP segment and the last question.
#[derive(Default)]
struct Numbers {
    acknowledged: i32,
    /// Port of the last datagram, and its first bytes.
    datagram: Option<(u16, [u8; 8])>,
}

impl Numbers {
    fn note(&mut self, frame: &[u8]) {
        let Ok(ethernet) = EthernetFrame::new_checked(frame) else { return };
        let Ok(ip) = Ipv4Packet::new_checked(ethernet.payload()) else { return };
        if ethernet.ethertype() != EthernetProtocol::Ipv4 || ip.frag_offset() != 0 {
            return;
        }
        match ip.next_header() {
            IpProtocol::Tcp => {
                if let Ok(tcp) = TcpPacket::new_checked(ip.payload()) {
                    self.acknowledged = (tcp.seq_number() + tcp.segment_len()).0;
                }
            }
            IpProtocol::Udp => {
                if let Ok(udp) = UdpPacket::new_checked(ip.payload())
                    && let Some(&first) = udp.payload().first_chunk()
                {
                    self.datagram = Some((udp.src_port(), first));
                }
            }
            _ => {}
        }
    }
}

/// Makes right what a sender would: the station address of the stack, unless it is one of a group,
/// acknowledgements, and the sums that no NIC looks at.
fn mend(frame: &mut [u8], numbers: &Numbers) {
    if frame.len() < 14 {
        return;
    }
    if frame[0] & 1 == 0 {
        frame[..6].copy_from_slice(&MAC);
    }
    let mut ethernet = EthernetFrame::new_unchecked(frame);
    match ethernet.ethertype() {
        EthernetProtocol::Ipv4 => {
            let Ok(mut ip) = Ipv4Packet::new_checked(ethernet.payload_mut()) else { return };
            ip.fill_checksum();
            let (from, to) = (ip.src_addr().into(), ip.dst_addr().into());
            match ip.next_header() {
                IpProtocol::Icmp => {
                    if let Ok(mut icmp) = Icmpv4Packet::new_checked(ip.payload_mut()) {
                        icmp.fill_checksum();
                    }
                }
                IpProtocol::Igmp => {
                    if let Ok(mut igmp) = IgmpPacket::new_checked(ip.payload_mut()) {
                        igmp.fill_checksum();
                    }
                }
                IpProtocol::Tcp => {
                    if let Ok(mut tcp) = TcpPacket::new_checked(ip.payload_mut()) {
                        if tcp.ack() {
                            tcp.set_ack_number(smoltcp::wire::TcpSeqNumber(numbers.acknowledged));
                        }
                        tcp.fill_checksum(&from, &to);
                    }
                }
                IpProtocol::Udp => {
                    if let Ok(mut udp) = UdpPacket::new_checked(ip.payload_mut()) {
                        udp.fill_checksum(&from, &to);
                    }
                }
                _ => {}
            }
        }
        EthernetProtocol::Ipv6 => {
            let Ok(mut ip) = Ipv6Packet::new_checked(ethernet.payload_mut()) else { return };
            let (from, to) = (ip.src_addr(), ip.dst_addr());
            if ip.next_header() == IpProtocol::Icmpv6
                && let Ok(mut icmp) = Icmpv6Packet::new_checked(ip.payload_mut())
            {
                icmp.fill_checksum(&from, &to);
            }
        }
        _ => {}
    }
}

/// Bodies of ICMPv6 messages that a router of the link sends to all.
pub(crate) fn advertisements(input: &[u8]) {
    let config = config("off", Addressing6::Auto);
    World::run(
        config,
        true,
        async |_| pending().await,
        |world, mut program| {
            for step in steps(input) {
                if step.has(LINK) {
                    world.toggle_link();
                } else {
                    let mut frame = packets::from_router(step.bytes);
                    mend(&mut frame, &Numbers::default());
                    world.send(&frame);
                }
                world.pass(time_of(step.control), program.as_mut());
                world.take();
                check_addresses(world);
            }
        },
    );
}

/// Messages of a DHCP server, to the machine as it asks for its first address and later.
pub(crate) fn dhcp(input: &[u8]) {
    let config = config("dhcp", Addressing6::Off);
    World::run(
        config,
        true,
        async |_| pending().await,
        |world, mut program| {
            let (mut numbers, mut sent, mut answers) = (Numbers::default(), 0, 0);
            for step in steps(input) {
                if step.has(LINK) {
                    world.toggle_link();
                } else if let Some((_, [_, _, _, _, transaction @ ..])) = numbers.datagram
                    && !step.has(AS_IS)
                {
                    let mut message = step.bytes.to_vec();
                    message.resize(message.len().max(240), 0);
                    message[4..8].copy_from_slice(&transaction);
                    message[28..34].copy_from_slice(&MAC);
                    world.send(&packets::from_dhcp_server(&message));
                } else {
                    world.send(&packets::from_dhcp_server(step.bytes));
                }
                answers += 1;
                world.pass(time_of(step.control), program.as_mut());
                for frame in world.take() {
                    numbers.note(&frame);
                    sent += usize::from(frame[12..14] == [8, 0]);
                }
                if let Some(lease) = world.stack().lease() {
                    let address = lease.address.address();
                    let is_host = !address.is_multicast()
                        && !address.is_broadcast()
                        && !address.is_unspecified()
                        && !address.is_loopback();
                    assert!(is_host, "{address} was taken");
                }
            }
            // Whatever it is told, it is no flood.
            let most = 10 + 3 * answers + world.elapsed().as_secs() as usize;
            assert!(sent <= most, "{sent} messages in {:?}, {answers} answers", world.elapsed());
        },
    );
}

/// Messages of a DNS server.
pub(crate) fn dns(input: &[u8]) {
    let config = config(&format!("{ADDRESS}/24"), Addressing6::Off);
    let ask = async |stack: Stack| {
        loop {
            match stack.resolve("a.example", Family::Any).await {
                Ok(IpAddr::V4(_) | IpAddr::V6(_)) | Err(_) => yield_now().await,
            }
        }
    };
    World::run(config, true, ask, |world, mut program| {
        let mut numbers = Numbers::default();
        for step in steps(input) {
            // The server is where it is said to be.
            world.send(&packets::is_at(PEER, PEER_MAC));
            world.pass(Duration::from_millis(4), program.as_mut());
            world.take().iter().for_each(|frame| numbers.note(frame));
            let mut message = step.bytes.to_vec();
            let (port, first) = numbers.datagram.unwrap_or_default();
            if !step.has(AS_IS) && message.len() >= 2 {
                message[..2].copy_from_slice(&first[..2]);
            }
            world.send(&packets::from_name_server(port, &message));
            world.pass(time_of(step.control), program.as_mut());
            world.take().iter().for_each(|frame| numbers.note(frame));
        }
    });
}

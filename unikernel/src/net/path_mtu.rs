//! How long packets to somebody may be (RFC 1191, RFC 8201): what routers say that could not pass
//! one on.
//!
//! smoltcp knows the interface's MTU alone. So what it sends is made to fit on its way out
//! ([`pieces`](super::pieces)), and new connections begin with segments of the right size.

use smoltcp::iface::Interface;
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{
    Icmpv4DstUnreachable, Icmpv4Message, Icmpv4Packet, Icmpv6Message, Icmpv6Packet, IpAddress,
    IpEndpoint, IpProtocol, Ipv4Packet, Ipv6Packet,
};

use super::fragments6;
use super::sockets::Sockets;

/// Destinations that are remembered. Beyond that the one goes that was learned first.
const DESTINATIONS: usize = 64;
/// How long; then a longer packet is tried (RFC 1191, section 6.3).
const VALID: Duration = Duration::from_secs(10 * 60);
/// What nobody can talk us below. IPv6 has no links with less (RFC 8200, section 5); for IPv4 it is
/// Linux's `min_pmtu`, and routers may cut what is longer than they said.
const LEAST_IPV4: u16 = 552;
const LEAST_IPV6: u16 = 1280;
/// What links can pass, for routers that do not say (RFC 1191, section 7).
const PLATEAUS: [u16; 7] = [32_000, 17_914, 8166, 4352, 2002, 1492, 1006];

/// How long packets to a destination may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Path {
    pub(super) mtu: u16,
    /// Routers may cut them.
    pub(super) may_be_cut: bool,
}

/// The paths that are narrower than the interface.
#[derive(Default)]
pub(super) struct Paths(heapless::Vec<(IpAddress, Path, Instant), DESTINATIONS>);

impl Paths {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The path to a destination, if it is known to be narrow.
    pub(super) fn to(&self, destination: IpAddress) -> Option<Path> {
        self.0.iter().find(|(to, ..)| *to == destination).map(|&(_, path, _)| path)
    }

    /// Forgets what was learned long ago.
    pub(super) fn expire(&mut self, now: Instant) {
        self.0.retain(|&(.., until)| now < until);
    }

    /// Takes in what a router says of a packet that one of these sockets has sent.
    pub(super) fn learn(
        &mut self,
        said: &TooBig,
        interface: &Interface,
        sockets: &Sockets,
        now: Instant,
    ) {
        // Who guesses a connection can do no worse than make its packets smaller.
        if !interface.has_ip_addr(said.from.addr) || !said.is_of(sockets) {
            return;
        }
        let path = said.path();
        self.expire(now);
        let known = self.to(said.to.addr);
        if known.is_some_and(|known| known.mtu <= path.mtu) {
            return;
        }
        self.0.retain(|(to, ..)| *to != said.to.addr);
        if self.0.is_full() {
            self.0.remove(0);
        }
        let _ = self.0.push((said.to.addr, path, now + VALID));
    }
}

/// "Fragmentation needed" or "packet too big", and what it quotes of the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooBig {
    /// 0 from routers that are older than RFC 1191.
    mtu: u32,
    protocol: IpProtocol,
    from: IpEndpoint,
    to: IpEndpoint,
    len: u16,
}

impl TooBig {
    /// Whether a packet may be one. For every received one, so quick.
    #[inline]
    pub(super) fn is_likely(packet: &[u8]) -> bool {
        match packet.first().map(|version| version >> 4) {
            Some(4) => packet.get(9) == Some(&1),
            Some(6) => packet.get(6) == Some(&58),
            _ => false,
        }
    }

    /// Reads it.
    pub(super) fn parse(packet: &[u8]) -> Option<Self> {
        match packet.first()? >> 4 {
            4 => {
                let ip = Ipv4Packet::new_checked(packet).ok()?;
                let icmp = Icmpv4Packet::new_checked(ip.payload()).ok()?;
                let needed = u8::from(Icmpv4DstUnreachable::FragRequired);
                let is_it = icmp.msg_type() == Icmpv4Message::DstUnreachable
                    && icmp.msg_code() == needed
                    && icmp.verify_checksum();
                // RFC 1191, section 4: the low half of what was unused.
                let mtu = ip.payload().get(6..8).filter(|_| is_it)?;
                let quoted = Ipv4Packet::new_unchecked(icmp.data());
                let header = *icmp.data().first()? as usize % 16 * 4;
                let ports = icmp.data().get(header.max(20)..)?.first_chunk()?;
                Some(Self {
                    mtu: u16::from_be_bytes([mtu[0], mtu[1]]).into(),
                    protocol: quoted.next_header(),
                    from: endpoint(quoted.src_addr().into(), ports, 0),
                    to: endpoint(quoted.dst_addr().into(), ports, 2),
                    len: quoted.total_len(),
                })
            }
            6 => {
                let ip = Ipv6Packet::new_checked(packet).ok()?;
                let icmp = Icmpv6Packet::new_checked(ip.payload()).ok()?;
                let is_it = icmp.msg_type() == Icmpv6Message::PktTooBig
                    && icmp.verify_checksum(&ip.src_addr(), &ip.dst_addr());
                let (mtu, data) = ip.payload().get(4..).filter(|_| is_it)?.split_first_chunk()?;
                let (header, data) = data.split_at_checked(40)?;
                let quoted = Ipv6Packet::new_unchecked(header);
                let (protocol, data) = match quoted.next_header() {
                    IpProtocol::Ipv6Frag => fragments6::first_of(data)?,
                    protocol => (protocol, data),
                };
                let ports = data.first_chunk()?;
                Some(Self {
                    mtu: u32::from_be_bytes(*mtu),
                    protocol,
                    from: endpoint(quoted.src_addr().into(), ports, 0),
                    to: endpoint(quoted.dst_addr().into(), ports, 2),
                    len: quoted.payload_len().saturating_add(40),
                })
            }
            _ => None,
        }
    }

    /// Whether one of these sockets may have sent the packet.
    fn is_of(&self, sockets: &Sockets) -> bool {
        match self.protocol {
            IpProtocol::Tcp => sockets.connections.has(self.from, self.to),
            IpProtocol::Udp => sockets.has_udp(self.from.port),
            _ => false,
        }
    }

    fn path(&self) -> Path {
        let mtu = match self.mtu {
            0 => PLATEAUS.into_iter().find(|&mtu| mtu < self.len).unwrap_or(LEAST_IPV4),
            mtu => u16::try_from(mtu).unwrap_or(u16::MAX),
        };
        match self.to.addr {
            IpAddress::Ipv4(_) => Path { mtu: mtu.max(LEAST_IPV4), may_be_cut: mtu < LEAST_IPV4 },
            IpAddress::Ipv6(_) => Path { mtu: mtu.max(LEAST_IPV6), may_be_cut: false },
        }
    }
}

fn endpoint(address: IpAddress, ports: &[u8; 4], at: usize) -> IpEndpoint {
    IpEndpoint::new(address, u16::from_be_bytes([ports[at], ports[at + 1]]))
}

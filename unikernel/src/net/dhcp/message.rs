//! What is sent to DHCP servers, and what they answer.

use smoltcp::time::Duration;
use smoltcp::wire::{
    DHCP_CLIENT_PORT, DHCP_SERVER_PORT, DhcpMessageType, DhcpOption, DhcpPacket, DhcpRepr,
    EthernetAddress, IpProtocol, Ipv4Address, Ipv4Cidr, Ipv4Packet, UdpPacket,
};

/// Routes that are kept of an answer.
const ROUTES: usize = 16;
/// Name servers that are.
const NAME_SERVERS: usize = 3;
/// Options, by the numbers of RFC 2132; the last of RFC 3442.
const MASK: u8 = 1;
const ROUTER: u8 = 3;
const NAME_SERVER: u8 = 6;
const MTU: u8 = 26;
const STATIC_ROUTES: u8 = 33;
const LEASE_TIME: u8 = 51;
const MESSAGE_TYPE: u8 = 53;
const SERVER: u8 = 54;
const RENEWAL_TIME: u8 = 58;
const REBINDING_TIME: u8 = 59;
const CLASSLESS_ROUTES: u8 = 121;
/// What is asked for. Classless routes come first, or a server may leave them out (RFC 3442).
const WANTED: [u8; 6] = [CLASSLESS_ROUTES, MASK, ROUTER, NAME_SERVER, MTU, STATIC_ROUTES];
/// The smallest MTU that IPv4 has (RFC 791), and so the option (RFC 2132, section 5.1).
const SHORTEST_MTU: u16 = 68;
const UDP: u8 = 17;

/// A message for a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::net) struct Message {
    pub(super) kind: DhcpMessageType,
    pub(super) transaction: u32,
    /// Seconds since the client began to look for an address.
    pub(super) seconds: u16,
    /// The address in use, which the server can answer to.
    pub(super) client: Ipv4Address,
    /// The address that is wished for.
    pub(super) requested: Option<Ipv4Address>,
    /// The server whose offer is taken.
    pub(super) server: Option<Ipv4Address>,
    pub(super) destination: Ipv4Address,
}

impl Message {
    /// Where it comes from, and where it goes.
    pub(in crate::net) fn ends(&self) -> (Ipv4Address, Ipv4Address) {
        (self.client, self.destination)
    }

    /// Calls `f` with it as smoltcp writes it.
    pub(in crate::net) fn with<R>(
        &self,
        mac: EthernetAddress,
        f: impl FnOnce(&DhcpRepr<'_>) -> R,
    ) -> R {
        f(&DhcpRepr {
            message_type: self.kind,
            transaction_id: self.transaction,
            secs: self.seconds,
            client_hardware_address: mac,
            client_ip: self.client,
            your_ip: Ipv4Address::UNSPECIFIED,
            server_ip: Ipv4Address::UNSPECIFIED,
            router: None,
            subnet_mask: None,
            relay_agent_ip: Ipv4Address::UNSPECIFIED,
            broadcast: false,
            requested_ip: self.requested,
            client_identifier: Some(mac),
            server_identifier: self.server,
            parameter_request_list: Some(&WANTED),
            dns_servers: None,
            // Ethernet's MTU without the headers of IP and UDP.
            max_size: Some(1472),
            lease_duration: None,
            renew_duration: None,
            rebind_duration: None,
            additional_options: &[],
        })
    }
}

/// What a server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::net) struct Reply {
    pub(super) kind: DhcpMessageType,
    pub(super) transaction: u32,
    pub(super) server: Option<Ipv4Address>,
    pub(super) address: Ipv4Address,
    pub(super) prefix_len: Option<u8>,
    /// Networks, and the routers to them; none for one that is on the link.
    pub(super) routes: heapless::Vec<(Ipv4Cidr, Option<Ipv4Address>), ROUTES>,
    pub(super) mtu: Option<u16>,
    pub(super) name_servers: heapless::Vec<Ipv4Address, NAME_SERVERS>,
    pub(super) lease: Option<Duration>,
    pub(super) renewal: Option<Duration>,
    pub(super) rebinding: Option<Duration>,
}

impl Reply {
    /// Whether an IPv4 packet may be one. For every received one while an address comes by DHCP.
    #[inline]
    pub(in crate::net) fn is_likely(packet: &[u8]) -> bool {
        let &[head, ..] = packet else { return false };
        let udp = usize::from(head & 0xf) * 4;
        let [server, client] = [DHCP_SERVER_PORT, DHCP_CLIENT_PORT].map(u16::to_be_bytes);
        packet.get(9) == Some(&UDP)
            && packet.get(udp..udp + 2) == Some(&server)
            && packet.get(udp + 2..udp + 4) == Some(&client)
    }

    /// Reads one for this station; `verified` that the NIC has found its checksums to be right.
    #[cold]
    pub(in crate::net) fn parse(
        packet: &[u8],
        mac: EthernetAddress,
        verified: bool,
    ) -> Option<Self> {
        let ip = Ipv4Packet::new_checked(packet).ok()?;
        let is_whole = ip.version() == 4 && !ip.more_frags() && ip.frag_offset() == 0;
        let (from, to) = (ip.src_addr().into(), ip.dst_addr().into());
        let udp = UdpPacket::new_checked(ip.payload()).ok()?;
        let valid = verified || ip.verify_checksum() && udp.verify_checksum(&from, &to);
        let udp = Some(udp).filter(|_| is_whole && valid && ip.next_header() == IpProtocol::Udp)?;
        let packet = DhcpPacket::new_checked(udp.payload()).ok()?;
        // Chaddr, magic number and message type are checked here.
        let dhcp = DhcpRepr::parse(&packet).ok()?;
        if dhcp.client_hardware_address != mac {
            return None;
        }
        let mut reply = Self {
            kind: dhcp.message_type,
            transaction: dhcp.transaction_id,
            server: None,
            address: dhcp.your_ip,
            prefix_len: None,
            routes: heapless::Vec::new(),
            mtu: None,
            name_servers: heapless::Vec::new(),
            lease: None,
            renewal: None,
            rebinding: None,
        };
        packet.options().for_each(|option| reply.take(option));
        reply.take_routes(&packet);
        Some(reply)
    }

    fn take(&mut self, DhcpOption { kind, data }: DhcpOption<'_>) {
        let time = || Some(Duration::from_secs(u32::from_be_bytes(*data.first_chunk()?).into()));
        match kind {
            MESSAGE_TYPE => {}
            SERVER => self.server = addresses(data).next(),
            MASK => self.prefix_len = addresses(data).next().and_then(prefix_len),
            NAME_SERVER => {
                self.name_servers = addresses(data).filter(is_host).take(NAME_SERVERS).collect();
            }
            MTU => {
                let mtu = data.first_chunk().map(|octets| u16::from_be_bytes(*octets));
                self.mtu = mtu.filter(|&mtu| mtu >= SHORTEST_MTU);
            }
            LEASE_TIME => self.lease = time(),
            RENEWAL_TIME => self.renewal = time(),
            REBINDING_TIME => self.rebinding = time(),
            _ => {}
        }
    }

    /// Takes the routes: classless ones, or else, as RFC 3442 has it, router and static routes.
    fn take_routes(&mut self, packet: &DhcpPacket<&[u8]>) {
        let option = |kind| packet.options().find(|option| option.kind == kind);
        if let Some(classless) = option(CLASSLESS_ROUTES) {
            self.routes = classless_routes(classless.data).take(ROUTES).collect();
            return;
        }
        let router = option(ROUTER).and_then(|option| addresses(option.data).find(is_host));
        let default = router.map(|router| (DEFAULT, Some(router)));
        let of_class = option(STATIC_ROUTES).map(|option| {
            let pairs = option.data.chunks_exact(8);
            pairs.filter_map(|pair| {
                let [to, router] = [addresses(pair).next()?, addresses(pair).nth(1)?];
                let network = Ipv4Cidr::new(to, class_prefix_len(to));
                // One to a host has more than the network in it.
                let is_network = network.network().address() == to;
                let network = if is_network { network } else { Ipv4Cidr::new(to, 32) };
                // The default route is not to be in it (RFC 2132, section 5.8).
                (!to.is_unspecified() && is_host(&router)).then_some((network, Some(router)))
            })
        });
        self.routes =
            default.into_iter().chain(of_class.into_iter().flatten()).take(ROUTES).collect();
    }
}

const DEFAULT: Ipv4Cidr = Ipv4Cidr::new(Ipv4Address::UNSPECIFIED, 0);

fn addresses(data: &[u8]) -> impl Iterator<Item = Ipv4Address> {
    data.as_chunks::<4>().0.iter().map(|&octets| octets.into())
}

/// Whether a machine on a network can have it.
pub(super) fn is_host(address: &Ipv4Address) -> bool {
    !address.is_unspecified()
        && !address.is_loopback()
        && !address.is_multicast()
        && !address.is_broadcast()
}

/// The length of the prefix that a netmask stands for.
fn prefix_len(mask: Ipv4Address) -> Option<u8> {
    let bits = mask.to_bits();
    let len = bits.leading_ones();
    (len > 0 && bits.trailing_zeros() + len == 32).then_some(len as u8)
}

/// The length of the prefix that an address had when there were classes (RFC 791, section 3.2).
pub(super) fn class_prefix_len(address: Ipv4Address) -> u8 {
    match address.octets()[0] {
        0..=127 => 8,
        128..=191 => 16,
        _ => 24,
    }
}

/// The routes of option 121: of a destination, its prefix's length and as many octets as that has
/// bits in, then a router, 0.0.0.0 for networks on the link (RFC 3442).
fn classless_routes(data: &[u8]) -> impl Iterator<Item = (Ipv4Cidr, Option<Ipv4Address>)> {
    let mut rest = data;
    core::iter::from_fn(move || {
        let (&len, following) = rest.split_first().filter(|&(&len, _)| len <= 32)?;
        let (significant, following) = following.split_at_checked(usize::from(len).div_ceil(8))?;
        let (router, following) = following.split_first_chunk::<4>()?;
        rest = following;
        let mut network = [0; 4];
        network[..significant.len()].copy_from_slice(significant);
        let network = Ipv4Cidr::new(network.into(), len).network();
        let router = Ipv4Address::from(*router);
        Some((network, (!router.is_unspecified()).then_some(router)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn classless_routes_as_in_the_standard() {
        let data = [
            &[0, 10, 0, 0, 1][..],
            &[8, 10, 10, 0, 0, 1],
            &[24, 10, 0, 0, 10, 0, 0, 1],
            &[25, 10, 229, 0, 128, 0, 0, 0, 0],
            &[32, 10, 198, 122, 47, 10, 0, 0, 1],
        ]
        .concat();
        let text = |(network, router): (Ipv4Cidr, Option<Ipv4Address>)| {
            let router = router.map(|router| router.to_string());
            std::format!("{network} {}", router.as_deref().unwrap_or("link"))
        };
        let routes = [
            "0.0.0.0/0 10.0.0.1",
            "10.0.0.0/8 10.0.0.1",
            "10.0.0.0/24 10.0.0.1",
            "10.229.0.128/25 link",
            "10.198.122.47/32 10.0.0.1",
        ];
        assert_eq!(classless_routes(&data).map(text).collect::<Vec<_>>(), routes);
        // Whatever is cut off or wrong ends them.
        for len in 0..data.len() {
            assert!(classless_routes(&data[..len]).count() < routes.len());
        }
        assert_eq!(classless_routes(&[33, 1, 2, 3, 4, 5, 10, 0, 0, 1]).count(), 0);
    }

    #[test]
    fn netmasks_have_their_ones_in_front() {
        let len = |mask: &str| prefix_len(mask.parse().unwrap());
        assert_eq!(len("255.255.255.0"), Some(24));
        assert_eq!(len("255.255.255.255"), Some(32));
        assert_eq!([len("255.0.255.0"), len("0.0.0.0"), len("0.0.0.255")], [None; 3]);
    }
}

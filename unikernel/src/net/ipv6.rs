//! How the interface gets its IPv6 addresses: a link-local one always, others from the command line
//! or from routers (stateless address autoconfiguration, RFC 4862).
//!
//! smoltcp 0.14 has autoconfiguration of its own. It is not used: it keeps its state in the
//! interface, which does not outlive a change of NICs, and while it waits for no router the
//! interface reports no timer of any socket.
//!
//! Duplicate address detection is left out: the interface identifier is the station address, and
//! two stations with the same one have no working link in the first place.

use core::fmt;
use core::str::FromStr;

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{
    EthernetFrame, EthernetProtocol, Icmpv6Packet, Icmpv6Repr, IpProtocol, Ipv6Address, Ipv6Cidr,
    Ipv6Packet, NdiscPrefixInfoFlags, NdiscPrefixInformation, NdiscRepr,
};

/// RFC 4861, section 10.
const SOLICITATIONS: u8 = 3;
const SOLICITATION_INTERVAL: Duration = Duration::from_secs(4);
/// An unauthenticated router does not shorten a lifetime below this (RFC 4862, section 5.5.3).
const SHORTEST: Duration = Duration::from_secs(2 * 60 * 60);
/// Prefixes of routers that addresses are made for.
const PREFIXES: usize = 2;
/// What an interface identifier goes with.
const PREFIX_LEN: u8 = 64;
/// Of neighbour discovery (RFC 4861, section 6.1.2): it did not come through a router.
pub(super) const HOP_LIMIT: u8 = 255;
const IPV6_HEADER: usize = 40;
const NEXT_HEADER: usize = 20;
const ICMPV6_TYPE: usize = 14 + IPV6_HEADER;
const ROUTER_ADVERTISEMENT: u8 = 134;

/// `ip6=` of the command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Addressing6 {
    /// A link-local address, and what routers advertise.
    #[default]
    Auto,
    /// No IPv6.
    Off,
    /// A link-local address, and this one; the default route is what routers advertise.
    Static(Ipv6Cidr),
}

impl FromStr for Addressing6 {
    type Err = BadAddress6;

    fn from_str(text: &str) -> Result<Self, BadAddress6> {
        match text {
            "auto" => return Ok(Self::Auto),
            "off" => return Ok(Self::Off),
            _ => {}
        }
        let cidr: Ipv6Cidr = text.parse().map_err(|()| BadAddress6)?;
        let address = cidr.address();
        let usable = !address.is_unspecified() && !address.is_multicast() && !address.is_loopback();
        (usable && cidr.prefix_len() != 0).then_some(Self::Static(cidr)).ok_or(BadAddress6)
    }
}

/// Neither `auto` nor `off` nor a unicast IPv6 address with a prefix length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadAddress6;

impl fmt::Display for BadAddress6 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected auto, off or a unicast ADDR/LEN such as fd00::15/64")
    }
}

impl core::error::Error for BadAddress6 {}

/// The interface's IPv6 addresses and where they come from.
pub(super) struct Ipv6 {
    addressing: Addressing6,
    /// Prefixes that routers advertised, and until when they are valid.
    prefixes: heapless::Vec<(Ipv6Cidr, Instant), PREFIXES>,
    router: Option<(Ipv6Address, Instant)>,
    /// When to ask for a router, and how often still.
    solicit_at: Option<Instant>,
    solicitations: u8,
}

impl Ipv6 {
    pub(super) fn new(addressing: Addressing6) -> Self {
        let prefixes = heapless::Vec::new();
        Self { addressing, prefixes, router: None, solicit_at: None, solicitations: 0 }
    }

    /// Asks for routers (again), as when the link came up.
    pub(super) fn restart(&mut self, now: Instant) {
        if self.addressing != Addressing6::Off {
            (self.solicit_at, self.solicitations) = (Some(now), SOLICITATIONS);
        }
    }

    /// A router was asked for.
    pub(super) fn solicited(&mut self, now: Instant) {
        self.solicitations = self.solicitations.saturating_sub(1);
        self.solicit_at = (self.solicitations != 0).then_some(now + SOLICITATION_INTERVAL);
    }

    /// Takes in what a router said, and drops what is not valid any more. Returns whether that
    /// changed addresses or routes.
    pub(super) fn poll(&mut self, advertised: Option<Advertisement>, now: Instant) -> bool {
        let (prefixes, router) = (self.prefixes.len(), self.router());
        let mut changed = false;
        if let Some(advertisement) = advertised.filter(|_| self.addressing != Addressing6::Off) {
            self.solicit_at = None;
            changed = advertisement.prefix.is_some_and(|prefix| self.learn(&prefix, now));
            let lifetime = advertisement.router_lifetime;
            if lifetime != Duration::ZERO {
                self.router = Some((advertisement.router, now + lifetime));
            } else if router == Some(advertisement.router) {
                self.router = None;
            }
        }
        self.prefixes.retain(|&(_, until)| until > now);
        self.router = self.router.filter(|&(_, until)| until > now);
        changed || prefixes != self.prefixes.len() || router != self.router()
    }

    /// Returns whether the prefix is new.
    fn learn(&mut self, said: &NdiscPrefixInformation, now: Instant) -> bool {
        let usable = self.addressing == Addressing6::Auto
            && said.is_valid_prefix_info()
            && said.flags.contains(NdiscPrefixInfoFlags::ADDRCONF)
            && said.prefix_len == PREFIX_LEN
            && !said.prefix.is_multicast();
        if !usable {
            return false;
        }
        let prefix = Ipv6Cidr::new(said.prefix, PREFIX_LEN);
        let until = now + said.valid_lifetime;
        match self.prefixes.iter_mut().find(|(known, _)| *known == prefix) {
            Some((_, known)) => {
                *known = until.max((*known).min(now + SHORTEST));
                false
            }
            None => {
                said.valid_lifetime != Duration::ZERO && self.prefixes.push((prefix, until)).is_ok()
            }
        }
    }

    /// When [`poll`](Self::poll) has to run even if nothing happens.
    pub(super) fn poll_at(&self) -> Option<Instant> {
        let ends = self.prefixes.iter().map(|&(_, until)| until);
        ends.chain(self.router.map(|(_, until)| until)).min()
    }

    /// When a router is to be asked for, which takes a link.
    pub(super) fn solicit_at(&self) -> Option<Instant> {
        self.solicit_at
    }

    /// The addresses of a station.
    pub(super) fn addresses(&self, mac: [u8; 6]) -> impl Iterator<Item = Ipv6Cidr> {
        let on = self.addressing != Addressing6::Off;
        let link_local = on.then(|| Ipv6Cidr::new(link_local(mac), PREFIX_LEN));
        let given = match self.addressing {
            Addressing6::Static(address) => Some(address),
            _ => None,
        };
        let prefixes = self.prefixes.iter().map(|(prefix, _)| *prefix);
        let made = prefixes.map(move |prefix| Ipv6Cidr::new(address(prefix, mac), PREFIX_LEN));
        link_local.into_iter().chain(given).chain(made)
    }

    /// The default route.
    pub(super) fn router(&self) -> Option<Ipv6Address> {
        self.router.map(|(router, _)| router)
    }
}

/// The address that a station has by itself.
pub(super) fn link_local(mac: [u8; 6]) -> Ipv6Address {
    address(Ipv6Cidr::new(Ipv6Address::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), PREFIX_LEN), mac)
}

/// A prefix with the station's identifier, modified EUI-64 (RFC 4291, appendix A).
fn address(prefix: Ipv6Cidr, mac: [u8; 6]) -> Ipv6Address {
    let [a, b, c, d, e, f] = mac;
    let mut octets = prefix.address().octets();
    octets[8..].copy_from_slice(&[a ^ 0x02, b, c, 0xff, 0xfe, d, e, f]);
    Ipv6Address::from(octets)
}

/// What a router said.
#[derive(Clone, Copy, Debug)]
pub(super) struct Advertisement {
    router: Ipv6Address,
    router_lifetime: Duration,
    prefix: Option<NdiscPrefixInformation>,
}

impl Advertisement {
    /// Whether a frame may be one. For every received frame: three loads at most, one for all but
    /// IPv6.
    #[inline]
    pub(super) fn is_likely(frame: &[u8]) -> bool {
        frame.get(12..14) == Some(&[0x86, 0xdd])
            && frame.get(NEXT_HEADER) == Some(&58)
            && frame.get(ICMPV6_TYPE) == Some(&ROUTER_ADVERTISEMENT)
    }

    /// Reads a router advertisement (RFC 4861, section 6.1.2).
    #[cold]
    pub(super) fn parse(frame: &[u8]) -> Option<Self> {
        let ethernet = EthernetFrame::new_checked(frame).ok()?;
        let ip = Ipv6Packet::new_checked(ethernet.payload()).ok()?;
        let (source, destination) = (ip.src_addr(), ip.dst_addr());
        let genuine = ethernet.ethertype() == EthernetProtocol::Ipv6
            && ip.next_header() == IpProtocol::Icmpv6
            && ip.hop_limit() == HOP_LIMIT
            && source.is_unicast_link_local();
        if !genuine {
            return None;
        }
        let packet = Icmpv6Packet::new_checked(ip.payload()).ok()?;
        let checksums = ChecksumCapabilities::default();
        match Icmpv6Repr::parse(&source, &destination, &packet, &checksums).ok()? {
            Icmpv6Repr::Ndisc(NdiscRepr::RouterAdvert { router_lifetime, prefix_info, .. }) => {
                Some(Self { router: source, router_lifetime, prefix: prefix_info })
            }
            _ => None,
        }
    }
}

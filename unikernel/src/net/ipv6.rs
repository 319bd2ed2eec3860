//! How the interface gets its IPv6 addresses: a link-local one always, others from the command line
//! or from routers (stateless address autoconfiguration, RFC 4862).
//!
//! smoltcp 0.14 has autoconfiguration of its own. It is not used: it keeps its state in the
//! interface, which does not outlive a change of NICs, and while it waits for no router the
//! interface reports no timer of any socket.
//!
//! Every address is probed for before it is used (duplicate address detection, RFC 4862, section
//! 5.4), once: a link that was down for a moment, and a move of the machine, take none away.

use alloc::borrow::Cow;
use core::fmt;
use core::str::FromStr;

use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{Icmpv6Message, Ipv6Address, Ipv6Cidr};

use super::discovery::ADDRESSES;
use super::ndisc::Message;

/// RFC 4861, section 10.
const SOLICITATIONS: u8 = 3;
const SOLICITATION_INTERVAL: Duration = Duration::from_secs(4);
/// An unauthenticated router does not shorten a lifetime below this (RFC 4862, section 5.5.3).
const SHORTEST: Duration = Duration::from_secs(2 * 60 * 60);
/// How long others have to say that an address is theirs: RetransTimer, by default.
const PROBE: Duration = Duration::from_secs(1);
/// Prefixes of routers that are known at a time: what is left of the addresses there is room for,
/// an IPv4 one, the link-local one and one of the command line aside.
const PREFIXES: usize = ADDRESSES - 3;
/// What an interface identifier goes with.
const PREFIX_LEN: u8 = 64;
/// The shortest MTU that IPv6 has (RFC 8200, section 5).
const SHORTEST_MTU: usize = 1280;
/// Options of advertisements (RFC 4861, section 4.6).
const PREFIX_INFORMATION: u8 = 3;
const MTU: u8 = 5;
const ON_LINK: u8 = 1 << 7;
const AUTONOMOUS: u8 = 1 << 6;
const LINK_LOCAL: Ipv6Cidr = Ipv6Cidr::new(Ipv6Address::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10);
const EVERYWHERE: Ipv6Cidr = Ipv6Cidr::new(Ipv6Address::UNSPECIFIED, 0);

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

/// How far an address is from being used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    /// Others are to be asked whether they have it.
    Due,
    /// They were, and have until then to say so.
    Until(Instant),
    /// It is used.
    Unique,
    /// Somebody else has it.
    Duplicate,
}

/// What a router said of a network.
#[derive(Clone, Copy, Debug)]
struct Prefix {
    network: Ipv6Cidr,
    on_link: bool,
    /// An address is made of it.
    autonomous: bool,
    until: Instant,
}

/// The interface's IPv6 addresses and where they come from.
pub(super) struct Ipv6 {
    /// What lines on the console begin with.
    name: Cow<'static, str>,
    addressing: Addressing6,
    /// The station that the addresses were last made for.
    mac: Option<[u8; 6]>,
    prefixes: heapless::Vec<Prefix, PREFIXES>,
    router: Option<(Ipv6Address, Instant)>,
    mtu: Option<usize>,
    checks: heapless::Vec<(Ipv6Address, Check), ADDRESSES>,
    /// When to ask for a router, and how often still.
    solicit_at: Option<Instant>,
    solicitations: u8,
}

impl Ipv6 {
    pub(super) fn new(addressing: Addressing6, name: Cow<'static, str>) -> Self {
        Self {
            name,
            addressing,
            mac: None,
            prefixes: heapless::Vec::new(),
            router: None,
            mtu: None,
            checks: heapless::Vec::new(),
            solicit_at: None,
            solicitations: 0,
        }
    }

    /// Asks for routers (again), as when the link came up, and for the addresses that are not used
    /// yet.
    pub(super) fn restart(&mut self, elsewhere: bool, now: Instant) {
        if self.addressing != Addressing6::Off {
            (self.solicit_at, self.solicitations) = (Some(now), SOLICITATIONS);
        }
        if elsewhere {
            self.mtu = None;
        }
        for (_, check) in self.checks.iter_mut().filter(|(_, check)| *check != Check::Unique) {
            *check = Check::Due;
        }
    }

    /// A router was asked for.
    pub(super) fn solicited(&mut self, now: Instant) {
        self.solicitations = self.solicitations.saturating_sub(1);
        self.solicit_at = (self.solicitations != 0).then_some(now + SOLICITATION_INTERVAL);
    }

    /// Takes in what routers said, and who has an address of this station already; drops what is
    /// not valid any more. Returns whether that changed addresses, routes or groups.
    pub(super) fn poll(
        &mut self,
        advertised: &[Advertisement],
        duplicate: Option<Ipv6Address>,
        mac: [u8; 6],
        now: Instant,
    ) -> bool {
        let said_nothing = advertised.is_empty() && duplicate.is_none() && self.mac == Some(mac);
        if said_nothing && self.poll_at().is_none_or(|at| now < at) {
            return false;
        }
        self.mac = Some(mac);
        let before = (self.prefixes.len(), self.router(), self.mtu);
        let mut changed = false;
        let on = self.addressing != Addressing6::Off;
        for advertisement in advertised.iter().filter(|_| on) {
            self.solicit_at = None;
            for said in &advertisement.prefixes {
                changed |= self.learn(said, now);
            }
            let lifetime = advertisement.router_lifetime;
            if lifetime != Duration::ZERO {
                self.router = Some((advertisement.router, now + lifetime));
            } else if self.router() == Some(advertisement.router) {
                self.router = None;
            }
            self.mtu = advertisement.mtu.or(self.mtu);
        }
        self.prefixes.retain(|prefix| prefix.until > now);
        self.router = self.router.filter(|&(_, until)| until > now);
        changed |= before != (self.prefixes.len(), self.router(), self.mtu);
        changed | self.check(duplicate, mac, now)
    }

    /// Returns whether the prefix is new.
    fn learn(&mut self, said: &PrefixInformation, now: Instant) -> bool {
        let autonomous = said.autonomous
            && self.addressing == Addressing6::Auto
            && said.network.prefix_len() == PREFIX_LEN;
        let until = now + said.valid;
        match self.prefixes.iter_mut().find(|known| known.network == said.network) {
            Some(known) => {
                known.until = until.max(known.until.min(now + SHORTEST));
                false
            }
            None => {
                let on_link = said.on_link;
                let prefix = Prefix { network: said.network, on_link, autonomous, until };
                let usable = (on_link || autonomous) && said.valid != Duration::ZERO;
                usable && self.prefixes.push(prefix).is_ok()
            }
        }
    }

    /// Goes on with finding out which addresses can be used. Returns whether they or the tentative
    /// ones changed.
    fn check(&mut self, duplicate: Option<Ipv6Address>, mac: [u8; 6], now: Instant) -> bool {
        let candidates: heapless::Vec<_, ADDRESSES> =
            self.candidates(mac).map(|cidr| cidr.address()).take(ADDRESSES).collect();
        let before = self.checks.len();
        self.checks.retain(|(address, _)| candidates.contains(address));
        let mut changed = before != self.checks.len();
        for address in candidates {
            if self.checks.iter().all(|(known, _)| *known != address) {
                changed |= self.checks.push((address, Check::Due)).is_ok();
            }
        }
        for (address, check) in &mut self.checks {
            match *check {
                Check::Due | Check::Until(_) if duplicate == Some(*address) => {
                    crate::println!(
                        "{}: another station has {address}: it is not used until the link comes \
                         back; give one of them another MAC address",
                        self.name
                    );
                    (*check, changed) = (Check::Duplicate, true);
                }
                Check::Until(until) if now >= until => {
                    (*check, changed) = (Check::Unique, true);
                }
                _ => {}
            }
        }
        changed
    }

    /// An address that others are to be asked for, which takes a link. Call
    /// [`probed`](Self::probed) when that was done.
    pub(super) fn to_probe(&self) -> Option<Ipv6Address> {
        self.checks.iter().find(|(_, check)| *check == Check::Due).map(|&(address, _)| address)
    }

    pub(super) fn probed(&mut self, address: Ipv6Address, now: Instant) {
        for (_, check) in self.checks.iter_mut().filter(|(known, _)| *known == address) {
            *check = Check::Until(now + PROBE);
        }
    }

    /// When [`poll`](Self::poll) has to run even if nothing happens.
    pub(super) fn poll_at(&self) -> Option<Instant> {
        let checks = self.checks.iter().filter_map(|(_, check)| match check {
            Check::Until(until) => Some(*until),
            _ => None,
        });
        let prefixes = self.prefixes.iter().map(|prefix| prefix.until);
        prefixes.chain(self.router.map(|(_, until)| until)).chain(checks).min()
    }

    /// When a router is to be asked for, which takes a link.
    pub(super) fn solicit_at(&self) -> Option<Instant> {
        self.solicit_at
    }

    /// The addresses that a station would have.
    fn candidates(&self, mac: [u8; 6]) -> impl Iterator<Item = Ipv6Cidr> {
        let on = self.addressing != Addressing6::Off;
        let link_local = on.then(|| Ipv6Cidr::new(link_local(mac), PREFIX_LEN));
        let given = match self.addressing {
            Addressing6::Static(address) => Some(address),
            _ => None,
        };
        let prefixes = self.prefixes.iter().filter(|prefix| prefix.autonomous);
        let made = prefixes
            .map(move |prefix| Ipv6Cidr::new(address(prefix.network.address(), mac), PREFIX_LEN));
        link_local.into_iter().chain(given).chain(made)
    }

    fn check_of(&self, address: Ipv6Address) -> Option<Check> {
        self.checks.iter().find(|(known, _)| *known == address).map(|&(_, check)| check)
    }

    /// The addresses in use.
    pub(super) fn addresses(&self, mac: [u8; 6]) -> impl Iterator<Item = Ipv6Cidr> {
        self.candidates(mac).filter(|cidr| self.check_of(cidr.address()) == Some(Check::Unique))
    }

    /// The addresses that are going to be used unless somebody else has them.
    pub(super) fn tentative(&self) -> impl Iterator<Item = Ipv6Address> {
        let is_tentative = |check: &Check| matches!(check, Check::Due | Check::Until(_));
        self.checks.iter().filter(move |(_, check)| is_tentative(check)).map(|&(own, _)| own)
    }

    /// The default route.
    pub(super) fn router(&self) -> Option<Ipv6Address> {
        self.router.map(|(router, _)| router)
    }

    /// Networks, and the routers to them; none for one that is on the link.
    pub(super) fn routes(&self) -> impl Iterator<Item = (Ipv6Cidr, Option<Ipv6Address>)> {
        let on = self.addressing != Addressing6::Off;
        let given = match self.addressing {
            Addressing6::Static(address) => Some(network(address)),
            _ => None,
        };
        let advertised = self.prefixes.iter().filter(|prefix| prefix.on_link);
        let on_link = on.then_some(LINK_LOCAL).into_iter().chain(given);
        let on_link = on_link.chain(advertised.map(|prefix| prefix.network));
        let default = self.router().map(|router| (EVERYWHERE, Some(router)));
        on_link.map(|network| (network, None)).chain(default)
    }

    /// The longest packet on this link, if a router said so.
    pub(super) fn mtu(&self) -> Option<usize> {
        self.mtu
    }
}

/// The address that a station has by itself.
pub(super) fn link_local(mac: [u8; 6]) -> Ipv6Address {
    address(LINK_LOCAL.address(), mac)
}

/// A prefix with the station's identifier, modified EUI-64 (RFC 4291, appendix A).
fn address(prefix: Ipv6Address, mac: [u8; 6]) -> Ipv6Address {
    let [a, b, c, d, e, f] = mac;
    let mut octets = prefix.octets();
    octets[8..].copy_from_slice(&[a ^ 0x02, b, c, 0xff, 0xfe, d, e, f]);
    Ipv6Address::from(octets)
}

/// The network that an address is in.
fn network(address: Ipv6Cidr) -> Ipv6Cidr {
    let len = address.prefix_len();
    let mask = u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0);
    Ipv6Cidr::new(Ipv6Address::from_bits(address.address().to_bits() & mask), len)
}

/// What a router said.
#[derive(Clone, Debug)]
pub(super) struct Advertisement {
    router: Ipv6Address,
    router_lifetime: Duration,
    prefixes: heapless::Vec<PrefixInformation, PREFIXES>,
    mtu: Option<usize>,
}

/// What it said of a network.
#[derive(Clone, Copy, Debug)]
struct PrefixInformation {
    network: Ipv6Cidr,
    on_link: bool,
    autonomous: bool,
    valid: Duration,
}

impl PrefixInformation {
    /// Reads the option (RFC 4861, section 4.6.2).
    fn parse(option: &[u8]) -> Option<Self> {
        let (&[len, flags], rest) = option.split_first_chunk()?;
        let seconds = |at: usize| Some(u32::from_be_bytes(*rest.get(at..)?.first_chunk()?));
        let (valid, preferred) = (seconds(0)?, seconds(4)?);
        let prefix = Ipv6Address::from(*rest.get(12..)?.first_chunk::<16>()?);
        let usable = len <= 128
            && preferred <= valid
            && !prefix.is_multicast()
            && !prefix.is_unicast_link_local()
            && len != 0;
        usable.then(|| Self {
            network: network(Ipv6Cidr::new(prefix, len)),
            on_link: flags & ON_LINK != 0,
            autonomous: flags & AUTONOMOUS != 0,
            valid: Duration::from_secs(valid.into()),
        })
    }
}

impl Advertisement {
    /// Reads a router advertisement (RFC 4861, section 6.1.2).
    #[cold]
    pub(super) fn parse(packet: &[u8]) -> Option<Self> {
        let message = Message::parse(packet)?;
        let genuine =
            message.kind == Icmpv6Message::RouterAdvert && message.source.is_unicast_link_local();
        let lifetime = message.body.get(2..).filter(|_| genuine)?.first_chunk()?;
        let options = || message.options(12);
        let prefixes = options()
            .filter(|(kind, _)| *kind == PREFIX_INFORMATION)
            .filter_map(|(_, option)| PrefixInformation::parse(option));
        let mtu = options().find(|(kind, _)| *kind == MTU);
        let mtu = mtu.and_then(|(_, option)| option.get(2..)?.first_chunk());
        let mtu = mtu.and_then(|octets| usize::try_from(u32::from_be_bytes(*octets)).ok());
        Some(Self {
            router: message.source,
            router_lifetime: Duration::from_secs(u16::from_be_bytes(*lifetime).into()),
            prefixes: prefixes.take(PREFIXES).collect(),
            mtu: mtu.filter(|&mtu| mtu >= SHORTEST_MTU),
        })
    }
}

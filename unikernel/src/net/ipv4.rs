//! How the interface gets its IPv4 address: from the command line or by DHCP.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use core::fmt;
use core::str::FromStr;

use smoltcp::time::Instant;
use smoltcp::wire::{Ipv4Address, Ipv4Cidr};

use super::dhcp;

/// Everything, as a network.
const EVERYWHERE: Ipv4Cidr = Ipv4Cidr::new(Ipv4Address::UNSPECIFIED, 0);

/// `ip=` of the command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Addressing {
    /// Ask a DHCP server.
    #[default]
    Dhcp,
    /// No IPv4.
    Off,
    /// This address.
    Static(Ipv4Cidr),
}

impl FromStr for Addressing {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        match text {
            "dhcp" => return Ok(Self::Dhcp),
            "off" | "none" => return Ok(Self::Off),
            _ => {}
        }
        let cidr: Ipv4Cidr = text.parse().map_err(|()| BadAddress)?;
        let address = cidr.address();
        let usable = !address.is_unspecified()
            && !address.is_broadcast()
            && !address.is_multicast()
            && (1..=32).contains(&cidr.prefix_len());
        usable.then_some(Self::Static(cidr)).ok_or(BadAddress)
    }
}

/// Neither `dhcp` nor `off` nor a unicast IPv4 address with a prefix length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadAddress;

impl fmt::Display for BadAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected dhcp, off or a unicast ADDR/LEN such as 10.0.2.15/24")
    }
}

impl core::error::Error for BadAddress {}

/// The address in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Address and network.
    pub address: Ipv4Cidr,
    /// Default gateway.
    pub gateway: Option<Ipv4Address>,
}

/// The interface's IPv4 address and where it comes from.
pub(super) enum Ipv4 {
    /// There is none.
    Off,
    /// The command line.
    Static(Lease),
    /// A server.
    Dhcp(Box<dhcp::Client>),
}

impl Ipv4 {
    pub(super) fn new(
        addressing: Addressing,
        gateway: Option<Ipv4Address>,
        name: Cow<'static, str>,
        seed: u64,
    ) -> Self {
        match addressing {
            Addressing::Off => Self::Off,
            Addressing::Dhcp => Self::Dhcp(Box::new(dhcp::Client::new(name, seed))),
            Addressing::Static(address) => {
                // With a /32, every gateway is outside, and meant to be.
                if let Some(gateway) = gateway
                    && address.prefix_len() < 32
                    && !address.contains_addr(&gateway)
                {
                    crate::println!(
                        "{name}: gw={gateway} is outside of {}; it is looked for on the link all \
                         the same: mend gw= or ip= if that is a mistake",
                        address.network()
                    );
                }
                Self::Static(Lease { address, gateway })
            }
        }
    }

    fn held(&self) -> Option<&dhcp::Held> {
        match self {
            Self::Dhcp(client) => client.lease(),
            _ => None,
        }
    }

    pub(super) fn lease(&self) -> Option<Lease> {
        match self {
            Self::Off => None,
            Self::Static(lease) => Some(*lease),
            Self::Dhcp(client) => client.lease().map(|held| {
                let default = held.routes().iter().find(|(network, _)| *network == EVERYWHERE);
                Lease { address: held.address, gateway: default.and_then(|(_, router)| *router) }
            }),
        }
    }

    /// An address that DHCP has taken back, until there is another.
    pub(super) fn lost(&self) -> Option<Ipv4Cidr> {
        self.dhcp()?.lost()
    }

    /// Networks, and the routers to them; none for one that is on the link.
    pub(super) fn routes(&self) -> impl Iterator<Item = (Ipv4Cidr, Option<Ipv4Address>)> {
        let lease = self.lease();
        let own = lease.map(|lease| (lease.address.network(), None));
        let others = self.held().map(dhcp::Held::routes).unwrap_or_default();
        let gateway = lease.and_then(|lease| lease.gateway);
        let default = gateway.map(|gateway| (EVERYWHERE, Some(gateway)));
        own.into_iter().chain(others.iter().copied()).chain(default)
    }

    /// The DNS servers that DHCP named.
    pub(super) fn name_servers(&self) -> &[Ipv4Address] {
        self.held().map(dhcp::Held::name_servers).unwrap_or_default()
    }

    /// The longest packet on this network, if DHCP said so.
    pub(super) fn mtu(&self) -> Option<usize> {
        self.held()?.mtu().map(usize::from)
    }

    /// The DHCP client, where there is one.
    pub(super) fn dhcp(&self) -> Option<&dhcp::Client> {
        match self {
            Self::Dhcp(client) => Some(client),
            _ => None,
        }
    }

    pub(super) fn dhcp_mut(&mut self) -> Option<&mut dhcp::Client> {
        match self {
            Self::Dhcp(client) => Some(client),
            _ => None,
        }
    }

    /// Asks DHCP again, as after a link that was down: it may lead to another network now.
    pub(super) fn restart(&mut self, now: Instant) {
        if let Self::Dhcp(client) = self {
            client.restart(now);
        }
    }

    /// Takes in what DHCP has to say. Returns whether that changed anything.
    pub(super) fn poll(&mut self, replies: &[dhcp::Reply], now: Instant) -> bool {
        match self {
            Self::Dhcp(client) => client.poll(replies, now),
            _ => false,
        }
    }

    /// When [`poll`](Self::poll) has to run even if nothing happens.
    pub(super) fn poll_at(&self) -> Option<Instant> {
        self.dhcp()?.poll_at()
    }
}

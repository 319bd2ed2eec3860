//! How the interface gets its IPv4 address: from the command line or by DHCP.

use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::dhcpv4;
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{Ipv4Address, Ipv4Cidr};

/// How long an address stays while DHCP is asked again after the link came back.
///
/// Dropping it at once would reset every connection, although the answer nearly always is the same
/// address.
const RECONFIRM: Duration = Duration::from_secs(60);

/// `ip=` of the command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Addressing {
    /// Ask a DHCP server.
    #[default]
    Dhcp,
    /// This address.
    Static(Ipv4Cidr),
}

impl FromStr for Addressing {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        if text == "dhcp" {
            return Ok(Self::Dhcp);
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

/// Neither `dhcp` nor a unicast IPv4 address with a prefix length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadAddress;

impl fmt::Display for BadAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected dhcp or a unicast ADDR/LEN such as 10.0.2.15/24")
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
pub(super) struct Ipv4 {
    lease: Option<Lease>,
    dhcp: Option<SocketHandle>,
    /// DHCP was restarted: the old address goes at this time unless it is confirmed.
    drop_at: Option<Instant>,
    name_servers: Vec<Ipv4Address>,
}

impl Ipv4 {
    pub(super) fn new(
        addressing: Addressing,
        gateway: Option<Ipv4Address>,
        sockets: &mut SocketSet<'static>,
    ) -> Self {
        match addressing {
            Addressing::Static(address) => Self {
                lease: Some(Lease { address, gateway }),
                dhcp: None,
                drop_at: None,
                name_servers: Vec::new(),
            },
            Addressing::Dhcp => {
                let mut socket = dhcpv4::Socket::new();
                let mut retry = dhcpv4::RetryConfig::default();
                // The defaults suit radios. A lost first packet should not cost ten seconds of
                // boot.
                retry.discover_timeout = Duration::from_secs(1);
                retry.initial_request_timeout = Duration::from_secs(1);
                socket.set_retry_config(retry);
                let dhcp = Some(sockets.add(socket));
                Self { lease: None, dhcp, drop_at: None, name_servers: Vec::new() }
            }
        }
    }

    pub(super) fn lease(&self) -> Option<Lease> {
        self.lease
    }

    /// The DNS servers that DHCP named.
    pub(super) fn name_servers(&self) -> &[Ipv4Address] {
        &self.name_servers
    }

    /// Asks DHCP again, as after a link that was down: it may lead to another network now.
    pub(super) fn restart(&mut self, sockets: &mut SocketSet<'static>, now: Instant) {
        if let Some(handle) = self.dhcp {
            let socket = sockets.get_mut::<dhcpv4::Socket<'_>>(handle);
            socket.reset();
            self.drop_at = Some(now + RECONFIRM);
        }
    }

    /// Takes in what DHCP has to say. Returns whether that changed anything.
    pub(super) fn poll(&mut self, sockets: &mut SocketSet<'static>, now: Instant) -> bool {
        let Some(handle) = self.dhcp else { return false };
        let (lease, name_servers) = match sockets.get_mut::<dhcpv4::Socket<'_>>(handle).poll() {
            Some(dhcpv4::Event::Configured(config)) => {
                self.drop_at = None;
                let lease = Lease { address: config.address, gateway: config.router };
                (Some(lease), config.dns_servers.to_vec())
            }
            // The reset of `restart` reports this too, and is not meant.
            Some(dhcpv4::Event::Deconfigured) if self.drop_at.is_some() => return false,
            Some(dhcpv4::Event::Deconfigured) => (None, Vec::new()),
            None if self.drop_at.is_some_and(|at| now >= at) => {
                self.drop_at = None;
                (None, Vec::new())
            }
            None => return false,
        };
        let changed = lease != self.lease || name_servers != self.name_servers;
        (self.lease, self.name_servers) = (lease, name_servers);
        changed
    }

    /// When [`poll`](Self::poll) has to run even if nothing happens.
    pub(super) fn poll_at(&self) -> Option<Instant> {
        self.drop_at
    }
}

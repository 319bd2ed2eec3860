//! The interface's addresses and routes, of both families.

use smoltcp::iface::Interface;
use smoltcp::time::Instant;
use smoltcp::wire::{IpAddress, IpCidr, Ipv6Address, Ipv6Cidr};

use super::config::{Config, NameServers};
use super::dhcp;
use super::discovery::{ADDRESSES, Discovery};
use super::ipv4::{Ipv4, Lease};
use super::ipv6::{Advertisement, Ipv6};

/// Where addresses and routes come from, and which they are. They outlive the NIC.
pub(super) struct Addresses {
    ipv4: Ipv4,
    ipv6: Ipv6,
    name_servers: NameServers,
}

impl Addresses {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            ipv4: Ipv4::new(config.addressing, config.gateway, config.name.clone(), config.seed),
            ipv6: Ipv6::new(config.addressing6, config.name.clone()),
            name_servers: config.name_servers,
        }
    }

    /// The IPv4 address in use.
    pub(super) fn lease(&self) -> Option<Lease> {
        self.ipv4.lease()
    }

    /// Whether there is to be one.
    pub(super) fn has_ipv4(&self) -> bool {
        !matches!(self.ipv4, Ipv4::Off)
    }

    /// The IPv6 addresses in use of a station, the link-local one first.
    pub(super) fn ipv6(&self, mac: [u8; 6]) -> impl Iterator<Item = Ipv6Cidr> {
        self.ipv6.addresses(mac)
    }

    /// The DNS servers of the configuration, then DHCP's.
    pub(super) fn name_servers(&self) -> impl Iterator<Item = IpAddress> {
        let given = self.name_servers.iter().map(Into::into);
        given.chain(self.ipv4.name_servers().iter().map(|&server| server.into()))
    }

    /// The longest packet that the network takes, if it has said so.
    pub(super) fn mtu(&self) -> Option<usize> {
        self.ipv4.mtu().into_iter().chain(self.ipv6.mtu()).min()
    }

    /// The DHCP client, where there is one.
    pub(super) fn dhcp(&self) -> Option<&dhcp::Client> {
        self.ipv4.dhcp()
    }

    pub(super) fn dhcp_mut(&mut self) -> Option<&mut dhcp::Client> {
        self.ipv4.dhcp_mut()
    }

    /// Asks routers again. With `elsewhere`, the link may lead to another network than before: the
    /// lease is asked for again, too.
    pub(super) fn restart(&mut self, elsewhere: bool, now: Instant) {
        if elsewhere {
            self.ipv4.restart(now);
        }
        self.ipv6.restart(elsewhere, now);
    }

    /// Takes in what servers and routers have to say, and which address of station `mac` somebody
    /// else has. Returns whether anything changed; [`apply`](Self::apply) them then.
    pub(super) fn poll(
        &mut self,
        (advertised, replies): (&[Advertisement], &[dhcp::Reply]),
        duplicate: Option<Ipv6Address>,
        mac: [u8; 6],
        now: Instant,
    ) -> bool {
        self.ipv4.poll(replies, now) | self.ipv6.poll(advertised, duplicate, mac, now)
    }

    /// When [`poll`](Self::poll) has to run even if nothing happens.
    pub(super) fn poll_at(&self) -> Option<Instant> {
        self.ipv4.poll_at().into_iter().chain(self.ipv6.poll_at()).min()
    }

    /// When there is something to send, which takes a link: to DHCP servers, to routers, or to
    /// those who may have an address already.
    pub(super) fn send_at(&self) -> Option<Instant> {
        let dhcp = self.dhcp().and_then(dhcp::Client::send_at);
        let probe = self.ipv6.to_probe().map(|_| Instant::ZERO);
        dhcp.into_iter().chain(probe).chain(self.ipv6.solicit_at()).min()
    }

    /// When a router is to be asked for, which takes a link. Call [`solicited`](Self::solicited)
    /// when that was done.
    pub(super) fn solicit_at(&self) -> Option<Instant> {
        self.ipv6.solicit_at()
    }

    pub(super) fn solicited(&mut self, now: Instant) {
        self.ipv6.solicited(now);
    }

    /// An address that others are to be asked for, which takes a link. Call
    /// [`probed`](Self::probed) when that was done.
    pub(super) fn to_probe(&self) -> Option<Ipv6Address> {
        self.ipv6.to_probe()
    }

    pub(super) fn probed(&mut self, address: Ipv6Address, now: Instant) {
        self.ipv6.probed(address, now);
    }

    /// The addresses in use of a station: as many as Cargo.toml makes room for.
    pub(super) fn in_use(&self, mac: [u8; 6]) -> heapless::Vec<IpCidr, ADDRESSES> {
        let ipv4 = self.lease().map(|lease| IpCidr::Ipv4(lease.address));
        let ipv6 = self.ipv6(mac).map(IpCidr::Ipv6);
        ipv4.into_iter().chain(ipv6).take(ADDRESSES).collect()
    }

    /// Gives the interface its addresses, and the link its routes.
    ///
    /// smoltcp resets a connection whose address the interface lacks, and a server that refuses an
    /// address may grant it again. So the interface keeps one that was lost until there is another,
    /// and [`Discovery`] lets nothing of it pass in between.
    pub(super) fn apply(&self, interface: &mut Interface, discovery: &mut Discovery) {
        let lease = self.lease();
        let own = self.in_use(discovery.mac.0);
        let lost = self.ipv4.lost();
        interface.update_ip_addrs(|addresses| {
            addresses.clear();
            let lost = lost.map(IpCidr::Ipv4);
            addresses.extend(own.iter().copied().chain(lost).take(addresses.capacity()));
        });
        let own = own.iter().map(IpCidr::address);
        let broadcast = lease.and_then(|lease| lease.address.broadcast());
        discovery.set_own(own, broadcast, self.ipv6.tentative());
        discovery.lost = lost.map(|lost| lost.address());
        discovery.routes.clear();
        for (network, router) in self.ipv4.routes() {
            discovery.routes.add(network.into(), router.map(Into::into));
        }
        for (network, router) in self.ipv6.routes() {
            discovery.routes.add(network.into(), router.map(Into::into));
        }
    }
}

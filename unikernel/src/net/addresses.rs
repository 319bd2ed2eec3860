//! The interface's addresses and routes, of both families.

use alloc::vec::Vec;

use smoltcp::iface::{Interface, SocketSet};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr, Ipv4Address, Ipv6Cidr};

use super::config::{Config, NameServers};
use super::ipv4::{Ipv4, Lease};
use super::ipv6::{Advertisement, Ipv6};

/// Where addresses and routes come from, and which they are. They outlive the NIC.
pub(super) struct Addresses {
    ipv4: Ipv4,
    ipv6: Ipv6,
    name_servers: NameServers,
}

impl Addresses {
    pub(super) fn new(config: &Config, sockets: &mut SocketSet<'static>) -> Self {
        Self {
            ipv4: Ipv4::new(config.addressing, config.gateway, sockets),
            ipv6: Ipv6::new(config.addressing6),
            name_servers: config.name_servers,
        }
    }

    /// The IPv4 address in use.
    pub(super) fn lease(&self) -> Option<Lease> {
        self.ipv4.lease()
    }

    /// The IPv6 addresses of a station, the link-local one first.
    pub(super) fn ipv6(&self, mac: [u8; 6]) -> impl Iterator<Item = Ipv6Cidr> {
        self.ipv6.addresses(mac)
    }

    /// The DNS servers of the configuration, then DHCP's.
    pub(super) fn name_servers(&self) -> impl Iterator<Item = IpAddress> {
        let given = self.name_servers.iter().map(Into::into);
        given.chain(self.ipv4.name_servers().iter().map(|&server| server.into()))
    }

    /// Asks routers again. With `elsewhere`, the link may lead to another network than before: the
    /// lease is asked for again, too.
    pub(super) fn restart(
        &mut self,
        elsewhere: bool,
        sockets: &mut SocketSet<'static>,
        now: Instant,
    ) {
        if elsewhere {
            self.ipv4.restart(sockets, now);
        }
        self.ipv6.restart(now);
    }

    /// Takes in what servers and routers have to say. Returns whether anything changed;
    /// [`apply`](Self::apply) them then.
    pub(super) fn poll(
        &mut self,
        advertised: Option<Advertisement>,
        sockets: &mut SocketSet<'static>,
        now: Instant,
    ) -> bool {
        self.ipv4.poll(sockets, now) | self.ipv6.poll(advertised, now)
    }

    /// When [`poll`](Self::poll) has to run even if nothing happens.
    pub(super) fn poll_at(&self) -> Option<Instant> {
        self.ipv4.poll_at().into_iter().chain(self.ipv6.poll_at()).min()
    }

    /// When a router is to be asked for, which takes a link. Call [`solicited`](Self::solicited)
    /// when that was done.
    pub(super) fn solicit_at(&self) -> Option<Instant> {
        self.ipv6.solicit_at()
    }

    pub(super) fn solicited(&mut self, now: Instant) {
        self.ipv6.solicited(now);
    }

    /// Gives the interface its addresses and default routes.
    pub(super) fn apply(&self, interface: &mut Interface) {
        let mac = mac_of(interface);
        interface.update_ip_addrs(|addresses| {
            addresses.clear();
            let ipv4 = self.lease().map(|lease| IpCidr::Ipv4(lease.address));
            let ipv6 = self.ipv6(mac.0).map(IpCidr::Ipv6);
            // As many as Cargo.toml makes room for.
            addresses.extend(ipv4.into_iter().chain(ipv6).take(addresses.capacity()));
        });
        let routes = interface.routes_mut();
        routes.remove_default_ipv4_route();
        routes.remove_default_ipv6_route();
        // There is room for one of each family.
        if let Some(gateway) = self.lease().and_then(|lease| lease.gateway) {
            let _ = routes.add_default_ipv4_route(gateway);
        }
        if let Some(router) = self.ipv6.router() {
            let _ = routes.add_default_ipv6_route(router);
        }
    }

    /// Where packets for this host go, groups aside.
    pub(super) fn destinations(&self, interface: &Interface) -> Vec<IpAddress> {
        let own = interface.ip_addrs().iter().map(IpCidr::address);
        let network = self.lease().and_then(|lease| lease.address.broadcast());
        let broadcast = network.into_iter().chain([Ipv4Address::BROADCAST]).map(IpAddress::Ipv4);
        own.chain(broadcast).collect()
    }

    /// Whether there is an address to send from, and a route.
    pub(super) fn reaches(&self, to: IpAddress, interface: &Interface) -> bool {
        let mut on_link = interface.ip_addrs().iter();
        match to {
            IpAddress::Ipv4(address) => self.lease().is_some_and(|lease| {
                lease.gateway.is_some()
                    || lease.address.contains_addr(&address)
                    || address.is_broadcast()
                    || address.is_multicast()
            }),
            IpAddress::Ipv6(address) => {
                let any = on_link.clone().any(|cidr| matches!(cidr, IpCidr::Ipv6(_)));
                any && (self.ipv6.router().is_some()
                    || address.is_multicast()
                    || on_link.any(|cidr| cidr.contains_addr(&to)))
            }
        }
    }
}

/// The interface's station address.
pub(super) fn mac_of(interface: &Interface) -> EthernetAddress {
    match interface.hardware_addr() {
        HardwareAddress::Ethernet(mac) => mac,
        HardwareAddress::Ip => unreachable!("stacks have Ethernet interfaces"),
    }
}

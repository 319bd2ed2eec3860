//! Which neighbour a packet is handed to on its way: its receiver, or a router.

use smoltcp::wire::{IpAddress, IpCidr};

/// Networks on the link, and networks behind routers. More are ignored.
pub(super) const MOST: usize = 32;

/// Where packets go.
#[derive(Default)]
pub(super) struct Routes(heapless::Vec<(IpCidr, Option<IpAddress>), MOST>);

impl Routes {
    /// Forgets them all.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Adds one: by way of a router, or none if the network is on the link. The router itself need
    /// not be in a network on the link: a machine with a /32 of its own has it nowhere else (as
    /// hosting providers do it). Of two routes to the same network, the first counts.
    pub(super) fn add(&mut self, network: IpCidr, router: Option<IpAddress>) {
        // What there is no room for goes by a route that is less specific.
        let _ = self.0.push((network, router));
    }

    /// The neighbour that packets to an address are handed to, none if nothing leads there.
    #[inline]
    pub(super) fn next_hop(&self, to: IpAddress) -> Option<IpAddress> {
        let mut best: Option<(u8, Option<IpAddress>)> = None;
        for &(network, router) in &self.0 {
            let len = network.prefix_len();
            if best.is_none_or(|(found, _)| len > found) && contains(network, to) {
                best = Some((len, router));
            }
        }
        best.map(|(_, router)| router.unwrap_or(to))
    }

    /// Whether an address is a neighbour's: on the link, or that of a router.
    pub(super) fn is_neighbor(&self, address: IpAddress) -> bool {
        self.next_hop(address) == Some(address)
            || self.0.iter().any(|(_, router)| *router == Some(address))
            || matches!(address, IpAddress::Ipv6(address) if address.is_unicast_link_local())
    }
}

/// [`IpCidr::contains_addr`], which has every address of either family in a prefix of length 0.
fn contains(network: IpCidr, address: IpAddress) -> bool {
    network.address().version() == address.version() && network.contains_addr(&address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(all: &[(&str, Option<&str>)]) -> Routes {
        let mut routes = Routes::default();
        for (network, router) in all {
            routes.add(network.parse().unwrap(), router.map(|router| router.parse().unwrap()));
        }
        routes
    }

    #[test]
    fn the_longest_prefix_decides() {
        let routes = routes(&[
            ("10.0.0.0/24", None),
            ("0.0.0.0/0", Some("10.0.0.1")),
            ("10.9.0.0/16", Some("10.0.0.2")),
            ("10.9.9.0/24", None),
        ]);
        let hop = |to: &str| routes.next_hop(to.parse().unwrap()).unwrap().to_string();
        assert_eq!(hop("10.0.0.7"), "10.0.0.7");
        assert_eq!(hop("192.0.2.1"), "10.0.0.1");
        assert_eq!(hop("10.9.1.1"), "10.0.0.2");
        assert_eq!(hop("10.9.9.1"), "10.9.9.1");
        assert_eq!(routes.next_hop("fe80::1".parse().unwrap()), None);
    }

    #[test]
    fn a_gateway_outside_of_every_network_is_a_neighbour() {
        let routes = routes(&[("192.0.2.7/32", None), ("0.0.0.0/0", Some("172.31.1.1"))]);
        let [gateway, other] = ["172.31.1.1", "192.0.2.8"].map(|text| text.parse().unwrap());
        assert_eq!(routes.next_hop(other), Some(gateway));
        assert_eq!(routes.next_hop(gateway), Some(gateway));
        assert!(routes.is_neighbor(gateway) && !routes.is_neighbor(other));
    }
}

//! Groups the interface is a member of, and the NIC's filter for them.

use alloc::vec::Vec;

use smoltcp::wire::{
    IPV4_MULTICAST_ALL_SYSTEMS, IPV6_LINK_LOCAL_ALL_NODES, IpAddress, IpCidr, Ipv6Address,
};

use super::stack::{Inner, Stack};

/// Every IPv4 host is a member of the first (RFC 1112, section 4), every IPv6 node of the second (RFC 4291, section 2.7.1).
const EVERYBODY: [IpAddress; 2] =
    [IpAddress::Ipv4(IPV4_MULTICAST_ALL_SYSTEMS), IpAddress::Ipv6(IPV6_LINK_LOCAL_ALL_NODES)];

/// The group in which neighbours look for an address: FF02::1:FFxx:xxxx (RFC 4291, section 2.7.1).
fn solicited_node(address: Ipv6Address) -> IpAddress {
    let [.., high, low] = address.segments();
    IpAddress::v6(0xff02, 0, 0, 0, 0, 1, 0xff00 | high & 0xff, low)
}

/// Where frames to a group go.
pub(super) fn station(group: IpAddress) -> [u8; 6] {
    match group {
        // RFC 1112, section 6.4: the low 23 bits.
        IpAddress::Ipv4(group) => {
            let [_, b, c, d] = group.octets();
            [0x01, 0x00, 0x5e, b & 0x7f, c, d]
        }
        // RFC 2464, section 7: the low 32 bits.
        IpAddress::Ipv6(group) => {
            let [.., a, b, c, d] = group.octets();
            [0x33, 0x33, a, b, c, d]
        }
    }
}

impl Stack {
    /// Becomes a member of a multicast group: what is sent to it arrives at the sockets bound to its port. Members are
    /// told to routers by IGMP. Membership outlives the NIC.
    ///
    /// `false` if `group` is no multicast address, or there are too many groups.
    pub fn join_multicast(&self, group: IpAddress) -> bool {
        let inner = &mut *self.shared.inner.borrow_mut();
        let joined = inner.interface.join_multicast_group(group).is_ok();
        if joined && !inner.groups.contains(&group) {
            inner.groups.push(group);
            inner.apply_groups();
            self.shared.work.signal(());
        }
        joined
    }
}

impl Inner {
    /// Joins the groups on an interface that is new.
    pub(super) fn join_groups(&mut self) {
        for &group in &self.groups {
            // There was room for them on the interface before.
            let _ = self.interface.join_multicast_group(group);
        }
    }

    /// Has the NIC receive what is sent to the interface's groups. To be called when they change, or the interface's
    /// addresses, or the NIC.
    pub(super) fn apply_groups(&mut self) {
        let solicited = self.interface.ip_addrs().iter().filter_map(|cidr| match cidr {
            IpCidr::Ipv4(_) => None,
            IpCidr::Ipv6(cidr) => Some(solicited_node(cidr.address())),
        });
        let groups = EVERYBODY.into_iter().chain(solicited).chain(self.groups.iter().copied());
        let stations: Vec<_> = groups.map(station).collect();
        if let Some(nic) = &mut self.device.nic {
            nic.accept_multicast(&stations);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_have_the_stations_that_the_standard_gives_them() {
        assert_eq!(EVERYBODY.map(station), [[1, 0, 0x5e, 0, 0, 1], [0x33, 0x33, 0, 0, 0, 1]]);
        let group = IpAddress::v4(239, 255, 1, 2);
        assert_eq!(station(group), [1, 0, 0x5e, 0x7f, 1, 2]);
        let address = Ipv6Address::new(0xfe80, 0, 0, 0, 0x5054, 0xff, 0xfe67, 0x6f01);
        assert_eq!(station(solicited_node(address)), [0x33, 0x33, 0xff, 0x67, 0x6f, 0x01]);
    }
}

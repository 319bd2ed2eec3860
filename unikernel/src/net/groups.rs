//! Multicast groups: those that were joined, those everybody is in, and where frames to them go.

use alloc::vec::Vec;

use smoltcp::iface::Interface;
use smoltcp::wire::{
    IPV4_MULTICAST_ALL_SYSTEMS, IPV6_LINK_LOCAL_ALL_NODES, IpAddress, Ipv6Address,
};

use super::error::Error;

/// Every IPv4 host is a member of the first (RFC 1112, section 4), every IPv6 node of the second
/// (RFC 4291, section 2.7.1).
const EVERYBODY: [IpAddress; 2] =
    [IpAddress::Ipv4(IPV4_MULTICAST_ALL_SYSTEMS), IpAddress::Ipv6(IPV6_LINK_LOCAL_ALL_NODES)];

/// The group in which neighbours look for an address: FF02::1:FFxx:xxxx (RFC 4291, section 2.7.1).
pub(super) fn solicited_node(address: Ipv6Address) -> Ipv6Address {
    let [.., high, low] = address.segments();
    Ipv6Address::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | high & 0xff, low)
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

/// The groups that were joined. They outlive the NIC and its interface.
#[derive(Default)]
pub(super) struct Groups {
    joined: Vec<IpAddress>,
    /// Those in which neighbours look for our addresses.
    solicited: Vec<IpAddress>,
}

impl Groups {
    /// Becomes a member of a group. Returns whether it was none before.
    pub(super) fn join(
        &mut self,
        group: IpAddress,
        interface: &mut Interface,
    ) -> Result<bool, Error> {
        if !group.is_multicast() {
            return Err(Error::InvalidAddress);
        }
        interface.join_multicast_group(group).map_err(|_| Error::NoMemory)?;
        let is_new = !self.joined.contains(&group);
        if is_new {
            self.joined.push(group);
        }
        Ok(is_new)
    }

    /// Ends a membership. Returns whether there was one.
    pub(super) fn leave(&mut self, group: IpAddress, interface: &mut Interface) -> bool {
        let members = self.joined.len();
        self.joined.retain(|joined| *joined != group);
        if members == self.joined.len() {
            return false;
        }
        self.solicited.contains(&group) || interface.leave_multicast_group(group).is_ok()
    }

    /// Joins the groups in which neighbours look for these addresses, and leaves others.
    pub(super) fn follow(
        &mut self,
        addresses: impl Iterator<Item = Ipv6Address>,
        interface: &mut Interface,
    ) {
        let mut wanted: Vec<IpAddress> = addresses.map(|own| solicited_node(own).into()).collect();
        wanted.sort();
        wanted.dedup();
        for group in self.solicited.iter().filter(|group| !wanted.contains(group)) {
            if !self.joined.contains(group) {
                let _ = interface.leave_multicast_group(*group);
            }
        }
        self.solicited = wanted;
        self.rejoin(interface);
    }

    /// Joins the groups on an interface that is new.
    pub(super) fn rejoin(&self, interface: &mut Interface) {
        for group in self.reported() {
            // There was room for them on the interface before.
            let _ = interface.join_multicast_group(group);
        }
    }

    /// The groups that routers and switches are told of.
    pub(super) fn reported(&self) -> impl Iterator<Item = IpAddress> {
        let solicited = self.solicited.iter().filter(|group| !self.joined.contains(group));
        self.joined.iter().chain(solicited).copied()
    }

    /// Every group the interface is in but those that neighbours look for an address in.
    pub(super) fn all(&self) -> impl Iterator<Item = IpAddress> {
        EVERYBODY.into_iter().chain(self.joined.iter().copied())
    }

    /// Where the frames go that an interface is to receive.
    pub(super) fn stations(&self) -> Vec<[u8; 6]> {
        EVERYBODY.into_iter().chain(self.reported()).map(station).collect()
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
        assert_eq!(station(solicited_node(address).into()), [0x33, 0x33, 0xff, 0x67, 0x6f, 0x01]);
    }
}

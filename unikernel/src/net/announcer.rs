//! Tells switches where our station address is now and which groups it is in, and neighbours what
//! it is.

use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{IpAddress, IpCidr, Ipv6Address};

use super::device::Device;
use super::emit;
use super::groups::Groups;

/// When announcements follow the first. A switch that has just brought the port up may drop that
/// one.
const FOLLOWING: [Duration; 3] =
    [Duration::from_millis(50), Duration::from_millis(200), Duration::from_millis(1000)];

/// A series of announcements.
#[derive(Default)]
pub(super) struct Announcer {
    /// How many were sent since it started.
    sent: usize,
    due_at: Option<Instant>,
}

impl Announcer {
    /// Starts anew; the first is due at this time.
    pub(super) fn start(&mut self, at: Instant) {
        *self = Self { sent: 0, due_at: Some(at) };
    }

    /// Sends no more of them.
    pub(super) fn stop(&mut self) {
        *self = Self::default();
    }

    /// When the next is due.
    pub(super) fn due_at(&self) -> Option<Instant> {
        self.due_at
    }

    /// Announces every one of these addresses, and reports every one of these groups, if that is
    /// due. Switches that snoop (RFC 4541) forward what goes to a group to the ports alone that a
    /// report came from, and nobody asks for one until minutes after a move.
    pub(super) fn poll(
        &mut self,
        addresses: &[IpCidr],
        groups: &Groups,
        device: &mut Device,
        now: Instant,
    ) {
        if self.due_at.is_none_or(|at| now < at) {
            return;
        }
        // If there is no room, all of them once more when there is.
        if !announce(addresses, device, now) || !report(addresses, groups, device, now) {
            return;
        }
        let following = FOLLOWING.get(self.sent).filter(|_| !addresses.is_empty());
        self.due_at = following.map(|&after| now + after);
        self.sent += 1;
    }
}

fn announce(addresses: &[IpCidr], device: &mut Device, now: Instant) -> bool {
    addresses.iter().all(|address| match address {
        IpCidr::Ipv4(cidr) => emit::gratuitous_arp(device, cidr.address()),
        IpCidr::Ipv6(cidr) => emit::neighbor_advertisement(device, cidr.address(), None, now),
    })
}

fn report(addresses: &[IpCidr], groups: &Groups, device: &mut Device, now: Instant) -> bool {
    let own = addresses.iter().find_map(|cidr| match cidr {
        IpCidr::Ipv4(cidr) => Some(cidr.address()),
        IpCidr::Ipv6(_) => None,
    });
    let ipv4 = groups.reported().filter_map(|group| match group {
        IpAddress::Ipv4(group) => Some((own?, group)),
        IpAddress::Ipv6(_) => None,
    });
    for (own, group) in ipv4 {
        if !emit::igmp_report(device, own, group, now) {
            return false;
        }
    }
    let link_local = addresses.iter().find_map(|cidr| match cidr {
        IpCidr::Ipv6(cidr) => Some(cidr.address()).filter(Ipv6Address::is_unicast_link_local),
        IpCidr::Ipv4(_) => None,
    });
    let ipv6 = groups.reported().filter_map(|group| match group {
        IpAddress::Ipv6(group) => Some(group),
        IpAddress::Ipv4(_) => None,
    });
    let ipv6: heapless::Vec<Ipv6Address, { emit::RECORDS }> = ipv6.take(emit::RECORDS).collect();
    ipv6.is_empty() || emit::mld_report(device, link_local, &ipv6, now)
}

//! Tells switches where our station address is now, and neighbours what it is.

use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{EthernetAddress, IpCidr};

use super::device::Device;
use super::emit;

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

    /// Announces every one of these addresses if that is due.
    pub(super) fn poll(
        &mut self,
        addresses: &[IpCidr],
        mac: EthernetAddress,
        device: &mut Device,
        now: Instant,
    ) {
        if self.due_at.is_none_or(|at| now < at) {
            return;
        }
        for address in addresses {
            let sent = match address {
                IpCidr::Ipv4(cidr) => emit::gratuitous_arp(device, mac, cidr.address(), now),
                IpCidr::Ipv6(cidr) => {
                    emit::neighbor_advertisement(device, mac, cidr.address(), now)
                }
            };
            if !sent {
                // All of them once more, when there is room.
                return;
            }
        }
        let following = FOLLOWING.get(self.sent).filter(|_| !addresses.is_empty());
        self.due_at = following.map(|&after| now + after);
        self.sent += 1;
    }
}

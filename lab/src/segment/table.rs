//! Which port a MAC address was last seen on.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// An Ethernet address.
pub type Mac = [u8; 6];

/// Reads an address in its usual form, `52:54:00:12:34:56`.
#[must_use]
pub fn parse_mac(text: &str) -> Option<Mac> {
    let octets: Option<Vec<u8>> =
        text.split(':').map(|octet| u8::from_str_radix(octet, 16).ok()).collect();
    octets?.try_into().ok()
}

/// Lifetime of an entry that is not refreshed, the default of IEEE 802.1D-2004, table 7-5.
pub(super) const AGEING_TIME: Duration = Duration::from_secs(300);

/// The filtering database of a learning switch. `P` names a port.
#[derive(Debug)]
pub(super) struct Table<P> {
    entries: HashMap<Mac, (P, Instant)>,
    capacity: usize,
}

impl<P: Copy + Eq> Table<P> {
    /// An empty table that never holds more than `capacity` addresses.
    pub(super) fn new(capacity: usize) -> Self {
        Self { entries: HashMap::new(), capacity }
    }

    /// Notes that a frame with source address `mac` came in on `port`.
    pub(super) fn learn(&mut self, mac: Mac, port: P, now: Instant) {
        if is_group(mac) {
            return;
        }
        if self.entries.len() >= self.capacity && !self.entries.contains_key(&mac) {
            self.entries.retain(|_, (_, seen)| now.duration_since(*seen) < AGEING_TIME);
            if self.entries.len() >= self.capacity {
                return;
            }
        }
        self.entries.insert(mac, (port, now));
    }

    /// The port behind which `mac` is, or `None` when a frame to it has to go everywhere.
    pub(super) fn lookup(&self, mac: Mac, now: Instant) -> Option<P> {
        let (port, seen) = self.entries.get(&mac)?;
        (now.duration_since(*seen) < AGEING_TIME).then_some(*port)
    }

    /// Forgets everything behind `port`, whose link went down.
    pub(super) fn forget(&mut self, port: P) {
        self.entries.retain(|_, (known, _)| *known != port);
    }
}

/// Whether `mac` is a multicast or the broadcast address.
pub(super) fn is_group(mac: Mac) -> bool {
    mac[0] & 1 != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Mac = [2, 0, 0, 0, 0, 1];
    const B: Mac = [2, 0, 0, 0, 0, 2];

    #[test]
    fn an_address_moves_with_its_station() {
        let now = Instant::now();
        let mut table = Table::new(8);
        assert_eq!(table.lookup(A, now), None);
        table.learn(A, 1, now);
        assert_eq!(table.lookup(A, now), Some(1));
        table.learn(A, 2, now);
        assert_eq!(table.lookup(A, now), Some(2));
        table.forget(1);
        assert_eq!(table.lookup(A, now), Some(2));
        table.forget(2);
        assert_eq!(table.lookup(A, now), None);
    }

    #[test]
    fn group_addresses_are_no_source() {
        let now = Instant::now();
        let mut table = Table::new(8);
        table.learn([0xff; 6], 1, now);
        assert_eq!(table.lookup([0xff; 6], now), None);
    }

    #[test]
    fn entries_age_and_a_full_table_makes_room_by_age_only() {
        let start = Instant::now();
        let later = start + AGEING_TIME;
        let mut table = Table::new(1);
        table.learn(A, 1, start);
        table.learn(B, 2, start);
        assert_eq!((table.lookup(A, start), table.lookup(B, start)), (Some(1), None));
        assert_eq!(table.lookup(A, later), None);
        table.learn(B, 2, later);
        assert_eq!(table.lookup(B, later), Some(2));
    }
}

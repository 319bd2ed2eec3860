//! The ports of one protocol that are in use.

use alloc::vec::Vec;
use core::ops::RangeInclusive;

use super::error::Error;

/// Ports that are nobody's by registration (RFC 6335, section 6).
const DYNAMIC: RangeInclusive<u16> = 49_152..=65_535;

/// Ports that sockets are bound to.
pub(super) struct Ports {
    bound: Vec<u16>,
    /// Where the search for a free one begins.
    next: u16,
}

impl Ports {
    /// None. The ones that are chosen depend on `seed`, so that after a reboot they are others.
    pub(super) fn new(seed: u64) -> Self {
        let next = DYNAMIC.start() + (seed % DYNAMIC.len() as u64) as u16;
        Self { bound: Vec::new(), next }
    }

    /// Binds `port`, or if that is 0 a free one for which `used` is false, and returns it.
    pub(super) fn bind(&mut self, port: u16, used: impl Fn(u16) -> bool) -> Result<u16, Error> {
        let port = match port {
            0 => self.choose(used)?,
            _ if self.bound.contains(&port) => return Err(Error::PortInUse),
            _ => port,
        };
        self.bound.push(port);
        Ok(port)
    }

    /// A port that is not bound and for which `used` is false.
    pub(super) fn choose(&mut self, used: impl Fn(u16) -> bool) -> Result<u16, Error> {
        for _ in DYNAMIC {
            let port = self.next;
            self.next = port.checked_add(1).unwrap_or(*DYNAMIC.start());
            if !self.bound.contains(&port) && !used(port) {
                return Ok(port);
            }
        }
        Err(Error::PortInUse)
    }

    /// The port is bound no longer.
    pub(super) fn free(&mut self, port: u16) {
        self.bound.retain(|&bound| bound != port);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_bound_once_and_chosen_free() {
        let mut ports = Ports::new(u64::MAX);
        assert_eq!(ports.bind(80, |_| false), Ok(80));
        assert_eq!(ports.bind(80, |_| false), Err(Error::PortInUse));
        ports.free(80);
        assert_eq!(ports.bind(80, |_| false), Ok(80));
        let mut chosen: Vec<_> =
            DYNAMIC.map(|_| ports.bind(0, |port| port == 50_000)).filter_map(Result::ok).collect();
        chosen.sort_unstable();
        assert!(chosen.into_iter().eq(DYNAMIC.filter(|&port| port != 50_000)));
        assert_eq!(ports.bind(0, |port| port == 50_000), Err(Error::PortInUse));
    }
}

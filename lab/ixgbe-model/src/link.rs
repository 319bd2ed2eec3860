//! The link (datasheet 3.7 and 8.2.3.22): up while there is a peer and the cable is plugged.

use crate::registers as reg;

/// 10G serial by SFI: what the EEPROM of a card with a cage sets (AUTOC and AUTOC2, 8.2.3.22).
pub(crate) const AUTOC_DEFAULT: u32 = 0xC09C_6004;
pub(crate) const AUTOC2_DEFAULT: u32 = 0x000A_0000;
/// Arbitration state of auto-negotiation (ANLP1, 8.2.3.22): any value but 0, which is idle.
const NEGOTIATING: u32 = 1 << 16;

/// State of the link.
#[derive(Default)]
pub(crate) struct Link {
    peer: bool,
    pulled: bool,
    restarted: bool,
    /// How often the link changed since the model was started.
    pub(crate) changes: u64,
}

impl Link {
    /// Whether frames can pass.
    pub(crate) fn is_up(&self) -> bool {
        self.peer && !self.pulled
    }

    /// A peer came or went. Returns whether that changes the link.
    pub(crate) fn peer(&mut self, present: bool) -> bool {
        self.change(|link| link.peer = present)
    }

    /// The cable is pulled or plugged. Returns whether that changes the link.
    pub(crate) fn pull(&mut self, pulled: bool) -> bool {
        self.change(|link| link.pulled = pulled)
    }

    fn change(&mut self, change: impl FnOnce(&mut Self)) -> bool {
        let before = self.is_up();
        change(self);
        let changed = self.is_up() != before;
        self.changes += u64::from(changed);
        changed
    }

    /// What LINKS reads.
    pub(crate) fn links(&self) -> u32 {
        if self.is_up() { reg::LINKS_UP | reg::LINKS_10G } else { 0 }
    }

    /// AUTOC was written.
    pub(crate) fn configure(&mut self, autoc: u32) {
        self.restarted |= autoc & reg::AUTOC_RESTART != 0;
    }

    /// What ANLP1 reads.
    pub(crate) fn negotiation(&self) -> u32 {
        if self.restarted { NEGOTIATING } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn up_with_a_peer_and_a_cable() {
        let mut link = Link::default();
        assert!(!link.pull(true) && !link.is_up());
        assert!(!link.peer(true), "the cable is pulled");
        assert!(link.pull(false) && link.is_up());
        assert_eq!(link.links(), reg::LINKS_UP | reg::LINKS_10G);
        assert!(!link.pull(false), "no change");
        assert!(link.peer(false));
        assert_eq!((link.links(), link.changes), (0, 2));
    }
}

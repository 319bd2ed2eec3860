//! What the virtual functions of both families have alike.

use crate::family::{IVAR, IVAR_MISC, RXDCTL, TXDCTL};
use crate::host::Host;
use crate::intel::Offers;
use crate::intel::model::{Family, State};
use unikernel::nic::ResetError;

/// What enables a queue.
pub(crate) const ENABLE: u32 = 1 << 25;
pub(crate) const BAR: u64 = 0x4000;
/// BAR and entries.
pub(crate) const MSI_X: (u8, u16) = (3, 3);
/// Accesses to registers for two groups, for the same again, and for one of them: a request each.
pub(crate) const GROUPS: [u32; 3] = [6, 0, 12];
/// Those that a virtual function has to have.
pub(crate) const OFFERS: &[Offers] = &[Offers::MsiX];
/// Queues tell when they have let go of their descriptors.
pub(crate) const TELLS_WHEN_DMA_ENDS: bool = true;
/// What resets of one that stays in reset end with.
pub(crate) const STAYS_IN_RESET: [ResetError; 2] = [ResetError::Later; 2];
/// A host lets nobody see what is for others.
pub(crate) const CAN_BE_PROMISCUOUS: bool = false;

/// The driver of the physical function.
pub(crate) type Own = Host;

impl State {
    fn is_on(&self, control: usize) -> bool {
        self.get(control) & ENABLE != 0
    }

    pub(crate) fn is_stopped(&self) -> bool {
        !self.is_on(RXDCTL) && !self.is_on(TXDCTL)
    }

    pub(crate) fn may_receive(&self) -> bool {
        self.is_on(RXDCTL) && self.is_known()
    }

    pub(crate) fn may_send(&self) -> bool {
        self.is_on(TXDCTL) && self.is_known()
    }

    /// Interrupts with the entry of the receive or transmit queue.
    pub(crate) fn raise_entry_of(&mut self, is_transmit: bool) {
        self.raise_entry(self.get(IVAR) >> (8 * u32::from(is_transmit)));
    }

    pub(crate) fn raise_mailbox(&mut self) {
        self.raise_entry(self.get(IVAR_MISC));
    }

    /// Interrupts with the entry that a byte of IVAR gives.
    fn raise_entry(&mut self, allocation: u32) {
        let cause = if allocation & 0x80 == 0 { 0 } else { 1 << (allocation & 0b11) };
        self.raise(&Self::CAUSES[0], cause);
    }
}

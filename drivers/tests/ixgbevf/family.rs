//! What a virtual function sees of the 82599, from its datasheet.

use crate::advanced;
pub(crate) use crate::advanced::Transmitter;
use crate::host::{self, Host, Place};
use crate::intel::Offers;
use crate::intel::model::{Causes, Family, Filters, State};
use unikernel::nic::ResetError;

const LINKS: usize = 0x0010;
const EICR: usize = 0x0100;
const EIMS: usize = 0x0108;
const EIMC: usize = 0x010c;
const IVAR: usize = 0x0120;
const IVAR_MISC: usize = 0x0140;
const RDBAL: usize = 0x1000;
const SRRCTL: usize = 0x1014;
pub(crate) const RDT: usize = 0x1018;
const RXDCTL: usize = 0x1028;
const TDBAL: usize = 0x2000;
pub(crate) const TDT: usize = 0x2018;
const TXDCTL: usize = 0x2028;

/// Where the mailbox is.
pub(crate) const MAILBOX: Place = Place { control: 0x02fc, buffer: 0x0200 };

/// What asks for frames to every group.
pub(crate) const EVERY_GROUP_REQUEST: u32 = 12;

/// The mask that the tests for all families look at.
pub(crate) const IMS: usize = EIMS;
/// What enables a direction is what enables its queue.
pub(crate) const RCTL: usize = RXDCTL;
pub(crate) const TCTL: usize = TXDCTL;
pub(crate) const ENABLE: u32 = 1 << 25;

pub(crate) const DEVICE: u16 = 0x10ed;
pub(crate) const BAR: u64 = 0x4000;
/// BAR and entries.
pub(crate) const MSI_X: (u8, u16) = (3, 3);
/// Of the link, in Mbit/s.
pub(crate) const SPEED: u32 = 10_000;
/// Accesses to configuration space and to registers when a machine moves: to stop, and to start.
pub(crate) const MOVES: [[u32; 2]; 2] = [[3, 9], [32, 77]];
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

impl Family for State {
    const RINGS: [usize; 2] = [RDBAL, TDBAL];
    const DONE: u64 = 1;
    const CAUSES: &'static [Causes] = &[Causes { raised: EICR, mask: EIMS, clear: EIMC }];
    const MISSED: &'static [usize] = &[];
    const VLANS: usize = host::VLANS;
    const VLAN_FILTER: (usize, u32) = host::VLAN_FILTER;
    const PAUSE: &'static [(usize, u32, u32)] = &[];

    fn defaults() -> Vec<(usize, u32)> {
        Vec::new()
    }

    fn abandoned() -> Vec<(usize, u32)> {
        vec![(RXDCTL, ENABLE), (TXDCTL, ENABLE), (EIMS, !0), (RDBAL + 8, 4096), (RDT, 5)]
    }

    fn may_reset(&self) -> bool {
        let is_on = |control| self.get(control) & ENABLE != 0;
        self.faults.keeps_mastering || !is_on(RXDCTL) && !is_on(TXDCTL)
    }

    fn filters(&self) -> Filters {
        let filters = self.host_filters();
        Filters { strips: filters.strips && self.has((RXDCTL, 30)), ..filters }
    }

    /// A tag is allowed for, the check sequence is counted.
    fn longest(&self, is_tagged: bool) -> usize {
        (self.get(host::LONGEST) as usize + 4 * usize::from(is_tagged)).saturating_sub(4)
    }

    fn buffer(&self, _queue: usize) -> Option<usize> {
        (self.get(RXDCTL) & ENABLE != 0 && self.is_known()).then(|| {
            assert!(self.has((SRRCTL, 31)), "a full queue must not hold up other functions");
            advanced::buffer(self, SRRCTL, 0, 0x1f)
        })
    }

    fn write_back(len: u16, status: u32, tag: Option<u16>) -> u64 {
        advanced::write_back(len, status, tag, [29, 30, 31])
    }

    fn sends(&self) -> bool {
        self.get(TXDCTL) & ENABLE != 0 && self.is_known()
    }

    fn inserts_tags(&self) -> bool {
        true
    }

    fn raise_queue(&mut self, _queue: usize, is_transmit: bool) {
        let entry = self.get(IVAR) >> (8 * u32::from(is_transmit));
        self.raise_entry(entry);
    }

    fn raise_link(&mut self) {
        self.ping();
    }

    fn status(&self) -> u32 {
        0
    }

    fn read(&mut self, offset: usize) -> Option<u32> {
        Some(match offset {
            LINKS => u32::from(self.link) << 30 | 0b11 << 28,
            RXDCTL | TXDCTL if self.faults.keeps_mastering => self.get(offset) | ENABLE,
            _ => return self.read_mailbox(offset),
        })
    }

    fn write(&mut self, offset: usize, value: u32) -> bool {
        assert!(offset != RDT || value == 0 || self.get(RXDCTL) & ENABLE != 0, "a tail too early");
        self.write_mailbox(offset, value)
    }
}

impl State {
    /// Interrupts with the entry that a byte of IVAR gives.
    fn raise_entry(&mut self, allocation: u32) {
        let cause = if allocation & 0x80 == 0 { 0 } else { 1 << (allocation & 0b11) };
        self.raise(&Self::CAUSES[0], cause);
    }

    pub(crate) fn raise_mailbox(&mut self) {
        self.raise_entry(self.get(IVAR_MISC));
    }
}

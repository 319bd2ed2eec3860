//! What a virtual function sees of the 82599, from its datasheet.

use crate::advanced;
pub(crate) use crate::advanced::Transmitter;
pub(crate) use crate::alike::{
    BAR, CAN_BE_PROMISCUOUS, ENABLE, GROUPS, MSI_X, OFFERS, Own, STAYS_IN_RESET,
    TELLS_WHEN_DMA_ENDS,
};
use crate::host::{self, Place};
use crate::intel::model::{Causes, Family, Filters, State};

const LINKS: usize = 0x0010;
const EICR: usize = 0x0100;
const EIMS: usize = 0x0108;
const EIMC: usize = 0x010c;
pub(crate) const IVAR: usize = 0x0120;
pub(crate) const IVAR_MISC: usize = 0x0140;
const RDBAL: usize = 0x1000;
const SRRCTL: usize = 0x1014;
pub(crate) const RDT: usize = 0x1018;
pub(crate) const RXDCTL: usize = 0x1028;
const TDBAL: usize = 0x2000;
pub(crate) const TDT: usize = 0x2018;
pub(crate) const TXDCTL: usize = 0x2028;

/// Where the mailbox is.
pub(crate) const MAILBOX: Place = Place { control: 0x02fc, buffer: 0x0200 };

/// What asks for frames to every group.
pub(crate) const EVERY_GROUP_REQUEST: u32 = 12;

/// The mask that the tests for all families look at.
pub(crate) const IMS: usize = EIMS;
/// What enables a direction is what enables its queue.
pub(crate) const RCTL: usize = RXDCTL;
pub(crate) const TCTL: usize = TXDCTL;

pub(crate) const DEVICE: u16 = 0x10ed;
/// Of the link, in Mbit/s.
pub(crate) const SPEED: u32 = 10_000;
/// Accesses to configuration space and to registers when a machine moves: to stop, and to start.
pub(crate) const MOVES: [[u32; 2]; 2] = [[3, 9], [32, 77]];

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
        self.faults.keeps_mastering || self.is_stopped()
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
        self.may_receive().then(|| {
            assert!(self.has((SRRCTL, 31)), "a full queue must not hold up other functions");
            advanced::buffer(self, SRRCTL, 0, 0x1f)
        })
    }

    fn write_back(len: u16, status: u32, tag: Option<u16>) -> u64 {
        advanced::write_back(len, status, tag, [29, 30, 31])
    }

    fn sends(&self) -> bool {
        self.may_send()
    }

    fn inserts_tags(&self) -> bool {
        true
    }

    fn raise_queue(&mut self, _queue: usize, is_transmit: bool) {
        self.raise_entry_of(is_transmit);
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

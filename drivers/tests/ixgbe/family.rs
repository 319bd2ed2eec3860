//! The 82599, from its datasheet: queues, one set of causes that IVAR gives out, filters and
//! lengths in registers of its own.

use crate::advanced;
pub(crate) use crate::advanced::Transmitter;
use crate::intel::Offers;
use crate::intel::model::{Causes, Family, Filters, QUEUE, State};
use unikernel::nic::ResetError;

const CTRL_EXT: usize = 0x0018;
const EICR: usize = 0x0800;
const EIMS: usize = 0x0880;
const EIMC: usize = 0x0888;
const GPIE: usize = 0x0898;
const IVAR: usize = 0x0900;
const RDBAL: usize = 0x1000;
const RDLEN: usize = 0x1008;
pub(crate) const SRRCTL: usize = 0x1014;
pub(crate) const RDT: usize = 0x1018;
const RXDCTL: usize = 0x1028;
const QPRDC0: usize = 0x1430;
const RDRXCTL: usize = 0x2f00;
/// RXCTRL, by the name that the gigabit families have for it.
pub(crate) const RCTL: usize = 0x3000;
const MPC0: usize = 0x3fa0;
const HLREG0: usize = 0x4240;
const MAXFRS: usize = 0x4268;
const MFLCN: usize = 0x4294;
const AUTOC: usize = 0x42a0;
const LINKS: usize = 0x42a4;
/// DMATXCTL, likewise.
pub(crate) const TCTL: usize = 0x4a80;
const FCTRL: usize = 0x5080;
const VLNCTRL: usize = 0x5088;
const MCSTCTRL: usize = 0x5090;
pub(crate) const RETA: usize = 0x5c00;
const TDBAL: usize = 0x6000;
pub(crate) const TDT: usize = 0x6018;
const TXDCTL: usize = 0x6028;
const SECRXCTRL: usize = 0x8d00;
const SECRXSTAT: usize = 0x8d04;
const VFTA: usize = 0xa000;
const EEC: usize = 0x1_0010;
const EERD: usize = 0x1_0014;
const SWSM: usize = 0x1_0140;
const SW_FW_SYNC: usize = 0x1_0160;

/// The mask that the tests for all families look at.
pub(crate) const IMS: usize = EIMS;

/// In RXCTRL and DMATXCTL.
pub(crate) const ENABLE: u32 = 1 << 0;
const QUEUE_ENABLE: u32 = 1 << 25;
/// In RFCTL.
const RSC_DIS: (usize, u32) = (0x5008, 5);
const LSC: u32 = 1 << 20;
const OTHER: u32 = 1 << 31;

pub(crate) const DEVICE: u16 = 0x10fb;
pub(crate) const BAR: u64 = 0x8_0000;
/// BAR and entries.
pub(crate) const MSI_X: (u8, u16) = (4, 64);
/// Of the link, in Mbit/s.
pub(crate) const SPEED: u32 = 10_000;
/// Accesses to configuration space and to registers when a machine moves: to stop, and to start.
pub(crate) const MOVES: [[u32; 2]; 2] = [[3, 30], [32, 275]];
/// Accesses to registers for two groups, for the same again, and for one of them: a word of the
/// table for each.
pub(crate) const GROUPS: [u32; 3] = [2, 0, 1];
/// It can be had receive what is for others.
pub(crate) const CAN_BE_PROMISCUOUS: bool = true;
/// The driver's favourite first.
pub(crate) const OFFERS: &[Offers] = &[Offers::MsiX, Offers::Msi, Offers::Pin];
/// A register says that no more requests are under way.
pub(crate) const TELLS_WHEN_DMA_ENDS: bool = true;
/// What resets of one that stays in reset end with.
pub(crate) const STAYS_IN_RESET: [ResetError; 2] = [ResetError::Stuck, ResetError::Stopped];

/// What this family's device does wrong besides.
#[derive(Default)]
pub(crate) struct Own {
    /// Comes out of a reset, and never initialises its DMA engine.
    pub(crate) never_settles: bool,
}

impl State {
    pub(crate) fn strips(&self, queue: usize) -> bool {
        self.has((RXDCTL + QUEUE * queue, 30))
    }

    fn is_enabled(&self, control: usize) -> bool {
        self.get(control) & ENABLE != 0
    }

    /// The EEPROM: the address is in words 1 to 3 of a section at 0x40, to which word 9 points.
    fn word(&self, word: u32) -> u16 {
        match word {
            0x09 => 0x40,
            0x41..0x44 => self.nvm[word as usize - 0x41],
            _ => 0xffff,
        }
    }
}

impl Family for State {
    const RINGS: [usize; 2] = [RDBAL, TDBAL];
    const DONE: u64 = 1;
    const RESETS: u32 = 1 << 3 | 1 << 26;
    const CAUSES: &'static [Causes] = &[Causes { raised: EICR, mask: EIMS, clear: EIMC }];
    const MISSED: &'static [usize] = &[MPC0, QPRDC0];
    const VLANS: usize = VFTA;
    const VLAN_FILTER: (usize, u32) = (VLNCTRL, 30);
    const PAUSE: &'static [(usize, u32, u32)] = &[(MFLCN, !0, 0b1010)];

    fn defaults() -> Vec<(usize, u32)> {
        Vec::new()
    }

    fn abandoned() -> Vec<(usize, u32)> {
        let queue = (RXDCTL, QUEUE_ENABLE);
        vec![(RCTL, ENABLE), (TCTL, ENABLE), (EIMS, !0), (RDLEN, 4096), (RDT, 5), queue]
    }

    /// Where DMA does not end, a second reset follows the first (5.2.5.3.2), which has cleared
    /// CTRL.
    fn may_reset(&self) -> bool {
        let is_idle = !self.is_enabled(RCTL) && !self.is_enabled(TCTL);
        is_idle && (self.is_blocked() || self.faults.keeps_mastering)
    }

    fn filters(&self) -> Filters {
        let has = |bit| self.has((FCTRL, bit));
        assert!(self.has((MCSTCTRL, 2)), "the table of groups is looked at");
        Filters {
            broadcasts: has(10),
            every_group: has(8),
            every_station: has(9),
            strips: self.strips(0),
        }
    }

    /// MAXFRS counts the check sequence, and allows for a tag by itself.
    fn longest(&self, is_tagged: bool) -> usize {
        let is_long = self.has((HLREG0, 2));
        let most = if is_long { self.get(MAXFRS) >> 16 } else { 1518 };
        most as usize - 4 + 4 * usize::from(is_tagged)
    }

    fn buffer(&self, queue: usize) -> Option<usize> {
        let is_on = self.get(RXDCTL + QUEUE * queue) & QUEUE_ENABLE != 0;
        assert!(!is_on || self.has(RSC_DIS), "frames are not put together");
        let ordered = 0b11 << 16;
        let is_ordered = self.get(CTRL_EXT) & ordered == ordered;
        assert!(!is_on || is_ordered, "no relaxed order, no snooping left out");
        (is_on && self.is_enabled(RCTL) && !self.has((SECRXCTRL, 1)))
            .then(|| advanced::buffer(self, SRRCTL, queue, 0x1f))
    }

    fn write_back(len: u16, status: u32, tag: Option<u16>) -> u64 {
        advanced::write_back(len, status, tag, [29, 30, 31])
    }

    fn sends(&self) -> bool {
        self.is_enabled(TCTL) && self.get(TXDCTL) & QUEUE_ENABLE != 0
    }

    fn inserts_tags(&self) -> bool {
        true
    }

    fn raise_queue(&mut self, queue: usize, is_transmit: bool) {
        let shift = 16 * (queue % 2) + 8 * usize::from(is_transmit);
        let entry = self.get(IVAR + 4 * (queue / 2)) >> shift;
        let cause = if entry & 0x80 == 0 { 0 } else { 1 << (entry & 0x3f) };
        self.raise(&Self::CAUSES[0], cause);
    }

    fn raise_link(&mut self) {
        self.raise(&Self::CAUSES[0], LSC | OTHER);
    }

    fn status(&self) -> u32 {
        0
    }

    fn read(&mut self, offset: usize) -> Option<u32> {
        Some(match offset {
            LINKS => u32::from(self.link) << 30 | 0b11 << 28,
            EEC => u32::from(!self.faults.stays_in_reset) << 9,
            RDRXCTL => {
                let is_done = !self.faults.stays_in_reset && !self.own.never_settles;
                self.get(RDRXCTL) | u32::from(is_done) << 3
            }
            SECRXSTAT => 1,
            SWSM => self.take_semaphore(SWSM),
            EICR => {
                assert!(!self.has((GPIE, 5)), "reading clears");
                self.take(EICR)
            }
            QPRDC0 | 0x3fa0..0x4100 => self.take(offset),
            _ => return None,
        })
    }

    fn write(&mut self, offset: usize, value: u32) -> bool {
        match offset {
            EERD => {
                let word = u32::from(self.word(value >> 2));
                self.set(EERD, word << 16 | 0b10);
            }
            AUTOC => {
                assert_ne!(self.get(SW_FW_SYNC) & 1 << 3, 0, "firmware may be at it");
                self.set(AUTOC, value & !(1 << 12));
            }
            _ => return false,
        }
        true
    }
}

//! The 82576 and the I350, from the former's datasheet: queues, receive-side scaling, two sets of
//! causes, a PHY.

use crate::advanced;
pub(crate) use crate::advanced::Transmitter;
use crate::intel::Offers;
pub(crate) use crate::intel::model::CTRL;
use crate::intel::model::{Causes, Family, Filters, QUEUE, State};
use unikernel::nic::ResetError;

const EEC: usize = 0x0010;
const MDIC: usize = 0x0020;
const ICR: usize = 0x00c0;
const LEGACY_IMS: usize = 0x00d0;
const IMC: usize = 0x00d8;
pub(crate) const RCTL: usize = 0x0100;
pub(crate) const TCTL: usize = 0x0400;
const GPIE: usize = 0x1514;
const EIMS: usize = 0x1524;
const EIMC: usize = 0x1528;
const EICR: usize = 0x1580;
pub(crate) const EITR: usize = 0x1680;
const IVAR: usize = 0x1700;
const IVAR_MISC: usize = 0x1740;
const MPC: usize = 0x4010;
const RXCSUM: usize = 0x5000;
const RLPML: usize = 0x5004;
const VFTA: usize = 0x5600;
const MRQC: usize = 0x5818;
const SWSM: usize = 0x5b50;
pub(crate) const SW_FW_SYNC: usize = 0x5b5c;
const RETA: usize = 0x5c00;
const RSSRK: usize = 0x5c80;
const RDBAL: usize = 0xc000;
const RDLEN: usize = 0xc008;
const SRRCTL: usize = 0xc00c;
pub(crate) const RDT: usize = 0xc018;
const RXDCTL: usize = 0xc028;
const RQDPC: usize = 0xc030;
const TDBAL: usize = 0xe000;
pub(crate) const TDT: usize = 0xe018;
const TXDCTL: usize = 0xe028;

/// The mask that the tests for all families look at.
pub(crate) const IMS: usize = EIMS;

/// In RCTL and TCTL.
pub(crate) const ENABLE: u32 = 1 << 1;
const QUEUE_ENABLE: u32 = 1 << 25;
const CTRL_VME: (usize, u32) = (CTRL, 30);
const MULTIPLE_MSIX: (usize, u32) = (GPIE, 4);
const TXDW: u32 = 1 << 0;
const LSC: u32 = 1 << 2;
const RXDW: u32 = 1 << 7;

const INTEL_82576: u16 = 0x10c9;
pub(crate) const INTEL_I350: u16 = 0x1521;
pub(crate) const DEVICE: u16 = INTEL_82576;
pub(crate) const BAR: u64 = 0x2_0000;
/// BAR and entries.
pub(crate) const MSI_X: (u8, u16) = (3, 10);
/// Of the link, in Mbit/s.
pub(crate) const SPEED: u32 = 1000;
/// Accesses to configuration space and to registers when a machine moves: to stop, and to start.
pub(crate) const MOVES: [[u32; 2]; 2] = [[3, 18], [32, 233]];
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

const BASIC: Causes = Causes { raised: ICR, mask: LEGACY_IMS, clear: IMC };
const EXTENDED: Causes = Causes { raised: EICR, mask: EIMS, clear: EIMC };

#[derive(Default)]
pub(crate) struct Own {
    /// Two queues share a word of IVAR.
    pub(crate) is_i350: bool,
    /// The PHY negotiated; it does not forget when the MAC is reset.
    negotiated: bool,
    pub(crate) negotiations: usize,
    /// Looks at SW_FW_SYNC until firmware is done with the PHY.
    pub(crate) firmware_talks: u32,
}

impl State {
    fn is_enabled(&self, control: usize) -> bool {
        self.get(control) & ENABLE != 0
    }

    fn has_messages(&self) -> bool {
        self.has(MULTIPLE_MSIX)
    }

    /// The bit of EICR that a byte of IVAR gives.
    fn message(allocation: u32) -> u32 {
        if allocation & 0x80 == 0 { 0 } else { 1 << (allocation & 0x1f) }
    }

    /// Toeplitz.
    fn hash(&self, input: &[u8]) -> u32 {
        let key: Vec<u8> = (0..10).flat_map(|i| self.get(RSSRK + 4 * i).to_le_bytes()).collect();
        let window = |bit: usize| {
            let bytes = (0..8)
                .fold(0u64, |word, i| word << 8 | u64::from(*key.get(bit / 8 + i).unwrap_or(&0)));
            (bytes << (bit % 8) >> 32) as u32
        };
        (0..input.len() * 8)
            .filter(|bit| input[bit / 8] & 0x80 >> (bit % 8) != 0)
            .fold(0, |hash, bit| hash ^ window(bit))
    }

    /// A transaction with the PHY (8.2.4).
    fn talk(&mut self, command: u32) {
        let owner = self.get(SW_FW_SYNC);
        assert_ne!(owner & 1 << 1, 0, "firmware may be talking to the PHY");
        assert_eq!(self.own.firmware_talks, 0, "firmware is talking to the PHY");
        assert_eq!(command >> 21 & 0x1f, 1, "the internal PHY");
        let data = match (command >> 26 & 0b11, command >> 16 & 0x1f) {
            (0b10, 1) => u32::from(self.link) << 2 | u32::from(self.own.negotiated) << 5,
            (0b01, 0) => {
                assert_eq!(command & 0x1a00, 0x1200, "negotiates, and has power");
                self.own.negotiated = true;
                self.own.negotiations += 1;
                command & 0xffff
            }
            other => panic!("{other:?}: no register that the driver needs"),
        };
        self.set(MDIC, command & !0xffff | data | 1 << 28);
    }
}

impl Family for State {
    const RINGS: [usize; 2] = [RDBAL, TDBAL];
    const DONE: u64 = 1;
    const CAUSES: &'static [Causes] = &[BASIC, EXTENDED];
    const MISSED: &'static [usize] = &[MPC, RQDPC];
    const VLANS: usize = VFTA;
    const VLAN_FILTER: (usize, u32) = (RCTL, 18);

    fn defaults() -> Vec<(usize, u32)> {
        vec![(RXDCTL, QUEUE_ENABLE | 1 << 16), (TXDCTL, QUEUE_ENABLE), (RLPML, 0x2600)]
    }

    /// The semaphore taken, too.
    fn abandoned() -> Vec<(usize, u32)> {
        vec![(RCTL, ENABLE), (TCTL, ENABLE), (EIMS, !0), (RDLEN, 4096), (RDT, 5), (SWSM, 1)]
    }

    fn may_reset(&self) -> bool {
        self.is_blocked() && !self.is_enabled(RCTL) && !self.is_enabled(TCTL)
    }

    fn filters(&self) -> Filters {
        let has = |bit| self.has((RCTL, bit));
        Filters {
            broadcasts: has(15),
            every_group: has(4),
            every_station: has(3),
            strips: self.has(CTRL_VME),
        }
    }

    /// RLPML counts a tag and the check sequence.
    fn longest(&self, is_tagged: bool) -> usize {
        let is_long = self.has((RCTL, 5));
        if is_long { self.get(RLPML) as usize - 4 } else { 1514 + 4 * usize::from(is_tagged) }
    }

    /// Receive-side scaling (7.1.1.7).
    fn choose(&self, frame: &[u8]) -> usize {
        let fields = self.get(MRQC);
        if fields & 0b111 != 0b010 {
            return 0;
        }
        assert_ne!(self.get(RXCSUM) & 1 << 13, 0, "RSS needs RXCSUM.PCSD");
        if frame[12..14] != [8, 0] {
            return 0;
        }
        let is_tcp = frame[23] == 6 && fields & 1 << 16 != 0;
        let hashed = &frame[26..if is_tcp { 38 } else { 34 }];
        let entry = self.hash(hashed) as usize % 128;
        usize::from(self.get(RETA + entry / 4 * 4).to_le_bytes()[entry % 4] & 0xf)
    }

    fn buffer(&self, queue: usize) -> Option<usize> {
        let is_on = self.get(RXDCTL + QUEUE * queue) & QUEUE_ENABLE != 0;
        (is_on && self.is_enabled(RCTL)).then(|| {
            let (several, drops) =
                (self.get(MRQC) & 0b111 == 0b010, self.has((SRRCTL + QUEUE * queue, 31)));
            assert_eq!(drops, several, "a full queue must not hold up others");
            advanced::buffer(self, SRRCTL, queue, 0x7f)
        })
    }

    fn write_back(len: u16, status: u32, tag: Option<u16>) -> u64 {
        advanced::write_back(len, status, tag, [31, 29, 30])
    }

    fn sends(&self) -> bool {
        self.is_enabled(TCTL) && self.get(TXDCTL) & QUEUE_ENABLE != 0
    }

    fn inserts_tags(&self) -> bool {
        self.has(CTRL_VME)
    }

    fn raise_queue(&mut self, queue: usize, is_transmit: bool) {
        if !self.has_messages() {
            return self.raise(&BASIC, if is_transmit { TXDW } else { RXDW });
        }
        let (word, half) =
            if self.own.is_i350 { (queue / 2, queue % 2) } else { (queue % 8, queue / 8) };
        let allocation = self.get(IVAR + 4 * word) >> (16 * half + 8 * usize::from(is_transmit));
        self.raise(&EXTENDED, Self::message(allocation));
    }

    fn raise_link(&mut self) {
        if !self.has_messages() {
            return self.raise(&BASIC, LSC);
        }
        self.set(ICR, self.get(ICR) | LSC);
        if LSC & self.get(LEGACY_IMS) != 0 {
            self.raise(&EXTENDED, Self::message(self.get(IVAR_MISC) >> 8));
        }
    }

    fn is_live(&self, causes: &Causes) -> bool {
        self.has_messages() == (causes.raised == EICR)
    }

    fn status(&self) -> u32 {
        0b1000_0001 | u32::from(self.link && self.own.negotiated) << 1
    }

    fn read(&mut self, offset: usize) -> Option<u32> {
        // Of a queue of the receive side.
        let place = (RDBAL..TDBAL).contains(&offset).then_some(RDBAL + offset % QUEUE);
        Some(match offset {
            EEC => u32::from(!self.faults.no_nvm) << 9,
            SWSM => self.take_semaphore(SWSM),
            SW_FW_SYNC => {
                let talks = self.own.firmware_talks != 0;
                self.own.firmware_talks = self.own.firmware_talks.saturating_sub(1);
                self.get(SW_FW_SYNC) | u32::from(talks || self.faults.firmware_keeps_phy) << 17
            }
            ICR if self.has((GPIE, 0)) || self.get(LEGACY_IMS) == 0 => self.take(ICR),
            EICR => panic!("what reading clears depends on the mode"),
            0x4000..0x4100 => self.take(offset),
            _ if place == Some(RQDPC) => self.take(offset),
            // Enabled only while the direction is.
            _ if place == Some(RXDCTL) && !self.is_enabled(RCTL) => {
                self.get(offset) & !QUEUE_ENABLE
            }
            TXDCTL if !self.is_enabled(TCTL) => self.get(TXDCTL) & !QUEUE_ENABLE,
            _ => return None,
        })
    }

    fn write(&mut self, offset: usize, value: u32) -> bool {
        if (RDBAL..TDBAL).contains(&offset) && offset % QUEUE == RDT % QUEUE {
            let is_on = self.get(offset - RDT + RXDCTL) & QUEUE_ENABLE != 0;
            let enabled = is_on && self.is_enabled(RCTL);
            assert!(value == 0 || enabled, "the tail of a queue that is not enabled");
        }
        if offset == MDIC {
            self.talk(value);
        }
        offset == MDIC
    }
}

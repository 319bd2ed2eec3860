//! The 82574L and the 82540EM, from their datasheets: one receive queue, filters in RCTL. Which of
//! them, the crate says: `KIND`.

use crate::KIND;
use crate::intel::model::{Causes, Family, Filters, State};
use crate::intel::{Offers, segments};
use unikernel::dma::fake::Device;
use unikernel::nic::ResetError;

pub(crate) use crate::intel::model::CTRL;
const EECD: usize = 0x0010;
const EERD: usize = 0x0014;
const VET: usize = 0x0038;
const ICR: usize = 0x00c0;
pub(crate) const IMS: usize = 0x00d0;
const IMC: usize = 0x00d8;
/// The 82574L's.
const IVAR: usize = 0x00e4;
pub(crate) const RCTL: usize = 0x0100;
pub(crate) const TCTL: usize = 0x0400;
const RDBAL: usize = 0x2800;
const RDLEN: usize = 0x2808;
pub(crate) const RDT: usize = 0x2818;
const TDBAL: usize = 0x3800;
pub(crate) const TDT: usize = 0x3818;
const MPC: usize = 0x4010;
const RFCTL: usize = 0x5008;
const VFTA: usize = 0x5600;

/// In RCTL and TCTL.
pub(crate) const ENABLE: u32 = 1 << 1;
const CTRL_VME: (usize, u32) = (CTRL, 30);
const LSC: u32 = 1 << 2;
const OTHER: u32 = 1 << 24;

/// The families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "each crate has one kind")]
pub(crate) enum Kind {
    /// 82540EM.
    E1000,
    /// 82574L.
    E1000e,
}

const IS_82574: bool = matches!(KIND, Kind::E1000e);

pub(crate) const DEVICE: u16 = if IS_82574 { 0x10d3 } else { 0x100e };
pub(crate) const BAR: u64 = 0x2_0000;
/// BAR and entries.
pub(crate) const MSI_X: (u8, u16) = (3, 5);
/// Of the link, in Mbit/s.
pub(crate) const SPEED: u32 = 1000;
/// Accesses to configuration space and to registers when a machine moves: to stop, and to start.
pub(crate) const MOVES: [[u32; 2]; 2] =
    if IS_82574 { [[3, 16], [32, 201]] } else { [[3, 14], [29, 186]] };
/// Accesses to registers for two groups, for the same again, and for one of them: a word of the
/// table for each.
pub(crate) const GROUPS: [u32; 3] = [2, 0, 1];
/// It can be had receive what is for others.
pub(crate) const CAN_BE_PROMISCUOUS: bool = true;
/// The driver's favourite first.
pub(crate) const OFFERS: &[Offers] =
    if IS_82574 { &[Offers::MsiX, Offers::Msi, Offers::Pin] } else { &[Offers::Msi, Offers::Pin] };
/// A register says that no more requests are under way.
pub(crate) const TELLS_WHEN_DMA_ENDS: bool = IS_82574;
/// What resets of one that stays in reset end with.
pub(crate) const STAYS_IN_RESET: [ResetError; 2] = [ResetError::Stuck, ResetError::Stopped];

/// Nothing that the model does not have.
#[derive(Default)]
pub(crate) struct Own;

impl State {
    /// Causes are messages, and have bits of their own.
    fn has_messages(&self) -> bool {
        self.has((IVAR, 3))
    }
}

impl Family for State {
    const RINGS: [usize; 2] = [RDBAL, TDBAL];
    const DONE: u64 = if IS_82574 { 1 } else { 1 << 32 };
    const OVERWRITES: bool = IS_82574;
    const CAUSES: &'static [Causes] = &[Causes { raised: ICR, mask: IMS, clear: IMC }];
    const MISSED: &'static [usize] = &[MPC];
    const VLANS: usize = VFTA;
    const VLAN_FILTER: (usize, u32) = (RCTL, 18);

    fn defaults() -> Vec<(usize, u32)> {
        Vec::new()
    }

    fn abandoned() -> Vec<(usize, u32)> {
        vec![(RCTL, ENABLE), (TCTL, ENABLE), (IMS, !0), (RDLEN, 4096), (RDT, 5)]
    }

    fn may_reset(&self) -> bool {
        (self.get(RCTL) | self.get(TCTL)) & ENABLE == 0 && (self.is_blocked() || !IS_82574)
    }

    fn filters(&self) -> Filters {
        let has = |bit| self.has((RCTL, bit));
        let strips = self.has(CTRL_VME);
        assert!(!strips || self.get(VET) == 0x8100);
        Filters { broadcasts: has(15), every_group: has(4), every_station: has(3), strips }
    }

    fn longest(&self, is_tagged: bool) -> usize {
        let is_long = self.has((RCTL, 5));
        if is_long { 16 << 10 } else { 1514 + 4 * usize::from(is_tagged) }
    }

    /// As RCTL.BSIZE and RCTL.BSEX say.
    fn buffer(&self, _queue: usize) -> Option<usize> {
        let control = self.get(RCTL);
        let size = 2048 >> (control >> 16 & 0b11);
        let size = if control & 1 << 25 != 0 { 16 * size } else { size };
        (control & ENABLE != 0).then(|| {
            assert_eq!(self.has((RFCTL, 15)), IS_82574, "extended descriptors");
            size
        })
    }

    fn write_back(len: u16, status: u32, tag: Option<u16>) -> u64 {
        let status = status | u32::from(tag.is_some()) << 3;
        let tag = u64::from(tag.unwrap_or(0)) << 48;
        if IS_82574 {
            return tag | u64::from(len) << 32 | u64::from(status);
        }
        // One bit says that TCP or UDP was looked at.
        let status = status | (status & 1 << 4) << 1;
        let (status, errors) = (u64::from(status & 0xff), u64::from(status >> 24));
        tag | u64::from(len) | status << 32 | errors << 40
    }

    fn sends(&self) -> bool {
        self.get(TCTL) & ENABLE != 0
    }

    fn inserts_tags(&self) -> bool {
        self.has(CTRL_VME)
    }

    fn raise_queue(&mut self, _queue: usize, is_transmit: bool) {
        let bit = match (self.has_messages(), is_transmit) {
            (true, false) => 20,
            (true, true) => 22,
            (false, false) => 7,
            (false, true) => 0,
        };
        self.raise(&Self::CAUSES[0], 1 << bit);
    }

    fn raise_link(&mut self) {
        self.raise(&Self::CAUSES[0], LSC | OTHER);
    }

    fn status(&self) -> u32 {
        0b1000_0001 | u32::from(self.link) << 1
    }

    fn read(&mut self, offset: usize) -> Option<u32> {
        Some(match offset {
            EECD if IS_82574 => u32::from(!self.faults.stays_in_reset) << 9,
            ICR if self.get(IMS) == 0 && !self.has_messages() => self.take(ICR),
            // QEMU's e1000 keeps what its datasheet says is cleared.
            0x4000..0x4100 if !self.faults.keeps_counts => self.take(offset),
            _ => return None,
        })
    }

    fn write(&mut self, offset: usize, value: u32) -> bool {
        if offset == EERD {
            let (shift, done) = if IS_82574 { (2, 1 << 1) } else { (8, 1 << 4) };
            let word = self.nvm.get(value as usize >> shift).copied().unwrap_or(0);
            self.set(EERD, u32::from(word) << 16 | done);
        }
        offset == EERD
    }
}

/// The state of the transmit queue (manual, 3.3).
#[derive(Default)]
pub(crate) struct Transmitter {
    /// The last context descriptor.
    context: [u64; 2],
    packet: Vec<u8>,
}

impl Transmitter {
    /// Takes the next descriptor; the frames that it completes, as they go on the wire.
    pub(crate) fn take(
        &mut self,
        memory: &Device,
        descriptor: [u64; 2],
        may_tag: bool,
    ) -> Vec<Vec<u8>> {
        let [address, command] = descriptor;
        let has = |bit: u32| command >> bit & 1 != 0;
        assert!(has(29), "not a legacy descriptor");
        if !has(20) {
            self.context = descriptor;
            return Vec::new();
        }
        assert!(has(25), "with its check sequence");
        let mut piece = vec![0; (command & 0xf_ffff) as usize];
        assert!(piece.len() <= 8192);
        memory.read(address, &mut piece);
        self.packet.extend(piece);
        if !has(24) {
            return Vec::new();
        }
        let mut frames = self.send(command);
        if has(30) {
            assert!(may_tag, "VLANs are on");
            segments::tag(&mut frames, (command >> 48) as u16);
        }
        frames
    }

    /// What is sent of a whole packet, whose last descriptor has this second quadword.
    fn send(&mut self, command: u64) -> Vec<Vec<u8>> {
        let mut packet = std::mem::take(&mut self.packet);
        // A context for segmentation is used up by a packet, since it says how long that is.
        let is_cut = command & 1 << 26 != 0;
        let [places, context] =
            if is_cut { std::mem::take(&mut self.context) } else { self.context };
        let [header_start, header_field, _, _, start, field, ..] =
            places.to_le_bytes().map(usize::from);
        if !is_cut {
            if command & 1 << 41 != 0 {
                segments::insert_checksum(&mut packet, start, field);
            }
            return vec![packet];
        }
        let (headers, size) = ((context >> 40 & 0xff) as usize, (context >> 48) as usize);
        let is_ipv4 = packet[12..14] == [8, 0];
        assert_ne!(context & 1 << 26, 0, "a context for segmentation");
        assert_eq!((context & 0xf_ffff) as usize, packet.len() - headers);
        assert_eq!(context >> 24 & 0b11, 0b01 | u64::from(is_ipv4) << 1, "TCP over IPv4 or IPv6");
        assert_eq!(command >> 40 & 0b11, 0b10 | u64::from(is_ipv4), "checksums to insert");
        if is_ipv4 {
            assert_eq!([header_start, header_field], [14, 24], "the header checksum");
            assert_eq!(packet[24..26], [0, 0]);
        }
        segments::cut(&packet, headers, size)
    }
}

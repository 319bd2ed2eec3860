//! A model of the 82576, from its datasheet, that misbehaves on request. Its DMA goes through the pool's device view,
//! which panics at an access to memory that is not the device's.

use crate::transmitter::Transmitter;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use unikernel::dma::fake::Device;
use unikernel::irq::Interrupt;
use unikernel::mmio::{Registers, Width};
use unikernel::pci::PciAddress;
use unikernel::pci::fake::Machine;

pub(crate) const CTRL: usize = 0x0000;
const STATUS: usize = 0x0008;
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
const MTA: usize = 0x5200;
const RAL0: usize = 0x5400;
const RAH0: usize = 0x5404;
const VFTA: usize = 0x5600;
const MRQC: usize = 0x5818;
const SWSM: usize = 0x5b50;
pub(crate) const SW_FW_SYNC: usize = 0x5b5c;
const RETA: usize = 0x5c00;
const RSSRK: usize = 0x5c80;
const RDBAL: usize = 0xc000;
const RDLEN: usize = 0xc008;
pub(crate) const SRRCTL: usize = 0xc00c;
pub(crate) const RDH: usize = 0xc010;
pub(crate) const RDT: usize = 0xc018;
const RXDCTL: usize = 0xc028;
const RQDPC: usize = 0xc030;
const TDBAL: usize = 0xe000;
const TDLEN: usize = 0xe008;
const TDH: usize = 0xe010;
pub(crate) const TDT: usize = 0xe018;
const TXDCTL: usize = 0xe028;

/// The mask that the tests for all families look at.
pub(crate) const IMS: usize = EIMS;

const CTRL_MASTER_DISABLE: u32 = 1 << 2;
const CTRL_RST: u32 = 1 << 26;
const CTRL_VME: u32 = 1 << 30;
const ENABLE: u32 = 1 << 1;
const QUEUE_ENABLE: u32 = 1 << 25;
const MULTIPLE_MSIX: u32 = 1 << 4;
const TXDW: u32 = 1 << 0;
const LSC: u32 = 1 << 2;
const RXDW: u32 = 1 << 7;

/// Done and end of packet. Status and errors are given as the 82574L has them, and translated.
pub(crate) const WHOLE: u32 = 0b11;
/// Whole, and IPv4 and UDP checksums looked at.
pub(crate) const CHECKED: u32 = WHOLE | 1 << 4 | 1 << 6;

pub(crate) const MAC: [u8; 6] = [0x52, 0x54, 0x00, 0x67, 0x6f, 0x01];

/// What the device does wrong.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    /// Never finishes a reset.
    pub(crate) stays_in_reset: bool,
    /// Never stops mastering the bus when asked.
    pub(crate) keeps_mastering: bool,
    /// Loads no station address into its registers.
    pub(crate) no_mac: bool,
    /// Leaves transmit descriptors alone until told to go on.
    pub(crate) stalls_transmit: bool,
    /// Does not clear counts that are read, as QEMU's e1000; this device always does.
    #[allow(dead_code, reason = "the tests shared with other families set it")]
    pub(crate) keeps_counts: bool,
    /// Firmware has the PHY and does not let go of it.
    pub(crate) firmware_keeps_phy: bool,
    /// Has no NVM to read after a reset, as QEMU's model has none.
    pub(crate) no_nvm: bool,
}

pub(crate) struct Model {
    machine: Machine,
    memory: Device,
    state: Mutex<State>,
}

struct State {
    registers: BTreeMap<usize, u32>,
    faults: Faults,
    /// What is at the other end of the wire.
    link: bool,
    /// The PHY negotiated; it does not forget when the MAC is reset.
    negotiated: bool,
    negotiations: usize,
    interrupt: Option<Interrupt>,
    /// Two queues share a word of IVAR.
    is_i350: bool,
    sent: VecDeque<Vec<u8>>,
    reports: usize,
    transmitter: Transmitter,
}

impl Model {
    pub(crate) fn new(
        machine: Machine,
        memory: Device,
        faults: Faults,
        is_i350: bool,
    ) -> Arc<Self> {
        let mut state = State {
            registers: BTreeMap::new(),
            faults,
            link: true,
            negotiated: false,
            negotiations: 0,
            interrupt: None,
            is_i350,
            sent: VecDeque::new(),
            reports: 0,
            transmitter: Transmitter::default(),
        };
        // As somebody else left it: receiving to who knows where, interrupts on, the semaphore taken.
        state.reset();
        let left = [(RCTL, ENABLE), (TCTL, ENABLE), (EIMS, !0), (RDLEN, 4096), (RDT, 5), (SWSM, 1)];
        state.registers.extend(left);
        Arc::new(Self { machine, memory, state: Mutex::new(state) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn connect(&self, interrupt: Interrupt) {
        self.lock().interrupt = Some(interrupt);
    }

    pub(crate) fn set_faults(&self, faults: Faults) {
        self.lock().faults = faults;
    }

    pub(crate) fn register(&self, offset: usize) -> u32 {
        self.lock().get(offset)
    }

    pub(crate) fn change(&self, offset: usize, change: impl FnOnce(u32) -> u32) {
        let mut state = self.lock();
        let value = change(state.get(offset));
        state.registers.insert(offset, value);
    }

    pub(crate) fn count_missed(&self, frames: u32) {
        let mut state = self.lock();
        // Some for want of room, some for want of a descriptor.
        for (register, share) in [(MPC, frames / 2), (RQDPC, frames - frames / 2)] {
            let missed = state.get(register) + share;
            state.registers.insert(register, missed);
        }
    }

    pub(crate) fn set_link(&self, up: bool) {
        self.set_link_silently(up);
        self.lock().raise_other(LSC);
    }

    /// The interrupt gets lost.
    pub(crate) fn set_link_silently(&self, up: bool) {
        self.lock().link = up;
    }

    /// How often the PHY was told to negotiate.
    pub(crate) fn negotiations(&self) -> usize {
        self.lock().negotiations
    }

    /// Frames that left, oldest first.
    pub(crate) fn take_sent(&self) -> Vec<Vec<u8>> {
        self.lock().sent.drain(..).collect()
    }

    /// Completion reports written so far.
    pub(crate) fn reports(&self) -> usize {
        self.lock().reports
    }

    fn masters_bus(&self) -> bool {
        self.machine.is_bus_master(PciAddress::new(0, 1, 0, 0))
    }

    /// A frame from the wire, tag and all, which the filters may drop. `false` when they do, or the device has no
    /// descriptor for it or does not receive.
    pub(crate) fn arrive(&self, frame: &[u8]) -> bool {
        let (accepted, strips) = {
            let state = self.lock();
            (state.accepts(frame), state.get(CTRL) & CTRL_VME != 0)
        };
        match tag(frame).filter(|_| strips) {
            _ if !accepted => false,
            None => self.receive(frame),
            tag => {
                let frame = [&frame[..12], &frame[16..]].concat();
                let word = receive_status(frame.len() as u16, WHOLE, tag);
                self.complete(self.queue(&frame), &frame, word)
            }
        }
    }

    /// A frame that the filters let through. `false` when the device has no descriptor for it, or does not receive.
    pub(crate) fn receive(&self, frame: &[u8]) -> bool {
        let word = receive_status(frame.len() as u16, WHOLE, None);
        self.complete(self.queue(frame), frame, word)
    }

    /// A write-back that says anything, in the first queue.
    pub(crate) fn write_back(&self, data: &[u8], len: u16, status: u32) -> bool {
        self.complete(0, data, receive_status(len, status, None))
    }

    /// The queue that the device chooses for a frame.
    pub(crate) fn queue(&self, frame: &[u8]) -> usize {
        self.lock().queue(frame)
    }

    fn complete(&self, queue: usize, data: &[u8], word: u64) -> bool {
        let mut state = self.lock();
        let at = |register: usize| register + 0x40 * queue;
        let (head, tail) = (state.get(at(RDH)), state.get(at(RDT)));
        let ready = state.is_enabled(RCTL)
            && state.get(at(RXDCTL)) & QUEUE_ENABLE != 0
            && state.get(CTRL) & CTRL_MASTER_DISABLE == 0;
        if !ready || head == tail || !self.masters_bus() {
            return false;
        }
        let control = state.get(at(SRRCTL));
        assert_eq!(control >> 25 & 0b111, 1, "advanced descriptors with one buffer");
        let several = state.get(MRQC) & 0b111 == 0b010;
        assert_eq!(control >> 31 != 0, several, "a full queue must not hold up others");
        let descriptor = state.ring(at(RDBAL)) + 16 * u64::from(head);
        let mut before = [0; 16];
        self.memory.read(descriptor, &mut before);
        assert_eq!(before[8] & 1, 0, "descriptor {head} still has its done bit");
        let buffer = u64::from_le_bytes(before[..8].try_into().unwrap());
        let size = (control as usize & 0x7f) << 10;
        self.memory.write(buffer, &data[..data.len().min(size)]);
        // The address is overwritten, and the done bit comes last.
        self.memory.write(descriptor, &[0xee; 8]);
        self.memory.write(descriptor + 8, &(word & !1).to_le_bytes());
        self.memory.write(descriptor + 8, &word.to_le_bytes());
        let next = (head + 1) % (state.get(at(RDLEN)) / 16);
        state.registers.insert(at(RDH), next);
        state.raise_queue(queue, 0);
        true
    }

    /// Sets the done bit in a descriptor that is not the device's, as no device should.
    pub(crate) fn scribble(&self, descriptor: u32, len: u16, status: u32) {
        let at = self.lock().ring(RDBAL) + 16 * u64::from(descriptor) + 8;
        self.memory.write(at, &receive_status(len, status, None).to_le_bytes());
    }

    /// Sends what is queued.
    pub(crate) fn transmit(&self) {
        let mut state = self.lock();
        let enabled = state.is_enabled(TCTL)
            && state.get(TXDCTL) & QUEUE_ENABLE != 0
            && state.get(CTRL) & CTRL_MASTER_DISABLE == 0;
        while enabled && self.masters_bus() && state.get(TDH) != state.get(TDT) {
            let head = state.get(TDH);
            let at = state.ring(TDBAL) + 16 * u64::from(head);
            let mut descriptor = [0; 16];
            self.memory.read(at, &mut descriptor);
            let frames = state.transmitter.take(&self.memory, descriptor);
            state.sent.extend(frames);
            // RS.
            if descriptor[11] & 1 << 3 != 0 {
                self.memory.write(at + 12, &[1]);
                state.reports += 1;
                state.raise_queue(0, 8);
            }
            let next = (head + 1) % (state.get(TDLEN) / 16);
            state.registers.insert(TDH, next);
        }
    }
}

/// The second quadword of a write-back (7.1.5.2), from what the 82574L would say.
fn receive_status(len: u16, status: u32, tag: Option<u16>) -> u64 {
    let has = |bits: u32| status & bits != 0;
    let looked = if has(1 << 2) { 0 } else { status & 0b111_0000 };
    let mut new = status & WHOLE | looked | u32::from(tag.is_some()) << 3;
    for (bits, place) in [(0x9700_0000, 31), (1 << 29, 29), (1 << 30, 30)] {
        new |= u32::from(has(bits)) << place;
    }
    u64::from(tag.unwrap_or(0)) << 48 | u64::from(len) << 32 | u64::from(new)
}

fn tag(frame: &[u8]) -> Option<u16> {
    (frame[12..14] == [0x81, 0x00]).then(|| u16::from_be_bytes([frame[14], frame[15]]))
}

impl State {
    fn get(&self, offset: usize) -> u32 {
        self.registers.get(&offset).copied().unwrap_or(0)
    }

    fn is_enabled(&self, control: usize) -> bool {
        self.get(control) & ENABLE != 0
    }

    /// The base of a ring, by its first register.
    fn ring(&self, low: usize) -> u64 {
        u64::from(self.get(low)) | u64::from(self.get(low + 4)) << 32
    }

    fn bit(&self, table: usize, number: u16) -> bool {
        self.get(table + 4 * usize::from(number >> 5)) >> (number & 0x1f) & 1 != 0
    }

    /// Receive filters (7.1.2), with one pool.
    fn accepts(&self, frame: &[u8]) -> bool {
        let control = self.get(RCTL);
        let has = |bit: u32| control >> bit & 1 != 0;
        let tag = tag(frame);
        let longest = if has(5) { self.get(RLPML) as usize } else { 1518 + 4 * tag.iter().count() };
        if frame.len() + 4 > longest
            || has(18) && tag.is_some_and(|tag| !self.bit(VFTA, tag & 0xfff))
        {
            return false;
        }
        if frame[..6] == [0xff; 6] {
            return has(15);
        }
        if frame[0] & 1 != 0 {
            return has(4) || self.bit(MTA, u16::from_le_bytes([frame[4], frame[5]]) >> 4);
        }
        let [low, high] = [RAL0, RAH0].map(|half| self.get(half).to_le_bytes());
        has(3) || frame[..6] == [&low[..], &high[..2]].concat()
    }

    /// Receive-side scaling (7.1.1.7).
    fn queue(&self, frame: &[u8]) -> usize {
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

    fn reset(&mut self) {
        self.registers.clear();
        self.registers.extend([(RXDCTL, QUEUE_ENABLE | 1 << 16), (TXDCTL, QUEUE_ENABLE)]);
        self.registers.insert(RLPML, 0x2600);
        self.transmitter = Transmitter::default();
        if !self.faults.no_mac {
            let [a, b, c, d, e, f] = MAC;
            self.registers.insert(RAL0, u32::from_le_bytes([a, b, c, d]));
            self.registers.insert(RAH0, 1 << 31 | u32::from_le_bytes([e, f, 0, 0]));
        }
    }

    /// The bit of EICR that a byte of IVAR gives.
    fn message(allocation: u32) -> u32 {
        if allocation & 0x80 == 0 { 0 } else { 1 << (allocation & 0x1f) }
    }

    /// A queue's interrupt; `side` is 0 for receive and 8 for transmit.
    fn raise_queue(&mut self, queue: usize, side: usize) {
        if self.get(GPIE) & MULTIPLE_MSIX == 0 {
            return self.raise(ICR, LEGACY_IMS, if side == 0 { RXDW } else { TXDW });
        }
        let (word, half) =
            if self.is_i350 { (queue / 2, queue % 2) } else { (queue % 8, queue / 8) };
        let allocation = self.get(IVAR + 4 * word) >> (16 * half + side);
        self.raise(EICR, EIMS, Self::message(allocation));
    }

    fn raise_other(&mut self, cause: u32) {
        if self.get(GPIE) & MULTIPLE_MSIX == 0 {
            return self.raise(ICR, LEGACY_IMS, cause);
        }
        let raised = self.get(ICR) | cause;
        self.registers.insert(ICR, raised);
        if cause & self.get(LEGACY_IMS) != 0 {
            let message = Self::message(self.get(IVAR_MISC) >> 8);
            self.raise(EICR, EIMS, message);
        }
    }

    /// Interrupts at every event that is not masked.
    fn raise(&mut self, register: usize, mask: usize, causes: u32) {
        let raised = self.get(register) | causes;
        self.registers.insert(register, raised);
        self.signal(causes & self.get(mask));
    }

    fn signal(&self, causes: u32) {
        if causes != 0
            && let Some(interrupt) = &self.interrupt
        {
            interrupt.trigger();
        }
    }

    /// A transaction with the PHY (8.2.4).
    fn talk(&mut self, command: u32) {
        let owner = self.get(SW_FW_SYNC);
        assert_ne!(owner & 1 << 1, 0, "firmware may be talking to the PHY");
        assert_eq!(command >> 21 & 0x1f, 1, "the internal PHY");
        let data = match (command >> 26 & 0b11, command >> 16 & 0x1f) {
            (0b10, 1) => u32::from(self.link) << 2 | u32::from(self.negotiated) << 5,
            (0b01, 0) => {
                assert_eq!(command & 0x1a00, 0x1200, "negotiates, and has power");
                self.negotiated = true;
                self.negotiations += 1;
                command & 0xffff
            }
            other => panic!("{other:?}: no register that the driver needs"),
        };
        self.registers.insert(MDIC, command & !0xffff | data | 1 << 28);
    }
}

impl Registers for Model {
    fn read(&self, offset: usize, width: Width) -> u32 {
        assert_eq!(width, Width::Dword, "registers are 32 bits wide");
        let mut state = self.lock();
        match offset {
            STATUS => {
                let disabled = state.get(CTRL) & CTRL_MASTER_DISABLE != 0;
                let masters = !disabled || state.faults.keeps_mastering;
                let up = state.link && state.negotiated;
                0b1000_0001 | u32::from(up) << 1 | u32::from(masters) << 19
            }
            EEC => u32::from(!state.faults.no_nvm) << 9,
            // Read-to-set.
            SWSM => {
                let before = state.get(SWSM);
                state.registers.insert(SWSM, before | 1);
                before
            }
            SW_FW_SYNC => state.get(SW_FW_SYNC) | u32::from(state.faults.firmware_keeps_phy) << 17,
            ICR => {
                let clears = state.get(GPIE) & 1 != 0 || state.get(LEGACY_IMS) == 0;
                if clears { state.registers.insert(ICR, 0).unwrap_or(0) } else { state.get(ICR) }
            }
            EICR => panic!("what reading clears depends on the mode"),
            0x4000..0x4100 => state.registers.insert(offset, 0).unwrap_or(0),
            _ if (RQDPC..TDBAL).contains(&offset) && offset % 0x40 == RQDPC % 0x40 => {
                state.registers.insert(offset, 0).unwrap_or(0)
            }
            // Enabled only while the direction is.
            _ if (RXDCTL..TDBAL).contains(&offset) && offset % 0x40 == RXDCTL % 0x40 => {
                let enabled = state.is_enabled(RCTL);
                state.get(offset) & if enabled { !0 } else { !QUEUE_ENABLE }
            }
            TXDCTL => state.get(TXDCTL) & if state.is_enabled(TCTL) { !0 } else { !QUEUE_ENABLE },
            _ => state.get(offset),
        }
    }

    fn write(&self, offset: usize, width: Width, value: u32) {
        assert_eq!(width, Width::Dword, "registers are 32 bits wide");
        let mut state = self.lock();
        match offset {
            CTRL if value & !state.get(CTRL) & CTRL_RST != 0 => {
                let blocked = state.get(CTRL) & CTRL_MASTER_DISABLE != 0;
                assert!(blocked && !state.is_enabled(RCTL), "reset in the middle of DMA");
                state.reset();
                let pending = if state.faults.stays_in_reset { CTRL_RST } else { 0 };
                state.registers.insert(CTRL, pending);
            }
            MDIC => state.talk(value),
            ICR | EICR => {
                let left = state.get(offset) & !value;
                state.registers.insert(offset, left);
            }
            LEGACY_IMS | EIMS => {
                let mask = state.get(offset) | value;
                state.registers.insert(offset, mask);
                let causes = if offset == EIMS { EICR } else { ICR };
                let multiple = state.get(GPIE) & MULTIPLE_MSIX != 0;
                if multiple == (offset == EIMS) {
                    state.signal(state.get(causes) & value);
                }
            }
            IMC | EIMC => {
                let register = if offset == IMC { LEGACY_IMS } else { EIMS };
                let mask = state.get(register) & !value;
                state.registers.insert(register, mask);
            }
            _ if (RDBAL..TDBAL).contains(&offset) && offset % 0x40 == RDT % 0x40 => {
                let control = offset - RDT + RXDCTL;
                let enabled = state.is_enabled(RCTL) && state.get(control) & QUEUE_ENABLE != 0;
                assert!(value == 0 || enabled, "the tail of a queue that is not enabled");
                state.registers.insert(offset, value);
            }
            TDT => {
                state.registers.insert(TDT, value);
                let stalls = state.faults.stalls_transmit;
                drop(state);
                if !stalls {
                    self.transmit();
                }
            }
            _ => {
                state.registers.insert(offset, value);
            }
        }
    }
}

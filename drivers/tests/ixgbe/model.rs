//! A model of the 82599, from its datasheet, that misbehaves on request. Its DMA goes through the pool's device view,
//! which panics at an access to memory that is not the device's.

use crate::transmitter::Transmitter;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use unikernel::dma::fake::Device;
use unikernel::irq::Interrupt;
use unikernel::mmio::{Registers, Width};
use unikernel::pci::PciAddress;
use unikernel::pci::fake::Machine;

const CTRL: usize = 0x0000;
const STATUS: usize = 0x0008;
const EICR: usize = 0x0800;
const EIMS: usize = 0x0880;
const EIMC: usize = 0x0888;
const GPIE: usize = 0x0898;
const IVAR: usize = 0x0900;
const RDBAL: usize = 0x1000;
const RDLEN: usize = 0x1008;
const RDH: usize = 0x1010;
pub(crate) const SRRCTL: usize = 0x1014;
pub(crate) const RDT: usize = 0x1018;
pub(crate) const RXDCTL: usize = 0x1028;
const QPRDC0: usize = 0x1430;
const RDRXCTL: usize = 0x2f00;
/// Named as the gigabit families have it: bit 1 says that frames come in.
pub(crate) const RCTL: usize = 0x3000;
const MPC0: usize = 0x3fa0;
pub(crate) const HLREG0: usize = 0x4240;
pub(crate) const MAXFRS: usize = 0x4268;
pub(crate) const MFLCN: usize = 0x4294;
const AUTOC: usize = 0x42a0;
const LINKS: usize = 0x42a4;
/// Likewise, that frames go out.
pub(crate) const TCTL: usize = 0x4a80;
pub(crate) const FCTRL: usize = 0x5080;
pub(crate) const VLNCTRL: usize = 0x5088;
pub(crate) const MTA: usize = 0x5200;
const RAL0: usize = 0x5400;
const RAH0: usize = 0x5404;
pub(crate) const RETA: usize = 0x5c00;
const TDBAL: usize = 0x6000;
const TDLEN: usize = 0x6008;
const TDH: usize = 0x6010;
pub(crate) const TDT: usize = 0x6018;
const TXDCTL: usize = 0x6028;
pub(crate) const VFTA: usize = 0xa000;
const SECRXCTRL: usize = 0x8d00;
const SECRXSTAT: usize = 0x8d04;
const EEC: usize = 0x1_0010;
const EERD: usize = 0x1_0014;
const SWSM: usize = 0x1_0140;
const SW_FW_SYNC: usize = 0x1_0160;

/// As the gigabit tests call the interrupt mask.
pub(crate) const IMS: usize = EIMS;

const CTRL_MASTER_DISABLE: u32 = 1 << 2;
const CTRL_RESETS: u32 = 1 << 3 | 1 << 26;
const QUEUE_ENABLE: u32 = 1 << 25;
const LSC: u32 = 1 << 20;
const OTHER: u32 = 1 << 31;

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
    #[allow(dead_code, reason = "the tests shared with the gigabit families set it")]
    pub(crate) keeps_counts: bool,
}

pub(crate) struct Model {
    machine: Machine,
    memory: Device,
    state: Mutex<State>,
}

struct State {
    registers: BTreeMap<usize, u32>,
    faults: Faults,
    link: bool,
    nvm: [u16; 3],
    interrupt: Option<Interrupt>,
    sent: VecDeque<Vec<u8>>,
    reports: usize,
    transmitter: Transmitter,
}

impl Model {
    pub(crate) fn new(machine: Machine, memory: Device, faults: Faults) -> Arc<Self> {
        let word = |i: usize| u16::from_le_bytes([MAC[i], MAC[i + 1]]);
        let mut state = State {
            registers: BTreeMap::new(),
            faults,
            link: true,
            nvm: [word(0), word(2), word(4)],
            interrupt: None,
            sent: VecDeque::new(),
            reports: 0,
            transmitter: Transmitter::default(),
        };
        // As somebody else left it: receiving to who knows where, interrupts on.
        state.reset();
        let left = [(RCTL, 1), (TCTL, 1), (EIMS, !0), (RDLEN, 4096), (RDT, 5), (RXDCTL, 1 << 25)];
        state.registers.extend(left);
        Arc::new(Self { machine, memory, state: Mutex::new(state) })
    }

    pub(crate) fn connect(&self, interrupt: Interrupt) {
        self.state.lock().unwrap().interrupt = Some(interrupt);
    }

    pub(crate) fn set_nvm(&self, words: [u16; 3]) {
        self.state.lock().unwrap().nvm = words;
    }

    pub(crate) fn set_faults(&self, faults: Faults) {
        self.state.lock().unwrap().faults = faults;
    }

    pub(crate) fn register(&self, offset: usize) -> u32 {
        self.state.lock().unwrap().get(offset)
    }

    pub(crate) fn count_missed(&self, frames: u32) {
        let mut state = self.state.lock().unwrap();
        // Some for want of room, some for want of a descriptor.
        for (register, share) in [(MPC0, frames / 2), (QPRDC0, frames - frames / 2)] {
            let missed = state.get(register) + share;
            state.registers.insert(register, missed);
        }
    }

    pub(crate) fn set_link(&self, up: bool) {
        self.set_link_silently(up);
        self.state.lock().unwrap().raise(LSC | OTHER);
    }

    /// The interrupt gets lost.
    pub(crate) fn set_link_silently(&self, up: bool) {
        self.state.lock().unwrap().link = up;
    }

    /// Frames that left, oldest first.
    pub(crate) fn take_sent(&self) -> Vec<Vec<u8>> {
        self.state.lock().unwrap().sent.drain(..).collect()
    }

    /// Completion reports written so far.
    pub(crate) fn reports(&self) -> usize {
        self.state.lock().unwrap().reports
    }

    fn masters_bus(&self) -> bool {
        self.machine.is_bus_master(PciAddress::new(0, 1, 0, 0))
    }

    /// A frame from the wire. `false` when the device has no descriptor for it, or does not receive.
    pub(crate) fn receive(&self, frame: &[u8]) -> bool {
        self.write_back(frame, frame.len() as u16, WHOLE)
    }

    /// A write-back that says anything, in the first queue.
    pub(crate) fn write_back(&self, data: &[u8], len: u16, status: u32) -> bool {
        self.complete(0, data, receive_status(len, status))
    }

    /// A frame from the wire in any queue, out of which a VLAN tag was taken.
    pub(crate) fn receive_tagged(&self, queue: usize, frame: &[u8], tag: u16) -> bool {
        self.write_back_in(queue, frame, u64::from(tag) << 48 | 1 << 3, WHOLE)
    }

    /// A frame in any queue; `more` is added to the write-back.
    pub(crate) fn write_back_in(&self, queue: usize, data: &[u8], more: u64, status: u32) -> bool {
        self.complete(queue, data, receive_status(data.len() as u16, status) | more)
    }

    fn complete(&self, queue: usize, data: &[u8], word: u64) -> bool {
        let mut state = self.state.lock().unwrap();
        let at = |register: usize| register + 0x40 * queue;
        let (head, tail) = (state.get(at(RDH)), state.get(at(RDT)));
        let ready = state.get(RCTL) & 1 != 0
            && state.get(at(RXDCTL)) & QUEUE_ENABLE != 0
            && state.get(SECRXCTRL) & 1 << 1 == 0
            && state.get(CTRL) & CTRL_MASTER_DISABLE == 0;
        if !ready || head == tail || !self.masters_bus() {
            return false;
        }
        let control = state.get(at(SRRCTL));
        assert_eq!(control >> 25 & 0b111, 1, "advanced descriptors with one buffer");
        let descriptor = state.ring(at(RDBAL)) + 16 * u64::from(head);
        let mut before = [0; 16];
        self.memory.read(descriptor, &mut before);
        assert_eq!(before[8] & 1, 0, "descriptor {head} still has its done bit");
        let buffer = u64::from_le_bytes(before[..8].try_into().unwrap());
        let size = (control as usize & 0x1f) << 10;
        self.memory.write(buffer, &data[..data.len().min(size)]);
        // The address is overwritten, and the done bit comes last.
        self.memory.write(descriptor, &[0xee; 8]);
        self.memory.write(descriptor + 8, &(word & !1).to_le_bytes());
        self.memory.write(descriptor + 8, &word.to_le_bytes());
        let next = (head + 1) % (state.get(at(RDLEN)) / 16);
        state.registers.insert(at(RDH), next);
        let cause = state.vector(queue, 0);
        state.raise(cause);
        true
    }

    /// Sets the done bit in a descriptor that is not the device's, as no device should.
    pub(crate) fn scribble(&self, descriptor: u32, len: u16, status: u32) {
        let state = self.state.lock().unwrap();
        let at = state.ring(RDBAL) + 16 * u64::from(descriptor) + 8;
        self.memory.write(at, &receive_status(len, status).to_le_bytes());
    }

    /// Sends what is queued.
    pub(crate) fn transmit(&self) {
        let mut state = self.state.lock().unwrap();
        let enabled = state.get(TCTL) & 1 != 0
            && state.get(TXDCTL) & QUEUE_ENABLE != 0
            && state.get(CTRL) & CTRL_MASTER_DISABLE == 0;
        while enabled && self.masters_bus() && state.get(TDH) != state.get(TDT) {
            let head = state.get(TDH);
            let at = state.ring(TDBAL) + 16 * u64::from(head);
            let mut descriptor = [0; 16];
            self.memory.read(at, &mut descriptor);
            let frames = state.transmitter.take(&self.memory, descriptor);
            state.sent.extend(frames);
            if descriptor[11] & 1 << 3 != 0 {
                self.memory.write(at + 12, &[1]);
                state.reports += 1;
                let cause = state.vector(0, 8);
                state.raise(cause);
            }
            let next = (head + 1) % (state.get(TDLEN) / 16);
            state.registers.insert(TDH, next);
        }
    }
}

/// The second quadword of a write-back, from what the 82574L would say.
fn receive_status(len: u16, status: u32) -> u64 {
    let has = |bits: u32| status & bits != 0;
    let looked = if has(1 << 2) { 0 } else { status & 0b111_0000 };
    let mut new = status & WHOLE | looked;
    for (bits, place) in [(0x9700_0000, 29), (1 << 29, 30), (1 << 30, 31)] {
        new |= u32::from(has(bits)) << place;
    }
    u64::from(len) << 32 | u64::from(new)
}

impl State {
    fn get(&self, offset: usize) -> u32 {
        self.registers.get(&offset).copied().unwrap_or(0)
    }

    /// The base of a ring, by its first register.
    fn ring(&self, low: usize) -> u64 {
        u64::from(self.get(low)) | u64::from(self.get(low + 4)) << 32
    }

    /// The cause that IVAR gives a queue; `side` is 0 for receive and 8 for transmit.
    fn vector(&self, queue: usize, side: usize) -> u32 {
        let entry = self.get(IVAR + 4 * (queue / 2)) >> (16 * (queue % 2) + side);
        if entry & 0x80 == 0 { 0 } else { 1 << (entry & 0x3f) }
    }

    fn reset(&mut self) {
        self.registers.clear();
        if !self.faults.no_mac {
            let [a, b, c, d, e, f] = MAC;
            self.registers.insert(RAL0, u32::from_le_bytes([a, b, c, d]));
            self.registers.insert(RAH0, 1 << 31 | u32::from_le_bytes([e, f, 0, 0]));
        }
    }

    /// Interrupts at every event that is not masked.
    fn raise(&mut self, causes: u32) {
        let raised = self.get(EICR) | causes;
        self.registers.insert(EICR, raised);
        self.signal(causes);
    }

    fn signal(&mut self, causes: u32) {
        if causes & self.get(EIMS) != 0
            && let Some(interrupt) = &self.interrupt
        {
            interrupt.trigger();
        }
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

impl Registers for Model {
    fn read(&self, offset: usize, width: Width) -> u32 {
        assert_eq!(width, Width::Dword, "registers are 32 bits wide");
        let mut state = self.state.lock().unwrap();
        match offset {
            STATUS => {
                let disabled = state.get(CTRL) & CTRL_MASTER_DISABLE != 0;
                let masters = !disabled || state.faults.keeps_mastering;
                u32::from(masters) << 19
            }
            LINKS => u32::from(state.link) << 30 | 0b11 << 28,
            EEC => u32::from(!state.faults.stays_in_reset) << 9,
            RDRXCTL => state.get(RDRXCTL) | u32::from(!state.faults.stays_in_reset) << 3,
            SECRXSTAT => 1,
            // Read-to-set.
            SWSM => {
                let before = state.get(SWSM);
                state.registers.insert(SWSM, before | 1);
                before
            }
            EICR => {
                assert_eq!(state.get(GPIE) & 1 << 5, 0, "reading clears");
                state.registers.insert(EICR, 0).unwrap_or(0)
            }
            QPRDC0 | 0x3fa0..0x4100 => state.registers.insert(offset, 0).unwrap_or(0),
            _ => state.get(offset),
        }
    }

    fn write(&self, offset: usize, width: Width, value: u32) {
        assert_eq!(width, Width::Dword, "registers are 32 bits wide");
        let mut state = self.state.lock().unwrap();
        match offset {
            CTRL if value & CTRL_RESETS != 0 => {
                let blocked = state.get(CTRL) & CTRL_MASTER_DISABLE != 0;
                let is_idle = (state.get(RCTL) | state.get(TCTL)) & 1 == 0;
                let has_ended = is_idle && (blocked || state.faults.keeps_mastering);
                assert!(has_ended, "reset in the middle of DMA");
                state.reset();
                let pending = if state.faults.stays_in_reset { value & CTRL_RESETS } else { 0 };
                state.registers.insert(CTRL, pending);
            }
            EICR => {
                let left = state.get(EICR) & !value;
                state.registers.insert(EICR, left);
            }
            EIMS => {
                let mask = state.get(EIMS) | value;
                state.registers.insert(EIMS, mask);
                let raised = state.get(EICR);
                state.signal(raised);
            }
            EIMC => {
                let mask = state.get(EIMS) & !value;
                state.registers.insert(EIMS, mask);
            }
            EERD => {
                let word = u32::from(state.word(value >> 2));
                state.registers.insert(EERD, word << 16 | 0b10);
            }
            AUTOC => {
                assert_ne!(state.get(SW_FW_SYNC) & 1 << 3, 0, "firmware may be at it");
                state.registers.insert(AUTOC, value & !(1 << 12));
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

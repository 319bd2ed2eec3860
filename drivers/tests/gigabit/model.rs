//! A model of the 82574L or the 82540EM, from their datasheets, that misbehaves on request. Its DMA goes through the
//! pool's device view, which panics at an access to memory that is not the device's.

use super::{Kind, segments};
use crate::KIND;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use unikernel::dma::fake::Device;
use unikernel::irq::Interrupt;
use unikernel::mmio::{Registers, Width};
use unikernel::pci::PciAddress;
use unikernel::pci::fake::Machine;

pub(crate) const CTRL: usize = 0x0000;
pub(crate) const STATUS: usize = 0x0008;
pub(crate) const EECD: usize = 0x0010;
pub(crate) const EERD: usize = 0x0014;
pub(crate) const ICR: usize = 0x00c0;
pub(crate) const IMS: usize = 0x00d0;
pub(crate) const IMC: usize = 0x00d8;
pub(crate) const RCTL: usize = 0x0100;
pub(crate) const TCTL: usize = 0x0400;
pub(crate) const RDBAL: usize = 0x2800;
pub(crate) const RDBAH: usize = 0x2804;
pub(crate) const RDLEN: usize = 0x2808;
pub(crate) const RDH: usize = 0x2810;
pub(crate) const RDT: usize = 0x2818;
pub(crate) const TDBAL: usize = 0x3800;
pub(crate) const TDBAH: usize = 0x3804;
pub(crate) const TDLEN: usize = 0x3808;
pub(crate) const TDH: usize = 0x3810;
pub(crate) const TDT: usize = 0x3818;
const MPC: usize = 0x4010;
const VET: usize = 0x0038;
const MTA: usize = 0x5200;
const VFTA: usize = 0x5600;
pub(crate) const RFCTL: usize = 0x5008;
pub(crate) const RAL0: usize = 0x5400;
pub(crate) const RAH0: usize = 0x5404;

pub(crate) const CTRL_MASTER_DISABLE: u32 = 1 << 2;
pub(crate) const CTRL_RST: u32 = 1 << 26;
pub(crate) const LSC: u32 = 1 << 2;

/// Done and end of packet.
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
    /// Does not clear counts that are read.
    pub(crate) keeps_counts: bool,
    /// Leaves transmit descriptors alone until told to go on.
    pub(crate) stalls_transmit: bool,
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
    /// With MSI-X the causes have other bits.
    causes: (u32, u32),
    sent: VecDeque<Vec<u8>>,
    reports: usize,
    context: [u8; 16],
    /// Pieces so far of the frame that is being sent.
    pieces: Vec<u8>,
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
            causes: (1 << 20, 1 << 22),
            sent: VecDeque::new(),
            reports: 0,
            context: [0; 16],
            pieces: Vec::new(),
        };
        // As somebody else left it: receiving to who knows where, interrupts on.
        state.reset();
        state.registers.extend([(RCTL, 2), (TCTL, 2), (IMS, !0), (RDLEN, 4096), (RDT, 5)]);
        Arc::new(Self { machine, memory, state: Mutex::new(state) })
    }

    /// Wires the interrupt up; `(receive, transmit)` are the bits of its causes.
    pub(crate) fn connect(&self, interrupt: Interrupt, causes: (u32, u32)) {
        let mut state = self.state.lock().unwrap();
        state.interrupt = Some(interrupt);
        state.causes = causes;
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

    /// Changes a register behind the driver's back.
    pub(crate) fn change(&self, offset: usize, f: impl FnOnce(u32) -> u32) {
        let mut state = self.state.lock().unwrap();
        let value = f(state.get(offset));
        state.registers.insert(offset, value);
    }

    pub(crate) fn count_missed(&self, frames: u32) {
        let mut state = self.state.lock().unwrap();
        let missed = state.get(MPC) + frames;
        state.registers.insert(MPC, missed);
    }

    pub(crate) fn set_link(&self, up: bool) {
        self.set_link_silently(up);
        self.state.lock().unwrap().raise(LSC | 1 << 24);
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

    /// A frame from the wire that has to get through the filters. `false` when it does not, or the device has no
    /// descriptor for it.
    pub(crate) fn arrive(&self, frame: &[u8]) -> bool {
        let (control, mode) = (self.register(RCTL), self.register(CTRL));
        let is_tagged = u32::from(u16::from_be_bytes([frame[12], frame[13]])) == 0x8100;
        let longest = if is_tagged { 1518 } else { 1514 };
        if !self.lets_through(frame, is_tagged) || frame.len() > longest && control & 1 << 5 == 0 {
            return false;
        }
        if !is_tagged || mode & 1 << 30 == 0 {
            return self.receive(frame);
        }
        assert_eq!(self.register(VET), 0x8100);
        let tag = u32::from(u16::from_be_bytes([frame[14], frame[15]]));
        let frame = [&frame[..12], &frame[16..]].concat();
        self.write(&frame, frame.len() as u16, WHOLE | 1 << 3, tag as u16)
    }

    fn lets_through(&self, frame: &[u8], is_tagged: bool) -> bool {
        let bit = |table: usize, number: u16| {
            self.register(table + 4 * usize::from(number >> 5)) >> (number & 31) & 1 != 0
        };
        let control = self.register(RCTL);
        if is_tagged && control & 1 << 18 != 0 {
            let vlan = u16::from_be_bytes([frame[14], frame[15]]) & 0xfff;
            if !bit(VFTA, vlan) {
                return false;
            }
        }
        let hash = u16::from_le_bytes([frame[4], frame[5]]) >> 4;
        match frame {
            [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, ..] => control & 1 << 15 != 0,
            [first, ..] if first & 1 != 0 => control & 1 << 4 != 0 || bit(MTA, hash),
            _ => control & 1 << 3 != 0 || frame[..6] == MAC,
        }
    }

    /// A frame from the wire, whoever it is for, in as many buffers as it takes. `false` when the device has no
    /// descriptor for it, or does not receive.
    pub(crate) fn receive(&self, frame: &[u8]) -> bool {
        let buffer = self.buffer_size();
        let (rest, last) = frame.split_at(frame.len().saturating_sub(1) / buffer * buffer);
        rest.chunks(buffer).all(|part| self.write(part, part.len() as u16, 1, 0))
            && self.write(last, last.len() as u16, WHOLE, 0)
    }

    /// As RCTL.BSIZE and RCTL.BSEX say.
    fn buffer_size(&self) -> usize {
        let control = self.register(RCTL);
        let size = 2048 >> (control >> 16 & 0b11);
        if control & 1 << 25 != 0 { 16 * size } else { size }
    }

    /// A write-back that says anything.
    pub(crate) fn write_back(&self, data: &[u8], len: u16, status: u32) -> bool {
        self.write(data, len, status, 0)
    }

    fn write(&self, data: &[u8], len: u16, status: u32, tag: u16) -> bool {
        let buffer_size = self.buffer_size();
        let mut state = self.state.lock().unwrap();
        let (head, tail) = (state.get(RDH), state.get(RDT));
        let ready = state.get(RCTL) & 2 != 0 && state.get(CTRL) & CTRL_MASTER_DISABLE == 0;
        if !ready || head == tail || !self.masters_bus() {
            return false;
        }
        let extended = state.get(RFCTL) & 1 << 15 != 0;
        assert_eq!(extended, KIND == Kind::E1000e, "the format of the family");
        let base = u64::from(state.get(RDBAL)) | u64::from(state.get(RDBAH)) << 32;
        let at = base + 16 * u64::from(head);
        let mut descriptor = [0; 16];
        self.memory.read(at, &mut descriptor);
        let (word, done) = receive_status(len, status);
        let word = word | u64::from(tag) << 48;
        let before = u64::from_le_bytes(descriptor[8..].try_into().unwrap());
        assert_eq!(before & done, 0, "descriptor {head} still has its done bit");
        let buffer = u64::from_le_bytes(descriptor[..8].try_into().unwrap());
        self.memory.write(buffer, &data[..data.len().min(buffer_size)]);
        if extended {
            // The address is overwritten.
            self.memory.write(at, &[0xee; 8]);
        }
        // The done bit comes last.
        self.memory.write(at + 8, &(word & !done).to_le_bytes());
        self.memory.write(at + 8, &word.to_le_bytes());
        let next = (head + 1) % (state.get(RDLEN) / 16);
        state.registers.insert(RDH, next);
        let cause = state.causes.0;
        state.raise(cause);
        true
    }

    /// Sets the done bit in a descriptor that is not the device's, as no device should.
    pub(crate) fn scribble(&self, descriptor: u32, len: u16, status: u32) {
        let state = self.state.lock().unwrap();
        let at = u64::from(state.get(RDBAL)) + 16 * u64::from(descriptor) + 8;
        self.memory.write(at, &receive_status(len, status).0.to_le_bytes());
    }

    /// Sends what is queued.
    pub(crate) fn transmit(&self) {
        let mut state = self.state.lock().unwrap();
        let enabled = state.get(TCTL) & 2 != 0 && state.get(CTRL) & CTRL_MASTER_DISABLE == 0;
        while enabled && self.masters_bus() && state.get(TDH) != state.get(TDT) {
            let head = state.get(TDH);
            let base = u64::from(state.get(TDBAL)) | u64::from(state.get(TDBAH)) << 32;
            let at = base + 16 * u64::from(head);
            let mut descriptor = [0; 16];
            self.memory.read(at, &mut descriptor);
            let command = u64::from_le_bytes(descriptor[8..].try_into().unwrap());
            assert_ne!(command & 1 << 29, 0, "not a legacy descriptor");
            if command & 1 << 20 == 0 {
                state.context = descriptor;
            } else {
                assert_ne!(command & 1 << 25, 0, "with its check sequence");
                let address = u64::from_le_bytes(descriptor[..8].try_into().unwrap());
                let mut piece = vec![0; (command & 0xf_ffff) as usize];
                assert!(piece.len() <= 8192);
                self.memory.read(address, &mut piece);
                state.pieces.extend(piece);
                if command & 1 << 24 != 0 {
                    state.send(command);
                }
            }
            if command & 1 << 27 != 0 {
                self.memory.write(at + 12, &[1]);
                state.reports += 1;
                let cause = state.causes.1;
                state.raise(cause);
            }
            let next = (head + 1) % (state.get(TDLEN) / 16);
            state.registers.insert(TDH, next);
        }
    }
}

/// The second quadword of a receive descriptor, and its done bit. `status` is as extended descriptors have it:
/// bits of status in the low byte, of errors in the high one.
fn receive_status(len: u16, status: u32) -> (u64, u64) {
    match KIND {
        Kind::E1000e => (u64::from(len) << 32 | u64::from(status), 1),
        Kind::E1000 => {
            // One bit says that TCP or UDP was looked at.
            let status = status | (status & 1 << 4) << 1;
            let (status, errors) = (u64::from(status & 0xff), u64::from(status >> 24));
            (u64::from(len) | status << 32 | errors << 40, 1 << 32)
        }
    }
}

/// What the device sends of a whole frame, whose last descriptor has this second quadword.
fn segments_of(mut frame: Vec<u8>, context: &[u8; 16], command: u64) -> Vec<Vec<u8>> {
    if command & 1 << 26 == 0 {
        if command & 1 << 41 != 0 {
            insert_checksum(&mut frame, context);
        }
        return vec![frame];
    }
    let word = u64::from_le_bytes(context[8..].try_into().unwrap());
    let (headers, size) = (context[13], (word >> 48) as u16);
    let payload = frame.len() - usize::from(headers);
    assert_ne!(word & 1 << 26, 0, "a context for segmentation");
    assert_eq!((word & 0xf_ffff) as usize, payload);
    let is_ipv4 = frame[12..14] == [8, 0];
    assert_eq!(word >> 24 & 0b11, 0b01 | u64::from(is_ipv4) << 1, "TCP over IPv4 or IPv6");
    assert_eq!(command >> 40 & 0b11, 0b10 | u64::from(is_ipv4), "checksums to insert");
    if is_ipv4 {
        assert_eq!(context[..2], [14, 24], "start and place of the header checksum");
        assert_eq!(frame[24..26], [0, 0]);
    }
    segments::cut(&frame, headers.into(), size.into())
}

/// Sums from where the context says and puts the result where it says.
fn insert_checksum(frame: &mut [u8], context: &[u8]) {
    let (start, field) = (usize::from(context[4]), usize::from(context[5]));
    let sum: u32 = frame[start..]
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)))
        .sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    frame[field..field + 2].copy_from_slice(&sum.to_be_bytes());
}

impl State {
    fn get(&self, offset: usize) -> u32 {
        self.registers.get(&offset).copied().unwrap_or(0)
    }

    fn send(&mut self, command: u64) {
        let frame = std::mem::take(&mut self.pieces);
        for mut frame in segments_of(frame, &self.context, command) {
            if command & 1 << 30 != 0 {
                assert_ne!(self.get(CTRL) & 1 << 30, 0, "VLANs are on");
                let [high, low] = ((command >> 48) as u16).to_be_bytes();
                frame.splice(12..12, [0x81, 0, high, low]);
            }
            self.sent.push_back(frame);
        }
    }

    fn reset(&mut self) {
        self.pieces.clear();
        self.context = [0; 16];
        self.registers.clear();
        if !self.faults.no_mac {
            let [a, b, c, d, e, f] = MAC;
            self.registers.insert(RAL0, u32::from_le_bytes([a, b, c, d]));
            self.registers.insert(RAH0, 1 << 31 | u32::from_le_bytes([e, f, 0, 0]));
        }
    }

    /// Interrupts at every event that is not masked, also when its cause was raised before: QEMU's
    /// model does not, but hardware may.
    fn raise(&mut self, causes: u32) {
        let raised = self.get(ICR) | causes;
        self.registers.insert(ICR, raised);
        self.signal(causes);
    }

    fn signal(&mut self, causes: u32) {
        if causes & self.get(IMS) != 0
            && let Some(interrupt) = &self.interrupt
        {
            interrupt.trigger();
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
                0b1000_0001 | u32::from(state.link) << 1 | u32::from(masters) << 19
            }
            EECD if KIND == Kind::E1000e => u32::from(!state.faults.stays_in_reset) << 9,
            ICR => {
                let causes = state.get(ICR);
                let by_message = state.causes.0 == 1 << 20;
                if state.get(IMS) == 0 && !by_message {
                    state.registers.insert(ICR, 0);
                }
                causes
            }
            // QEMU's e1000 keeps what its datasheet says is cleared.
            0x4000..0x4100 if !state.faults.keeps_counts => {
                state.registers.insert(offset, 0).unwrap_or(0)
            }
            _ => state.get(offset),
        }
    }

    fn write(&self, offset: usize, width: Width, value: u32) {
        assert_eq!(width, Width::Dword, "registers are 32 bits wide");
        let mut state = self.state.lock().unwrap();
        match offset {
            CTRL if value & !state.get(CTRL) & CTRL_RST != 0 => {
                let receives = state.get(RCTL) & 2 != 0;
                let blocked = state.get(CTRL) & CTRL_MASTER_DISABLE != 0;
                let has_ended = !receives && (blocked || KIND == Kind::E1000);
                assert!(has_ended, "reset in the middle of DMA");
                state.reset();
                let pending = if state.faults.stays_in_reset { CTRL_RST } else { 0 };
                state.registers.insert(CTRL, pending);
            }
            ICR => {
                let left = state.get(ICR) & !value;
                state.registers.insert(ICR, left);
            }
            IMS => {
                let mask = state.get(IMS) | value;
                state.registers.insert(IMS, mask);
                let raised = state.get(ICR);
                state.signal(raised);
            }
            IMC => {
                let mask = state.get(IMS) & !value;
                state.registers.insert(IMS, mask);
            }
            EERD => {
                let (shift, done) = if KIND == Kind::E1000e { (2, 1 << 1) } else { (8, 1 << 4) };
                let word = state.nvm.get(value as usize >> shift).copied().unwrap_or(0);
                state.registers.insert(EERD, u32::from(word) << 16 | done);
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

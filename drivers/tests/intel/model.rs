//! A model of an Intel NIC that misbehaves on request: registers, rings, filters and interrupts as
//! all families have them. Where its registers are and what else a datasheet says, its [`Family`]
//! tells. DMA goes through the pool's device view, which panics at an access to memory that is not
//! the device's.

pub(crate) use super::datasheet::{CTRL, Causes, Family, Faults, Filters};
use crate::family::Own;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use unikernel::dma::fake::Device;
use unikernel::irq::Interrupt;
use unikernel::mmio::{Registers, Width};
use unikernel::pci::PciAddress;
use unikernel::pci::fake::Machine;

pub(crate) const MAC: [u8; 6] = [0x52, 0x54, 0x00, 0x67, 0x6f, 0x01];

/// Done and end of packet. Status and errors are given as the 82574L has them, and translated.
pub(crate) const WHOLE: u32 = 0b11;
/// Whole, and IPv4 and UDP checksums looked at.
pub(crate) const CHECKED: u32 = WHOLE | 1 << 4 | 1 << 6;

/// Registers that are in the same place in all families.
const STATUS: usize = 0x0008;
const MTA: usize = 0x5200;
const RAL0: usize = 0x5400;
const RAH0: usize = 0x5404;
const CTRL_MASTER_DISABLE: u32 = 1 << 2;

/// Those of a ring, from its first one on.
const LENGTH: usize = 0x08;
const HEAD: usize = 0x10;
const TAIL: usize = 0x18;
/// From one queue's registers to the next one's.
pub(crate) const QUEUE: usize = 0x40;

/// A device.
pub(crate) struct Model {
    machine: Machine,
    memory: Device,
    state: Mutex<State>,
}

/// Everything about it that changes.
pub(crate) struct State {
    registers: BTreeMap<usize, u32>,
    pub(crate) faults: Faults,
    /// What is at the other end of the wire.
    pub(crate) link: bool,
    #[allow(dead_code, reason = "not every family's driver reads it")]
    pub(crate) nvm: [u16; 3],
    interrupt: Option<Interrupt>,
    sent: VecDeque<Vec<u8>>,
    reports: usize,
    transmitter: crate::family::Transmitter,
    /// The family's.
    #[allow(dead_code, reason = "not every family has something")]
    pub(crate) own: Own,
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
            transmitter: Default::default(),
            own: Default::default(),
        };
        state.reset();
        state.registers.extend(State::abandoned());
        Arc::new(Self { machine, memory, state: Mutex::new(state) })
    }

    /// As somebody else leaves it: the driver has to manage with any state.
    pub(crate) fn abandon(&self) {
        let mut state = self.state();
        state.reset();
        state.registers.extend(State::abandoned());
    }

    /// The device as it is now; to be let go of before the driver goes on.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn connect(&self, interrupt: Option<Interrupt>) {
        self.state().interrupt = interrupt;
    }

    pub(crate) fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    pub(crate) fn register(&self, offset: usize) -> u32 {
        self.state().get(offset)
    }

    /// Some for want of room, some for want of a descriptor.
    pub(crate) fn count_missed(&self, frames: u32) {
        let mut state = self.state();
        let mut left = frames;
        for (number, &register) in State::MISSED.iter().enumerate() {
            let share = left / (State::MISSED.len() - number) as u32;
            left -= share;
            let missed = state.get(register) + share;
            state.set(register, missed);
        }
    }

    pub(crate) fn set_link(&self, up: bool) {
        self.set_link_silently(up);
        self.state().raise_link();
    }

    /// The interrupt gets lost.
    pub(crate) fn set_link_silently(&self, up: bool) {
        self.state().link = up;
    }

    /// Frames that left, oldest first.
    pub(crate) fn take_sent(&self) -> Vec<Vec<u8>> {
        self.state().sent.drain(..).collect()
    }

    /// Completion reports written so far.
    pub(crate) fn reports(&self) -> usize {
        self.state().reports
    }

    fn masters_bus(&self) -> bool {
        self.machine.is_bus_master(PciAddress::new(0, 1, 0, 0))
    }

    /// A frame from the wire, tag and all, which the filters may drop. `false` when they do, or the
    /// device has no descriptor for it, or does not receive.
    pub(crate) fn arrive(&self, frame: &[u8]) -> bool {
        let (accepted, strips) = {
            let state = self.state();
            (state.accepts(frame), state.filters().strips)
        };
        match tag(frame).filter(|_| strips) {
            _ if !accepted => false,
            None => self.receive(frame),
            tag => {
                let frame = [&frame[..12], &frame[16..]].concat();
                self.deliver(self.queue(&frame), &frame, tag)
            }
        }
    }

    /// A frame that the filters let through. `false` when the device has no descriptor for it, or
    /// does not receive.
    pub(crate) fn receive(&self, frame: &[u8]) -> bool {
        self.deliver(self.queue(frame), frame, None)
    }

    /// The same in this queue, in as many buffers as it takes, with the tag that was taken out.
    pub(crate) fn deliver(&self, queue: usize, frame: &[u8], tag: Option<u16>) -> bool {
        let Some(buffer) = self.state().buffer(queue) else { return false };
        let (rest, last) = frame.split_at(frame.len().saturating_sub(1) / buffer * buffer);
        let word = |part: &[u8], status, tag| State::write_back(part.len() as u16, status, tag);
        rest.chunks(buffer).all(|part| self.complete(queue, part, word(part, 1, None)))
            && self.complete(queue, last, word(last, WHOLE, tag))
    }

    /// A write-back that says anything, in the first queue.
    pub(crate) fn write_back(&self, data: &[u8], len: u16, status: u32) -> bool {
        self.complete(0, data, State::write_back(len, status, None))
    }

    /// A frame from whose write-back a tag was taken, with more bits in that.
    #[allow(dead_code, reason = "not every family has more")]
    pub(crate) fn deliver_as(&self, frame: &[u8], tag: u16, more: u64) -> bool {
        let word = State::write_back(frame.len() as u16, WHOLE, Some(tag));
        self.complete(0, frame, word | more)
    }

    /// The queue that the device chooses for a frame.
    pub(crate) fn queue(&self, frame: &[u8]) -> usize {
        self.state().choose(frame)
    }

    fn complete(&self, queue: usize, data: &[u8], word: u64) -> bool {
        let mut state = self.state();
        let ring = State::RINGS[0] + QUEUE * queue;
        let (head, tail) = (state.get(ring + HEAD), state.get(ring + TAIL));
        let Some(size) = state.buffer(queue).filter(|_| head != tail) else { return false };
        if state.is_blocked() || !self.masters_bus() {
            return false;
        }
        let at = state.address(ring) + 16 * u64::from(head);
        let [buffer, before] = self.descriptor(at);
        assert_eq!(before & State::DONE, 0, "descriptor {head} still has its done bit");
        self.memory.write(buffer, &data[..data.len().min(size)]);
        if State::OVERWRITES {
            self.memory.write(at, &[0xee; 8]);
        }
        // The done bit comes last.
        self.memory.write(at + 8, &(word & !State::DONE).to_le_bytes());
        self.memory.write(at + 8, &word.to_le_bytes());
        state.advance(ring, head);
        state.raise_queue(queue, false);
        true
    }

    /// Sets the done bit in a descriptor that is not the device's, as no device should.
    /// One that has no ring, or does not answer, does nothing.
    pub(crate) fn scribble(&self, descriptor: u32, len: u16, status: u32) {
        let state = self.state();
        if state.is_silent() || state.buffer(0).is_none() {
            return;
        }
        let at = state.address(State::RINGS[0]) + 16 * u64::from(descriptor) + 8;
        self.memory.write(at, &State::write_back(len, status, None).to_le_bytes());
    }

    /// Sends what is queued.
    pub(crate) fn transmit(&self) {
        let mut state = self.state();
        let ring = State::RINGS[1];
        let enabled = state.sends() && !state.is_blocked();
        while enabled && self.masters_bus() && state.get(ring + HEAD) != state.get(ring + TAIL) {
            let head = state.get(ring + HEAD);
            let at = state.address(ring) + 16 * u64::from(head);
            let descriptor = self.descriptor(at);
            let may_tag = state.inserts_tags();
            let frames = state.transmitter.take(&self.memory, descriptor, may_tag);
            state.sent.extend(frames);
            // DCMD.RS asks for a report, DD is one.
            if descriptor[1] & 1 << 27 != 0 {
                self.memory.write(at + 12, &[1]);
                state.reports += 1;
                state.raise_queue(0, true);
            }
            state.advance(ring, head);
        }
    }

    fn descriptor(&self, at: u64) -> [u64; 2] {
        [at, at + 8].map(|at| {
            let mut word = [0; 8];
            self.memory.read(at, &mut word);
            u64::from_le_bytes(word)
        })
    }
}

/// The 802.1Q tag of a frame.
fn tag(frame: &[u8]) -> Option<u16> {
    (frame[12..14] == [0x81, 0x00]).then(|| u16::from_be_bytes([frame[14], frame[15]]))
}

impl State {
    pub(crate) fn get(&self, offset: usize) -> u32 {
        self.registers.get(&offset).copied().unwrap_or(0)
    }

    pub(crate) fn set(&mut self, offset: usize, value: u32) {
        self.registers.insert(offset, value);
    }

    /// Reads a register that reading clears.
    #[allow(dead_code, reason = "not every family has one")]
    pub(crate) fn take(&mut self, offset: usize) -> u32 {
        self.registers.insert(offset, 0).unwrap_or(0)
    }

    /// Reads a semaphore that reading takes.
    #[allow(dead_code, reason = "not every family has one")]
    pub(crate) fn take_semaphore(&mut self, offset: usize) -> u32 {
        let before = self.get(offset);
        self.set(offset, before | 1);
        before
    }

    pub(crate) fn has(&self, (register, bit): (usize, u32)) -> bool {
        self.get(register) >> bit & 1 != 0
    }

    /// Clears a bit behind the driver's back.
    pub(crate) fn forget(&mut self, (register, bit): (usize, u32)) {
        self.set(register, self.get(register) & !(1 << bit));
    }

    /// Whether the device was told to leave the bus alone.
    pub(crate) fn is_blocked(&self) -> bool {
        self.is_silent() || self.get(CTRL) & CTRL_MASTER_DISABLE != 0
    }

    fn is_silent(&self) -> bool {
        self.faults.silent_after == Some(0)
    }

    /// The base of a ring, by its first register.
    fn address(&self, ring: usize) -> u64 {
        u64::from(self.get(ring)) | u64::from(self.get(ring + 4)) << 32
    }

    fn advance(&mut self, ring: usize, head: u32) {
        let next = (head + 1) % (self.get(ring + LENGTH) / 16);
        self.set(ring + HEAD, next);
    }

    fn accepts(&self, frame: &[u8]) -> bool {
        let in_table = |table, number: u16| {
            self.has((table + 4 * usize::from(number >> 5), u32::from(number & 31)))
        };
        let (tag, filters) = (tag(frame), self.filters());
        let is_foreign = tag.is_some_and(|tag| !in_table(Self::VLANS, tag & 0xfff));
        if frame.len() > self.longest(tag.is_some()) || is_foreign && self.has(Self::VLAN_FILTER) {
            return false;
        }
        if frame[..6] == [0xff; 6] {
            return filters.broadcasts;
        }
        if frame[0] & 1 != 0 {
            // Bits 47 to 36 of the address.
            let hash = u16::from_le_bytes([frame[4], frame[5]]) >> 4;
            return filters.every_group || in_table(MTA, hash);
        }
        let [low, high] = [RAL0, RAH0].map(|half| self.get(half).to_le_bytes());
        filters.every_station
            || high[3] & 0x80 != 0 && frame[..6] == [&low[..], &high[..2]].concat()
    }

    fn reset(&mut self) {
        self.registers = Self::defaults().into_iter().collect();
        self.transmitter = Default::default();
        if !self.faults.no_mac {
            let [a, b, c, d, e, f] = MAC;
            self.set(RAL0, u32::from_le_bytes([a, b, c, d]));
            self.set(RAH0, 1 << 31 | u32::from_le_bytes([e, f, 0, 0]));
        }
    }

    /// Interrupts at every event that is not masked, also when its cause was raised before: QEMU's
    /// models do not, but hardware may.
    pub(crate) fn raise(&mut self, causes: &Causes, bits: u32) {
        let raised = self.get(causes.raised) | bits;
        self.set(causes.raised, raised);
        self.signal(causes, bits);
    }

    fn signal(&self, causes: &Causes, bits: u32) {
        if bits & self.get(causes.mask) != 0
            && let Some(interrupt) = &self.interrupt
        {
            interrupt.trigger();
        }
    }

    /// Writes a register of causes. Returns whether it is one.
    fn write_causes(&mut self, offset: usize, value: u32) -> bool {
        for causes in Self::CAUSES {
            if offset == causes.raised {
                self.set(offset, self.get(offset) & !value);
            } else if offset == causes.mask {
                self.set(offset, self.get(offset) | value);
                if self.is_live(causes) {
                    self.signal(causes, self.get(causes.raised));
                }
            } else if offset == causes.clear {
                self.set(causes.mask, self.get(causes.mask) & !value);
            } else {
                continue;
            }
            return true;
        }
        false
    }
}

impl Registers for Model {
    fn read(&self, offset: usize, width: Width) -> u32 {
        assert_eq!(width, Width::Dword, "registers are 32 bits wide");
        let mut state = self.state();
        if state.is_silent() {
            return !0;
        }
        if let Some(reads) = &mut state.faults.silent_after {
            *reads -= 1;
        }
        if offset == STATUS {
            let masters = !state.is_blocked() || state.faults.keeps_mastering;
            return state.status() | u32::from(masters) << 19;
        }
        state.read(offset).unwrap_or_else(|| state.get(offset))
    }

    fn write(&self, offset: usize, width: Width, value: u32) {
        assert_eq!(width, Width::Dword, "registers are 32 bits wide");
        let mut state = self.state();
        if state.is_silent() {
            return;
        }
        if offset == CTRL && value & !state.get(CTRL) & State::RESETS != 0 {
            assert!(state.may_reset(), "reset in the middle of DMA");
            state.reset();
            let pending = if state.faults.stays_in_reset { value & State::RESETS } else { 0 };
            return state.set(CTRL, pending);
        }
        if state.write_causes(offset, value) || state.write(offset, value) {
            return;
        }
        state.set(offset, value);
        let stalls = state.faults.stalls_transmit;
        drop(state);
        if offset == State::RINGS[1] + TAIL && !stalls {
            self.transmit();
        }
    }
}

//! A model of a virtio network device, from the specification, that misbehaves on request. Its DMA
//! goes through the pool's device view, which panics at an access to memory that is not the
//! device's.

use std::sync::{Arc, Mutex};
use unikernel::dma::fake::Device;
use unikernel::irq::Interrupt;
use unikernel::mmio::{Registers, Width};
use unikernel::pci::PciAddress;
use unikernel::pci::fake::{Card, Machine};

pub(crate) const MAC: [u8; 6] = [0x52, 0x54, 0x00, 0x67, 0x6f, 0x01];

pub(crate) const CSUM: u64 = 1 << 0;
pub(crate) const GUEST_CSUM: u64 = 1 << 1;
pub(crate) const MTU: u64 = 1 << 3;
pub(crate) const MAC_BIT: u64 = 1 << 5;
pub(crate) const GUEST_TSO4: u64 = 1 << 7;
pub(crate) const HOST_TSO4: u64 = 1 << 11;
pub(crate) const HOST_TSO6: u64 = 1 << 12;
pub(crate) const MRG_RXBUF: u64 = 1 << 15;
pub(crate) const STATUS: u64 = 1 << 16;
pub(crate) const EVENT_IDX: u64 = 1 << 29;
pub(crate) const VERSION_1: u64 = 1 << 32;
pub(crate) const ACCESS_PLATFORM: u64 = 1 << 33;
pub(crate) const ORDER_PLATFORM: u64 = 1 << 36;
pub(crate) const STANDBY: u64 = 1 << 62;

/// What QEMU's device offers, more or less.
pub(crate) const USUAL: u64 = CSUM
    | GUEST_CSUM
    | MAC_BIT
    | GUEST_TSO4
    | MRG_RXBUF
    | STATUS
    | EVENT_IDX
    | VERSION_1
    | ACCESS_PLATFORM;

/// The subsystem of QEMU's devices.
const QEMU: (u16, u16) = (0x1af4, 0x1100);

/// Where the structures are in BAR 4.
const COMMON: usize = 0x0000;
const ISR: usize = 0x1000;
const CONFIG: usize = 0x2000;
const NOTIFY: usize = 0x3000;
pub(crate) const BAR: usize = 0x4000;
const MULTIPLIER: u32 = 4;

pub(crate) const RECEIVE: usize = 0;
pub(crate) const TRANSMIT: usize = 1;
const HEADER: usize = 12;

/// What the device is, and does wrong.
#[derive(Clone, Copy)]
pub(crate) struct Traits {
    pub(crate) offered: u64,
    /// Vendor and id of the subsystem.
    pub(crate) subsystem: (u16, u16),
    pub(crate) queue_size: u16,
    pub(crate) mac: [u8; 6],
    /// What takes its place while it is being read.
    pub(crate) next_mac: Option<[u8; 6]>,
    pub(crate) mtu: u16,
    /// Never finishes a reset.
    pub(crate) stays_in_reset: bool,
    /// Takes FEATURES_OK back.
    pub(crate) refuses_features: bool,
    /// Has no MSI-X resources.
    pub(crate) refuses_vector: bool,
    /// Names a notification register outside the structure.
    pub(crate) notify_off: u16,
    /// Leaves what it is given to send alone until told to go on.
    pub(crate) stalls_transmit: bool,
    /// Looks at its queues all the time, and wants no notification.
    pub(crate) polls: bool,
}

impl Default for Traits {
    fn default() -> Self {
        Self {
            offered: USUAL,
            subsystem: QEMU,
            queue_size: 256,
            mac: MAC,
            next_mac: None,
            mtu: 1500,
            stays_in_reset: false,
            refuses_features: false,
            refuses_vector: false,
            notify_off: 0,
            stalls_transmit: false,
            polls: false,
        }
    }
}

/// A frame that left, with its header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) header: [u8; HEADER],
    pub(crate) frame: Vec<u8>,
}

#[derive(Clone, Default)]
struct Queue {
    size: u16,
    vector: u16,
    enabled: bool,
    addresses: [u64; 3],
    next_avail: u16,
    used: u16,
    notified: usize,
}

struct State {
    traits: Traits,
    status: u8,
    generation: u8,
    selects: [u32; 2],
    accepted: u64,
    queue: u16,
    config_vector: u16,
    queues: [Queue; 2],
    link: bool,
    isr: u8,
    interrupt: Option<Interrupt>,
    sent: Vec<Sent>,
}

pub(crate) struct Model {
    machine: Machine,
    memory: Device,
    state: Mutex<State>,
}

impl Model {
    pub(crate) fn new(machine: Machine, memory: Device, traits: Traits) -> Arc<Self> {
        let state = State {
            traits,
            // As somebody else left it.
            status: 0x0f,
            generation: 0,
            selects: [0; 2],
            accepted: 0,
            queue: 0,
            config_vector: 0xffff,
            queues: Default::default(),
            link: true,
            isr: 0,
            interrupt: None,
            sent: Vec::new(),
        };
        Arc::new(Self { machine, memory, state: Mutex::new(state) })
    }

    /// The card, its capabilities where `structures` say: type, offset and length.
    pub(crate) fn card(self: &Arc<Self>, structures: &[(u8, u32, u32)]) -> Card {
        let card = Card::new(0x1af4, 0x1041, 0x0200).bar(4, BAR as u64, 0b100, self.clone());
        let (vendor, id) = self.state.lock().unwrap().traits.subsystem;
        let subsystem = [vendor.to_le_bytes(), id.to_le_bytes()].concat();
        let card = (0x2c..).zip(subsystem).fold(card, |card, (at, byte)| card.poke(at, byte));
        structures.iter().fold(card, |card, &(kind, offset, length)| {
            let mut body = vec![if kind == 2 { 20 } else { 16 }, kind, 4, 0, 0, 0];
            body.extend(offset.to_le_bytes());
            body.extend(length.to_le_bytes());
            if kind == 2 {
                body.extend(MULTIPLIER.to_le_bytes());
            }
            card.capability(0x09, &body)
        })
    }

    /// Where they are: common, notification, interrupt status, device, and one of a kind nobody
    /// knows.
    pub(crate) fn structures() -> Vec<(u8, u32, u32)> {
        vec![
            (77, 0, 4),
            (1, COMMON as u32, 0x38),
            (3, ISR as u32, 1),
            (4, CONFIG as u32, 12),
            (2, NOTIFY as u32, 8),
        ]
    }

    pub(crate) fn connect(&self, interrupt: Option<Interrupt>) {
        self.state.lock().unwrap().interrupt = interrupt;
    }

    pub(crate) fn set_traits(&self, change: impl FnOnce(&mut Traits)) {
        change(&mut self.state.lock().unwrap().traits);
    }

    pub(crate) fn status(&self) -> u8 {
        self.state.lock().unwrap().status
    }

    pub(crate) fn accepted(&self) -> u64 {
        self.state.lock().unwrap().accepted
    }

    pub(crate) fn queue_size(&self, queue: usize) -> u16 {
        self.state.lock().unwrap().queues[queue].size
    }

    /// How often a queue's notification register was written.
    pub(crate) fn notified(&self, queue: usize) -> usize {
        self.state.lock().unwrap().queues[queue].notified
    }

    /// Receive buffers the device has.
    pub(crate) fn posted(&self) -> u16 {
        let state = self.state.lock().unwrap();
        let queue = &state.queues[RECEIVE];
        self.read16(queue.addresses[1] + 2).wrapping_sub(queue.next_avail)
    }

    pub(crate) fn take_sent(&self) -> Vec<Sent> {
        core::mem::take(&mut self.state.lock().unwrap().sent)
    }

    pub(crate) fn set_link(&self, up: bool) {
        let state = &mut *self.state.lock().unwrap();
        state.link = up;
        state.generation = state.generation.wrapping_add(1);
        state.isr |= 2;
        let vector = state.config_vector;
        self.signal(state, vector);
    }

    /// A frame from the wire; `false` when the device has no buffer for it.
    pub(crate) fn receive(&self, frame: &[u8]) -> bool {
        self.receive_with([0; HEADER], frame)
    }

    pub(crate) fn receive_with(&self, header: [u8; HEADER], frame: &[u8]) -> bool {
        self.write_back(&[&header, frame].concat(), HEADER as u32 + frame.len() as u32)
    }

    /// Uses a receive buffer for `data` and says that there is `len` of it.
    pub(crate) fn write_back(&self, data: &[u8], len: u32) -> bool {
        let state = &mut *self.state.lock().unwrap();
        let Some(id) = self.next_chain(state, RECEIVE) else { return false };
        let (address, room, flags, _) = self.descriptor(&state.queues[RECEIVE], id);
        assert_eq!(flags, 2, "one descriptor to write to");
        self.memory.write(address, &data[..data.len().min(room as usize)]);
        self.push_used(state, RECEIVE, u32::from(id), len);
        true
    }

    /// Claims to have used a buffer, whatever it is.
    pub(crate) fn claim(&self, queue: usize, id: u32, len: u32) {
        self.push_used(&mut self.state.lock().unwrap(), queue, id, len);
    }

    /// Moves the used index, without an entry.
    pub(crate) fn jump(&self, queue: usize, by: u16) {
        let state = &mut *self.state.lock().unwrap();
        let queue = &mut state.queues[queue];
        queue.used = queue.used.wrapping_add(by);
        self.memory.write(queue.addresses[2] + 2, &queue.used.to_le_bytes());
    }

    /// Sends what is queued; in reverse order of completion if `reversed`.
    pub(crate) fn transmit(&self, reversed: bool) {
        let state = &mut *self.state.lock().unwrap();
        let mut done = Vec::new();
        while let Some(id) = self.next_chain(state, TRANSMIT) {
            let queue = &state.queues[TRANSMIT];
            let (mut data, mut at) = (Vec::new(), id);
            loop {
                let (address, len, flags, next) = self.descriptor(queue, at);
                assert_eq!(flags & !1, 0, "read only, and not indirect");
                let start = data.len();
                data.resize(start + len as usize, 0);
                self.memory.read(address, &mut data[start..]);
                if flags & 1 == 0 {
                    break;
                }
                at = next;
            }
            let frame = data.split_off(HEADER);
            state.sent.push(Sent { header: data.try_into().unwrap(), frame });
            done.push(id);
        }
        if reversed {
            done.reverse();
        }
        for id in done {
            self.push_used(state, TRANSMIT, id.into(), 0);
        }
    }

    /// The next available chain, if the device may take one.
    fn next_chain(&self, state: &mut State, queue: usize) -> Option<u16> {
        let live = state.status & 0x4 != 0 && state.queues[queue].enabled;
        if !live || !self.machine.is_bus_master(PciAddress::new(0, 1, 0, 0)) {
            return None;
        }
        let has_events = state.accepted & EVENT_IDX != 0;
        let polls = state.traits.polls;
        let queue = &mut state.queues[queue];
        let index = self.read16(queue.addresses[1] + 2);
        let ahead = index.wrapping_sub(queue.next_avail);
        assert!(ahead <= queue.size, "more available than there are");
        let entry = u64::from(queue.next_avail % queue.size);
        let id = (ahead != 0).then(|| self.read16(queue.addresses[1] + 4 + 2 * entry));
        if id.is_some() {
            queue.next_avail = queue.next_avail.wrapping_add(1);
        }
        // When it wants to be told of the next one.
        if has_events {
            let wish = if polls { queue.next_avail.wrapping_sub(2) } else { queue.next_avail };
            let at = queue.addresses[2] + 4 + 8 * u64::from(queue.size);
            self.memory.write(at, &wish.to_le_bytes());
        } else {
            self.memory.write(queue.addresses[2], &u16::from(polls).to_le_bytes());
        }
        id
    }

    fn push_used(&self, state: &mut State, index: usize, id: u32, len: u32) {
        let has_events = state.accepted & EVENT_IDX != 0;
        let queue = &mut state.queues[index];
        let at = queue.addresses[2] + 4 + 8 * u64::from(queue.used % queue.size);
        self.memory.write(at, &id.to_le_bytes());
        self.memory.write(at + 4, &len.to_le_bytes());
        queue.used = queue.used.wrapping_add(1);
        self.memory.write(queue.addresses[2] + 2, &queue.used.to_le_bytes());
        let wanted = if has_events {
            let event = self.read16(queue.addresses[1] + 4 + 2 * u64::from(queue.size));
            event == queue.used.wrapping_sub(1)
        } else {
            self.read16(queue.addresses[1]) & 1 == 0
        };
        let vector = queue.vector;
        if wanted {
            state.isr |= 1;
            self.signal(state, vector);
        }
    }

    fn signal(&self, state: &State, vector: u16) {
        // Without a vector, by the pin.
        if let Some(interrupt) = &state.interrupt
            && (vector == 0 || vector == 0xffff)
        {
            interrupt.trigger();
        }
    }

    fn descriptor(&self, queue: &Queue, id: u16) -> (u64, u32, u16, u16) {
        assert!(id < queue.size);
        let mut bytes = [0; 16];
        self.memory.read(queue.addresses[0] + 16 * u64::from(id), &mut bytes);
        let word = u64::from_le_bytes(bytes[8..].try_into().unwrap());
        let address = u64::from_le_bytes(bytes[..8].try_into().unwrap());
        (address, word as u32, (word >> 32) as u16, (word >> 48) as u16)
    }

    fn read16(&self, address: u64) -> u16 {
        let mut bytes = [0; 2];
        self.memory.read(address, &mut bytes);
        u16::from_le_bytes(bytes)
    }
}

impl State {
    fn reset(&mut self) {
        self.status = u8::from(self.traits.stays_in_reset);
        self.accepted = 0;
        self.config_vector = 0xffff;
        let size = self.traits.queue_size;
        self.queues = core::array::from_fn(|_| Queue { size, vector: 0xffff, ..Queue::default() });
    }

    fn config(&self) -> [u8; 12] {
        let mut config = [0; 12];
        config[..6].copy_from_slice(&self.traits.mac);
        config[6] = u8::from(self.link);
        config[10..].copy_from_slice(&self.traits.mtu.to_le_bytes());
        config
    }

    fn set_status(&mut self, status: u8) {
        assert_eq!(status & self.status, self.status, "bits are only added");
        self.status = status;
        if status & 8 != 0 {
            assert_eq!(self.accepted & !self.traits.offered, 0, "not offered");
            if self.traits.refuses_features {
                self.status &= !8;
            }
        }
        assert!(status & 4 == 0 || self.queues.iter().all(|queue| queue.enabled));
    }
}

impl Registers for Model {
    fn read(&self, offset: usize, width: Width) -> u32 {
        let state = &mut *self.state.lock().unwrap();
        let queue = usize::from(state.queue);
        match (offset, width) {
            (0x04, Width::Dword) => (state.traits.offered >> (32 * state.selects[0])) as u32,
            (0x10, Width::Word) => state.config_vector.into(),
            (0x14, Width::Byte) => state.status.into(),
            (0x15, Width::Byte) => state.generation.into(),
            (0x18, Width::Word) => state.queues.get(queue).map_or(0, |queue| queue.size).into(),
            (0x1a, Width::Word) => state.queues[queue].vector.into(),
            (0x1e, Width::Word) => (queue as u16 + state.traits.notify_off).into(),
            (ISR, Width::Byte) => core::mem::take(&mut state.isr).into(),
            (CONFIG..NOTIFY, _) => {
                if offset == CONFIG + 3
                    && let Some(mac) = state.traits.next_mac.take()
                {
                    state.traits.mac = mac;
                    state.generation = state.generation.wrapping_add(1);
                }
                let config = state.config();
                let at = |i| u32::from(config[offset - CONFIG + i]);
                (0..width as usize).fold(0, |value, i| value | at(i) << (8 * i))
            }
            _ => panic!("a read of {width:?} at {offset:#x}"),
        }
    }

    fn write(&self, offset: usize, width: Width, value: u32) {
        let mut state = self.state.lock().unwrap();
        let index = usize::from(state.queue);
        match (offset, width) {
            (0x00, Width::Dword) => state.selects[0] = value,
            (0x08, Width::Dword) => state.selects[1] = value,
            (0x0c, Width::Dword) => {
                assert_eq!(state.status, 0b11, "features are agreed on before FEATURES_OK");
                let shift = 32 * state.selects[1];
                state.accepted =
                    state.accepted & !(0xffff_ffff << shift) | u64::from(value) << shift;
            }
            (0x10, Width::Word) => {
                state.config_vector =
                    if state.traits.refuses_vector { 0xffff } else { value as u16 };
            }
            (0x14, Width::Byte) if value == 0 => state.reset(),
            (0x14, Width::Byte) => state.set_status(value as u8),
            (0x16, Width::Word) => state.queue = value as u16,
            (0x18, Width::Word) => {
                assert!(value.is_power_of_two() && value <= state.traits.queue_size.into());
                state.queues[index].size = value as u16;
            }
            (0x1a, Width::Word) => state.queues[index].vector = value as u16,
            (0x1c, Width::Word) => {
                assert_eq!(state.status, 0b1011, "queues come after FEATURES_OK");
                state.queues[index].enabled = value == 1;
            }
            (0x20..0x38, Width::Dword) => {
                let (which, half) = ((offset - 0x20) / 8, offset / 4 % 2);
                let address = &mut state.queues[index].addresses[which];
                *address =
                    *address & !(0xffff_ffff << (32 * half)) | u64::from(value) << (32 * half);
            }
            (NOTIFY..BAR, Width::Word) => {
                let queue = (offset - NOTIFY) / MULTIPLIER as usize;
                assert_eq!(queue, value as usize, "at its own register");
                assert_ne!(state.status & 4, 0, "notified before DRIVER_OK");
                state.queues[queue].notified += 1;
            }
            _ => panic!("a write of {width:?} at {offset:#x}"),
        }
        let stalls = state.traits.stalls_transmit;
        drop(state);
        if offset == NOTIFY + MULTIPLIER as usize && !stalls {
            self.transmit(false);
        }
    }
}

//! A PCI machine for host tests that behaves like hardware: what a driver leaves undone (decoding,
//! bus numbers, power) has the effect it would have there. Its ports' slots follow QEMU's
//! `hw/pci/pcie.c`.

mod card;

pub use card::{Card, Memory};

use super::{Error, HostBridge, PciAddress, Root};
use crate::mmio::{Mmio, Registers, Width};
use card::Config;
use std::ops::Range;
use std::sync::{Arc, Mutex};

const COMMAND: u16 = 0x04;
const COMMAND_MEMORY: u32 = 1 << 1;
const COMMAND_DECODE: u32 = 0b11;
const COMMAND_MASTER: u32 = 1 << 2;

/// Slot registers, relative to the PCI Express capability.
const SLOT_CONTROL: u16 = 0x18;
const SLOT_STATUS: u16 = 0x1a;
const LINK_STATUS: u16 = 0x12;
const POWERED_OFF: u16 = 0x400 | 0x300;
const PRESSED: u16 = 1 << 0;
const PRESENCE_CHANGED: u16 = 1 << 3;
const COMPLETED: u16 = 1 << 4;
const PRESENT: u16 = 1 << 6;
const LINK_ACTIVE: u16 = 1 << 13;
const EVENTS: u16 = 0x11f;

/// The line that firmware routed every port's INTA to.
pub const PORT_LINE: u8 = 10;

struct Function {
    parent: Option<usize>,
    /// The root bus of one without a parent.
    root: u8,
    devfn: u8,
    card: Card,
    /// Configuration space after a reset.
    fresh: Config,
    /// Where the PCI Express capability of a port with a slot is.
    slot: Option<u16>,
    /// Root ports complete commands and bring up links unless a test says otherwise.
    healthy: bool,
    /// A card stays in its slot when it is powered off: it takes a hand to pull it.
    physical: bool,
}

#[derive(Default)]
struct State {
    /// Indices are handles: what is unplugged becomes `None`.
    functions: Vec<Option<Function>>,
    accesses: Accesses,
}

/// How often the processor has reached for what is behind a [`Machine`]'s host bridge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accesses {
    /// Reads of configuration space, and writes to it.
    pub config: u32,
    /// The same for registers in BARs.
    pub registers: u32,
}

/// A machine with one PCI segment.
#[derive(Clone, Default)]
pub struct Machine(Arc<Mutex<State>>);

/// A port of a [`Machine`].
#[derive(Clone, Copy, Debug)]
pub struct Port(usize);

impl Machine {
    /// A machine with an empty root bus.
    pub fn new() -> Self {
        Self::default()
    }

    /// Its segment, as the kernel hands it to drivers.
    pub fn root(&self) -> Root {
        Root::new(Arc::new(self.clone()), 0, 0..=255)
    }

    /// What there was to count since the last call.
    pub fn take_accesses(&self) -> Accesses {
        std::mem::take(&mut self.0.lock().unwrap().accesses)
    }

    /// Puts a function on the root bus.
    pub fn add(&self, device: u8, number: u8, card: Card) {
        self.put(None, device << 3 | number, card, None);
    }

    /// Moves what was put on the root bus so far to another one, `bus`.
    pub fn move_to_root(&self, bus: u8) {
        let mut state = self.0.lock().unwrap();
        state.functions.iter_mut().flatten().for_each(|function| function.root = bus);
    }

    /// Adds a root port with an empty slot, as firmware leaves it: bus number `bus` below it,
    /// `memory` (and `prefetchable`) forwarded.
    pub fn root_port(
        &self,
        device: u8,
        bus: u8,
        memory: Range<u32>,
        prefetchable: Range<u64>,
    ) -> Port {
        let mut card = Card::new(0x1b36, 0x000c, 0x0604)
            .bar(0, 0x1000, 0, Memory::new(0x1000))
            .msi_x(0, 1)
            .pin(PORT_LINE)
            .poke(0x0e, 1);
        // The BAR lives just below the window.
        let own = (memory.start - 0x10_0000).to_le_bytes();
        card.config.write(0x10, Width::Dword, u32::from_le_bytes(own));
        card.config.set(0x18, &[0, bus, bus]);
        card.config.set16(0x20, (memory.start >> 16) as u16);
        card.config.set16(0x22, ((memory.end - 1) >> 16) as u16 & 0xfff0);
        let last = prefetchable.end.wrapping_sub(1);
        card.config.set16(0x24, (prefetchable.start >> 16) as u16 & 0xfff0 | 1);
        card.config.set16(0x26, (last >> 16) as u16 & 0xfff0 | 1);
        card.config.set(0x28, &((prefetchable.start >> 32) as u32).to_le_bytes());
        card.config.set(0x2c, &((last >> 32) as u32).to_le_bytes());
        // Version 2, root port, slot implemented.
        let mut express = [0; 0x3a];
        express[..2].copy_from_slice(&(2u16 | 4 << 4 | 1 << 8).to_le_bytes());
        // Link active reporting; button, power controller, indicators, hot-plug capable.
        express[0x0a..0x0e].copy_from_slice(&(1u32 << 20).to_le_bytes());
        express[0x12..0x16].copy_from_slice(&0x5bu32.to_le_bytes());
        let at = card.append(0x10, &express);
        card.config.allow(at + SLOT_CONTROL, &0x17ffu16.to_le_bytes());
        card.config.set16(at + SLOT_CONTROL, POWERED_OFF | 0xc0);
        card.config.clears(at + SLOT_STATUS, EVENTS);
        card.config.write(COMMAND, Width::Word, COMMAND_DECODE);
        Port(self.put(None, device << 3, card, Some(at)))
    }

    /// A card that was in the slot when the machine was switched on: powered, its BARs assigned
    /// from `base` upwards and decoded.
    pub fn cold_plug(&self, port: Port, mut card: Card, base: u32) {
        let fresh = card.config.clone();
        let mut next = base;
        for &(index, size, _) in &card.bars {
            next = next.next_multiple_of(size as u32);
            card.config.write(0x10 + 4 * u16::from(index), Width::Dword, next);
            next += size as u32;
        }
        card.config.write(COMMAND, Width::Word, COMMAND_DECODE);
        let card = self.put(Some(port.0), 0, card, None);
        self.0.lock().unwrap().functions[card].as_mut().expect("it was just put there").fresh =
            fresh;
        self.with_slot(port, |config, at| {
            config.set16(at + SLOT_CONTROL, 0x100 | 0xc0);
            raise(config, at, PRESENT);
            link(config, at, true);
        });
    }

    /// Plugs a card in while the machine runs.
    pub fn hot_plug(&self, port: Port, card: Card) {
        self.put(Some(port.0), 0, card, None);
        self.with_slot(port, |config, at| {
            raise(config, at, PRESENT | PRESENCE_CHANGED | PRESSED);
            link(config, at, true);
        });
    }

    /// Presses the attention button: `device_del`.
    pub fn press(&self, port: Port) {
        self.with_slot(port, |config, at| raise(config, at, PRESSED));
    }

    /// Resets the card: it decodes nothing, and has forgotten where.
    pub fn reset(&self, port: Port) {
        let mut state = self.0.lock().unwrap();
        let card = state.child(port.0).expect("a card");
        let function = state.functions[card].as_mut().expect("a card");
        function.card.config = function.fresh.clone();
    }

    /// Pulls the card without asking.
    pub fn pull(&self, port: Port) {
        self.0.lock().unwrap().unplug(port.0);
    }

    /// Makes the port fail: links stay down and commands never complete.
    pub fn fail(&self, port: Port) {
        let mut state = self.0.lock().unwrap();
        state.functions[port.0].as_mut().expect("a port").healthy = false;
    }

    /// Makes the slot one of real hardware, where power off leaves the card in place.
    pub fn make_physical(&self, port: Port) {
        let mut state = self.0.lock().unwrap();
        state.functions[port.0].as_mut().expect("a port").physical = true;
    }

    /// Removes the port itself and all below it, as pulling a switch does.
    pub fn remove(&self, port: Port) {
        let mut state = self.0.lock().unwrap();
        state.unplug(port.0);
        state.functions[port.0] = None;
    }

    /// Whether there is a card in the slot.
    pub fn is_populated(&self, port: Port) -> bool {
        self.0.lock().unwrap().child(port.0).is_some()
    }

    /// Whether the function on `bus` may master the bus.
    pub fn is_bus_master(&self, function: PciAddress) -> bool {
        self.0.lock().unwrap().read(function, COMMAND, Width::Word) & COMMAND_MASTER != 0
    }

    fn put(&self, parent: Option<usize>, devfn: u8, card: Card, slot: Option<u16>) -> usize {
        let mut state = self.0.lock().unwrap();
        state.functions.push(Some(Function {
            parent,
            root: 0,
            devfn,
            fresh: card.config.clone(),
            card,
            slot,
            healthy: true,
            physical: false,
        }));
        state.functions.len() - 1
    }

    fn with_slot(&self, port: Port, act: impl FnOnce(&mut Config, u16)) {
        let mut state = self.0.lock().unwrap();
        let port = state.functions[port.0].as_mut().expect("a port");
        act(&mut port.card.config, port.slot.expect("a slot"));
    }
}

fn raise(config: &mut Config, at: u16, bits: u16) {
    let status = config.read(at + SLOT_STATUS, Width::Word) as u16;
    config.set16(at + SLOT_STATUS, status | bits);
}

fn link(config: &mut Config, at: u16, up: bool) {
    config.set16(at + LINK_STATUS, if up { LINK_ACTIVE } else { 0 });
}

impl State {
    fn child(&self, port: usize) -> Option<usize> {
        self.functions
            .iter()
            .position(|function| function.as_ref().is_some_and(|f| f.parent == Some(port)))
    }

    /// QEMU: pcie_cap_slot_do_unplug.
    fn unplug(&mut self, port: usize) {
        while let Some(child) = self.child(port) {
            self.functions[child] = None;
        }
        let port = self.functions[port].as_mut().expect("a port");
        let at = port.slot.expect("a slot");
        let config = &mut port.card.config;
        let status = config.read(at + SLOT_STATUS, Width::Word) as u16;
        config.set16(at + SLOT_STATUS, status & !PRESENT | PRESENCE_CHANGED);
        link(config, at, false);
    }

    fn read(&self, function: PciAddress, offset: u16, width: Width) -> u32 {
        match self.find(function) {
            Some(i) => self.functions[i].as_ref().unwrap().card.config.read(offset, width),
            None => width.ones(),
        }
    }

    /// The function that answers at an address, given the bus numbers bridges hold now.
    fn find(&self, address: PciAddress) -> Option<usize> {
        let devfn = address.device() << 3 | address.function();
        self.functions.iter().position(|function| {
            function.as_ref().is_some_and(|f| {
                let on_bus = match f.parent {
                    None => address.bus() == f.root,
                    Some(parent) => self.is_reachable(parent, address.bus()),
                };
                f.devfn == devfn && on_bus
            })
        })
    }

    /// Whether a bridge's secondary bus is `bus` and its slot powered.
    fn is_reachable(&self, bridge: usize, bus: u8) -> bool {
        self.functions[bridge].as_ref().is_some_and(|f| {
            let config = &f.card.config;
            let powered =
                f.slot.is_none_or(|at| config.read(at + SLOT_CONTROL, Width::Word) & 0x400 == 0);
            config.read(0x19, Width::Byte) == bus.into() && powered && f.healthy
        })
    }

    /// The registers that decode an address now.
    fn decode(&self, address: u64) -> Option<(Arc<dyn Registers>, usize)> {
        self.functions.iter().flatten().find_map(|f| {
            let config = &f.card.config;
            let enabled = config.read(COMMAND, Width::Word) & COMMAND_MEMORY != 0;
            let above = f.parent.is_none_or(|parent| {
                let bus =
                    self.functions[parent].as_ref().map(|f| f.card.config.read(0x19, Width::Byte));
                bus.is_some_and(|bus| self.is_reachable(parent, bus as u8))
            });
            f.card.bars.iter().filter(|_| enabled && above).find_map(|(index, size, registers)| {
                let at = 0x10 + 4 * u16::from(*index);
                let low = config.read(at, Width::Dword);
                let high = if low & 0b110 == 0b100 { config.read(at + 4, Width::Dword) } else { 0 };
                let base = u64::from(low & !0xf) | u64::from(high) << 32;
                let inside = base != 0 && (base..base + size).contains(&address);
                inside.then(|| (registers.clone(), (address - base) as usize))
            })
        })
    }
}

impl HostBridge for Machine {
    fn read(&self, function: PciAddress, offset: u16, width: Width) -> u32 {
        let mut state = self.0.lock().unwrap();
        state.accesses.config += 1;
        state.read(function, offset, width)
    }

    fn write(&self, function: PciAddress, offset: u16, width: Width, value: u32) {
        let mut state = self.0.lock().unwrap();
        state.accesses.config += 1;
        let Some(index) = state.find(function) else { return };
        let target = state.functions[index].as_mut().unwrap();
        let is_bar = target.card.has_bar_at(offset);
        let decodes = target.card.config.read(COMMAND, Width::Word) & COMMAND_DECODE != 0;
        assert!(!is_bar || !decodes, "{function}: a BAR is written while it is decoded");
        let Some(at) = target.slot else {
            target.card.config.write(offset, width, value);
            return;
        };
        let config = &mut target.card.config;
        let before = config.read(at + SLOT_CONTROL, Width::Word) as u16;
        config.write(offset, width, value);
        if offset + width as u16 <= at + SLOT_CONTROL || offset >= at + SLOT_STATUS {
            return;
        }
        // QEMU: pcie_cap_slot_write_config.
        let after = config.read(at + SLOT_CONTROL, Width::Word) as u16;
        let (healthy, physical) = (target.healthy, target.physical);
        let off = |control: u16| control & POWERED_OFF == POWERED_OFF;
        if off(after) && !off(before) && !physical && state.child(index).is_some() {
            state.unplug(index);
        }
        let config = &mut state.functions[index].as_mut().unwrap().card.config;
        if healthy {
            raise(config, at, COMPLETED);
        }
    }

    fn map(&self, address: u64, len: u64) -> Result<Mmio, Error> {
        let decoder = Decoder { machine: self.clone(), base: address };
        Ok(Mmio::model(Arc::new(decoder), len as usize))
    }
}

/// Memory space as an initiator sees it: who answers is found anew at each access.
struct Decoder {
    machine: Machine,
    base: u64,
}

impl Decoder {
    fn find(&self, offset: usize) -> Option<(Arc<dyn Registers>, usize)> {
        let mut state = self.machine.0.lock().unwrap();
        state.accesses.registers += 1;
        state.decode(self.base + offset as u64)
    }
}

impl Registers for Decoder {
    fn read(&self, offset: usize, width: Width) -> u32 {
        self.find(offset).map_or(width.ones(), |(registers, at)| registers.read(at, width))
    }

    fn write(&self, offset: usize, width: Width, value: u32) {
        if let Some((registers, at)) = self.find(offset) {
            registers.write(at, width, value);
        }
    }
}

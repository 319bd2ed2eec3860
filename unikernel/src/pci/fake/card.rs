//! A function's configuration space as hardware implements it: read-only, writable and
//! write-one-to-clear bits.

use crate::mmio::{Registers, Width};
use std::sync::{Arc, Mutex};

/// 256 bytes of configuration space.
#[derive(Clone)]
pub(super) struct Config {
    bytes: [u8; 256],
    writable: [u8; 256],
    clears: [u8; 256],
}

impl Config {
    pub(super) fn new() -> Self {
        Self { bytes: [0; 256], writable: [0; 256], clears: [0; 256] }
    }

    pub(super) fn read(&self, offset: u16, width: Width) -> u32 {
        let at = |i| self.bytes.get(usize::from(offset) + i).copied().unwrap_or(0);
        (0..width as usize).fold(0, |value, i| value | u32::from(at(i)) << (8 * i))
    }

    pub(super) fn write(&mut self, offset: u16, width: Width, value: u32) {
        for (i, value) in value.to_le_bytes().into_iter().take(width as usize).enumerate() {
            let at = usize::from(offset) + i;
            if at < self.bytes.len() {
                let writable = self.writable[at];
                self.bytes[at] = self.bytes[at] & !writable | value & writable;
                self.bytes[at] &= !(value & self.clears[at]);
            }
        }
    }

    /// Sets bits as hardware does, whatever software may write.
    pub(super) fn set(&mut self, offset: u16, value: &[u8]) {
        let at = usize::from(offset);
        self.bytes[at..at + value.len()].copy_from_slice(value);
    }

    pub(super) fn set16(&mut self, offset: u16, value: u16) {
        self.set(offset, &value.to_le_bytes());
    }

    pub(super) fn allow(&mut self, offset: u16, mask: &[u8]) {
        let at = usize::from(offset);
        self.writable[at..at + mask.len()].copy_from_slice(mask);
    }

    pub(super) fn clears(&mut self, offset: u16, mask: u16) {
        let at = usize::from(offset);
        self.clears[at..at + 2].copy_from_slice(&mask.to_le_bytes());
    }
}

/// A function to be plugged into a [`Machine`](super::Machine).
#[derive(Clone)]
pub struct Card {
    pub(super) config: Config,
    pub(super) bars: Vec<(u8, u64, Arc<dyn Registers>)>,
    free: u16,
    last_link: u16,
}

impl Card {
    /// An endpoint of class `class` (base class in the high byte).
    pub fn new(vendor: u16, device: u16, class: u16) -> Self {
        let mut config = Config::new();
        config.set16(0x00, vendor);
        config.set16(0x02, device);
        config.set16(0x0a, class);
        // Command: I/O, memory, bus master, INTx disable.
        config.allow(0x04, &[0x07, 0x04]);
        config.allow(0x3c, &[0xff]);
        Self { config, bars: Vec::new(), free: 0x40, last_link: 0x34 }
    }

    /// Adds a memory BAR with `registers` behind it; `flags` are the register's low four bits.
    pub fn bar(mut self, index: u8, size: u64, flags: u8, registers: Arc<dyn Registers>) -> Self {
        let at = 0x10 + 4 * u16::from(index);
        let mask = (!(size - 1) & !0xf).to_le_bytes();
        self.config.set(at, &[flags]);
        let wide = flags & 0b110 == 0b100;
        self.config.allow(at, &mask[..if wide { 8 } else { 4 }]);
        self.bars.push((index, size, registers));
        self
    }

    /// Adds an I/O BAR with nothing behind it.
    pub fn io_bar(mut self, index: u8, size: u32) -> Self {
        let at = 0x10 + 4 * u16::from(index);
        self.config.set(at, &[1]);
        self.config.allow(at, &(!(size - 1) & !0b11).to_le_bytes());
        self
    }

    /// Whether a register of a BAR is at `offset`.
    pub(super) fn has_bar_at(&self, offset: u16) -> bool {
        let bars = if self.config.read(0x0e, Width::Byte) & 0x7f == 1 { 2 } else { 6 };
        (0x10..0x10 + 4 * bars).contains(&offset)
    }

    /// Appends a capability: `body` is what follows id and next pointer; all of it is writable.
    pub fn capability(mut self, id: u8, body: &[u8]) -> Self {
        let at = self.append(id, body);
        self.config.allow(at + 2, &vec![0xff; body.len()]);
        self
    }

    /// Sets one byte of configuration space, to make a card that lies.
    pub fn poke(mut self, offset: u16, value: u8) -> Self {
        self.config.set(offset, &[value]);
        self
    }

    /// Adds a read-only capability and returns where it is.
    pub(super) fn append(&mut self, id: u8, body: &[u8]) -> u16 {
        let at = self.free;
        self.config.set(0x06, &[1 << 4]);
        self.config.set(self.last_link, &[at as u8]);
        self.config.set(at, &[id, 0]);
        self.config.set(at + 2, body);
        self.last_link = at + 1;
        self.free = (at + 2 + body.len() as u16).next_multiple_of(4);
        at
    }

    /// Adds MSI-X with `entries` entries at the start of BAR `bar`.
    pub fn msi_x(self, bar: u8, entries: u16) -> Self {
        let size = (entries - 1).to_le_bytes();
        let table = u32::from(bar).to_le_bytes();
        let mut card = self.capability(0x11, &[&size[..], &table, &table].concat());
        let at = card.last_link - 1;
        card.config.allow(at + 2, &[0x00, 0xc0]);
        card.config.allow(at + 4, &[0; 8]);
        card
    }

    /// Adds MSI with a 64-bit address.
    pub fn msi(self) -> Self {
        let mut card = self.capability(0x05, &[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let at = card.last_link - 1;
        card.config.allow(at + 2, &[0x71, 0x00]);
        card
    }

    /// Gives the function an INTx pin wired to `line`.
    pub fn pin(mut self, line: u8) -> Self {
        self.config.set(0x3c, &[line, 1]);
        self
    }
}

/// Registers that behave like memory: an MSI-X table.
pub struct Memory(Mutex<Vec<u8>>);

impl Memory {
    /// Zeroed, `len` bytes.
    pub fn new(len: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(vec![0; len])))
    }
}

impl Registers for Memory {
    fn read(&self, offset: usize, width: Width) -> u32 {
        let memory = self.0.lock().unwrap();
        (0..width as usize).fold(0, |value, i| value | u32::from(memory[offset + i]) << (8 * i))
    }

    fn write(&self, offset: usize, width: Width, value: u32) {
        let bytes = value.to_le_bytes();
        let width = width as usize;
        self.0.lock().unwrap()[offset..offset + width].copy_from_slice(&bytes[..width]);
    }
}

//! PCI-to-PCI bridges, which is what root ports and switch ports are to software.

use super::bar::{self, Bar, Window};
use super::registers::{
    COMMAND, HEADER_LAYOUT, HEADER_MULTI_FUNCTION, HEADER_TYPE, INTERRUPT_LINE, INTERRUPT_PIN,
    VENDOR_ID, bridge, express, id,
};
use super::{Device, Error, Function, PciAddress};
use crate::mmio::Mmio;
use alloc::vec::Vec;
use core::ops::RangeInclusive;
use pci_types::CommandRegister;

/// Registers of a type 1 header that hold a BAR (7.5.1.3).
const BARS: u8 = 2;
/// Resolution of a memory window (7.5.1.3.8).
const WINDOW_UNIT: u64 = 1 << 20;

/// A bridge that firmware gave bus numbers and windows.
#[derive(Clone, Debug)]
pub struct Bridge {
    function: Function,
    bars: Vec<Bar>,
    buses: RangeInclusive<u8>,
    /// What firmware wrote into [`bridge::ASSIGNED`].
    assigned: [u32; bridge::ASSIGNED.len()],
}

impl Bridge {
    /// Takes stock of a bridge and opens it for traffic from below; `None` when firmware left it
    /// without bus numbers.
    pub(crate) fn open(function: Function) -> Option<Self> {
        let secondary = function.read8(bridge::SECONDARY_BUS);
        let subordinate = function.read8(bridge::SUBORDINATE_BUS);
        if secondary <= function.address().bus() || subordinate < secondary {
            return None;
        }
        let bars = bar::size(&function, BARS);
        let assigned = bridge::ASSIGNED.map(|register| function.read32(register));
        let bridge = Self { function, bars, buses: secondary..=subordinate, assigned };
        bridge.forward();
        Some(bridge)
    }

    /// Bus master on a bridge is what lets requests from below pass, and its own messages.
    fn forward(&self) {
        let forward = CommandRegister::MEMORY_ENABLE | CommandRegister::BUS_MASTER_ENABLE;
        self.function.update16(COMMAND, 0, forward.bits());
    }

    /// Gives the bridge its bus numbers, windows and BARs back, if it was reset.
    pub fn restore(&self) {
        if self.function.read8(bridge::SECONDARY_BUS) == *self.buses.start() {
            return;
        }
        for (register, value) in bridge::ASSIGNED.into_iter().zip(self.assigned) {
            self.function.write32(register, value);
        }
        self.bars.iter().for_each(|bar| bar.write(&self.function));
        self.forward();
    }

    /// Where it is.
    pub fn address(&self) -> PciAddress {
        self.function.address()
    }

    /// Its configuration space.
    pub fn function(&self) -> &Function {
        &self.function
    }

    /// The buses below it, the secondary one first.
    pub fn buses(&self) -> RangeInclusive<u8> {
        self.buses.clone()
    }

    /// Whether a function is below it, directly or below other bridges.
    pub fn is_above(&self, function: PciAddress) -> bool {
        function.segment() == self.address().segment() && self.buses.contains(&function.bus())
    }

    /// Memory BAR `index` of the bridge itself.
    pub(crate) fn bar(&self, index: u8) -> Result<Mmio, Error> {
        let missing = Error::NoBar(self.address(), index);
        let bar = self.bars.iter().find(|bar| bar.index == index).ok_or(missing)?;
        if !bar.is_memory() || bar.address == 0 {
            return Err(missing);
        }
        self.function.host().map(bar.address, bar.mapped())
    }

    /// The memory it forwards downwards (7.5.1.3.8 to 7.5.1.3.10).
    pub fn windows(&self) -> Vec<Window> {
        let f = &self.function;
        let unit = |register| u64::from(f.read16(register) & 0xfff0) << 16;
        let upper = |register| u64::from(f.read32(register)) << 32;
        let memory = (unit(bridge::MEMORY_BASE), unit(bridge::MEMORY_LIMIT));
        let mut prefetch = (unit(bridge::PREFETCH_BASE), unit(bridge::PREFETCH_LIMIT));
        let wide = f.read16(bridge::PREFETCH_BASE) & 0xf == 1;
        if wide {
            prefetch.0 |= upper(bridge::PREFETCH_BASE_UPPER);
            prefetch.1 |= upper(bridge::PREFETCH_LIMIT_UPPER);
        }
        [(memory, false), (prefetch, true)]
            .into_iter()
            // A base above the limit closes a window; 0 to 0 is what a reset leaves, and no window
            // starts at address 0.
            .filter(|((base, limit), _)| base <= limit && *limit != 0)
            .filter_map(|((base, limit), prefetchable)| {
                let range = base..limit.checked_add(WINDOW_UNIT)?;
                Some(Window { range, prefetchable })
            })
            .collect()
    }

    /// Whether this is a PCI Express port, below which only device number 0 exists (7.3.1).
    pub(crate) fn is_port(&self) -> bool {
        let f = &self.function;
        f.capability(id::EXPRESS).is_some_and(|capability| {
            let kind = f.read16(capability.offset + express::CAPABILITIES) >> express::TYPE_SHIFT;
            let kind = kind & express::TYPE_MASK;
            kind == express::TYPE_ROOT_PORT || kind == express::TYPE_DOWNSTREAM_PORT
        })
    }

    /// The functions that answer on the secondary bus.
    pub(crate) fn functions(&self) -> impl Iterator<Item = Function> + '_ {
        let devices = if self.is_port() { 1 } else { 32 };
        let segment = self.address().segment();
        on_bus(&self.function, segment, *self.buses.start(), devices)
    }

    /// The endpoints directly below, their BARs assigned inside the bridge's windows and their INTx
    /// pins routed: what to call when they are new, or have been reset. A function that cannot be
    /// used is left out and logged, and one that is in use, a bus master that is, left alone.
    /// `bridges` are those that are there as well.
    pub fn attach<'b>(&self, bridges: impl IntoIterator<Item = &'b Self>) -> Vec<Device> {
        let mut taken = Vec::new();
        for bridge in bridges {
            if bridge.address().bus() == *self.buses.start() {
                taken.extend(bridge.windows().into_iter().map(|window| window.range));
                taken.extend(bridge.bars.iter().filter(|bar| bar.is_memory()).map(Bar::range));
            }
        }
        let windows = self.windows();
        let master = CommandRegister::BUS_MASTER_ENABLE.bits();
        self.functions()
            .filter(|function| function.read8(HEADER_TYPE) & HEADER_LAYOUT == 0)
            .filter(|function| function.read16(COMMAND) & master == 0)
            .inspect(|function| self.route_pin(function))
            .filter_map(|function| {
                Device::plugged(function, &windows, &mut taken)
                    .inspect_err(|error| log::error!("pci: {error}"))
                    .ok()
            })
            .collect()
    }
}

impl Bridge {
    /// Does for a plugged function what firmware does at boot: notes which line its INTx pin ends
    /// up on. Known only where the pin shares a wire with the bridge's own (2.2.8.1, table of the
    /// mapping across bridges); elsewhere it takes an ACPI interpreter to know, and the line counts
    /// as not connected.
    fn route_pin(&self, function: &Function) {
        const NOT_CONNECTED: u8 = 0xff;
        let pin = function.read8(INTERRUPT_PIN);
        if pin == 0 {
            return;
        }
        let wire = (pin.wrapping_sub(1).wrapping_add(function.address().device())) % 4 + 1;
        let line = if wire == self.function.read8(INTERRUPT_PIN) {
            self.function.read8(INTERRUPT_LINE)
        } else {
            NOT_CONNECTED
        };
        function.write8(INTERRUPT_LINE, line);
    }
}

/// The functions that answer on `bus`, of its first `devices` device numbers.
pub(crate) fn on_bus(
    any: &Function,
    segment: u16,
    bus: u8,
    devices: u8,
) -> impl Iterator<Item = Function> + '_ {
    let present = |function: &Function| function.read16(VENDOR_ID) != u16::MAX;
    (0..devices).flat_map(move |device| {
        let at = move |number| {
            let address = PciAddress::new(segment, bus, device, number);
            Function::new(any.host().clone(), address)
        };
        let first = at(0);
        let functions = if !present(&first) {
            0
        } else if first.read8(HEADER_TYPE) & HEADER_MULTI_FUNCTION != 0 {
            8
        } else {
            1
        };
        (0..functions).map(at).filter(present)
    })
}

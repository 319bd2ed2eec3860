//! PCI-to-PCI bridges, which is what root ports and switch ports are to software.

use super::bar::{self, Bar, Window};
use super::registers::{
    COMMAND, HEADER_LAYOUT, HEADER_MULTI_FUNCTION, HEADER_TYPE, VENDOR_ID, bridge, express, id,
};
use super::wire::Wire;
use super::{Device, Error, Function, PciAddress};
use crate::mmio::Mmio;
use alloc::vec::Vec;
use core::ops::RangeInclusive;
use pci_types::CommandRegister;

/// Registers of a type 1 header that hold a BAR (7.5.1.3).
const BARS: u8 = 2;
/// Resolution of a memory window (7.5.1.3.8).
const WINDOW_UNIT: u64 = 1 << 20;

/// A bridge that firmware gave bus numbers and windows. What does not change is read once: when a
/// machine has moved, its NICs are waited for.
#[derive(Clone, Debug)]
pub struct Bridge {
    function: Function,
    bars: Vec<Bar>,
    buses: RangeInclusive<u8>,
    /// What firmware wrote into [`bridge::ASSIGNED`].
    assigned: [u32; bridge::ASSIGNED.len()],
    is_port: bool,
    wire: Wire,
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
        let (is_port, wire) = (is_port(&function), Wire::of(&function));
        let bridge =
            Self { function, bars, buses: secondary..=subordinate, assigned, is_port, wire };
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
        // In the order of `bridge::ASSIGNED`; a base, and a limit in the upper half.
        let [_, memory, prefetch, base_upper, limit_upper] = self.assigned;
        let base = |register: u32| u64::from(register & 0xfff0) << 16;
        let limit = |register: u32| u64::from(register & 0xfff0_0000);
        let wide = prefetch & 0xf == 1;
        let memory = (base(memory), limit(memory));
        let mut prefetch = (base(prefetch), limit(prefetch));
        if wide {
            prefetch.0 |= u64::from(base_upper) << 32;
            prefetch.1 |= u64::from(limit_upper) << 32;
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
        self.is_port
    }

    /// The functions that answer on the secondary bus, with their header types.
    pub(crate) fn functions(&self) -> impl Iterator<Item = (Function, u8)> + '_ {
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
        self.functions()
            .filter(|(_, header)| header & HEADER_LAYOUT == 0)
            .filter_map(|(function, _)| {
                Device::plugged(function, self.wire, &windows, &mut taken)
                    .inspect_err(|error| log::error!("pci: {error}"))
                    .ok()
                    .flatten()
            })
            .collect()
    }
}

/// Whether this is a PCI Express port.
fn is_port(function: &Function) -> bool {
    function.capability(id::EXPRESS).is_some_and(|capability| {
        let capabilities = function.read16(capability.offset + express::CAPABILITIES);
        let kind = capabilities >> express::TYPE_SHIFT & express::TYPE_MASK;
        kind == express::TYPE_ROOT_PORT || kind == express::TYPE_DOWNSTREAM_PORT
    })
}

/// The functions that answer on `bus`, of its first `devices` device numbers, with their header
/// types.
pub(crate) fn on_bus(
    any: &Function,
    segment: u16,
    bus: u8,
    devices: u8,
) -> impl Iterator<Item = (Function, u8)> + '_ {
    (0..devices).flat_map(move |device| {
        let look = move |number| {
            let address = PciAddress::new(segment, bus, device, number);
            let function = Function::new(any.host().clone(), address);
            let is_present = function.read16(VENDOR_ID) != u16::MAX;
            is_present.then(|| {
                let header = function.read8(HEADER_TYPE);
                (function, header)
            })
        };
        let first = look(0);
        let is_several =
            first.as_ref().is_some_and(|(_, header)| header & HEADER_MULTI_FUNCTION != 0);
        let others = if is_several { 1..8 } else { 0..0 };
        first.into_iter().chain(others.filter_map(look))
    })
}

//! Base address registers: sizing, and places for those that have none.

use super::registers::{BAR0, COMMAND};
use super::{Error, Function};
use alloc::vec::Vec;
use core::ops::Range;
use pci_types::CommandRegister;

/// Low bits of a BAR (PCI Express Base Specification 6.0, 7.5.1.2.1).
const IO: u32 = 1 << 0;
const TYPE_MASK: u32 = 0b11 << 1;
const TYPE_64: u32 = 0b10 << 1;
const PREFETCHABLE: u32 = 1 << 3;
const IO_ADDRESS: u32 = !0b11;
const MEMORY_ADDRESS: u32 = !0xf;

/// What a driver can have of a BAR at most: many times what the registers of any NIC take.
const LARGEST_MAPPING: u64 = 16 << 20;

/// What a BAR decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// Ports. Godwit's drivers use none, so these are neither assigned nor enabled.
    Io,
    /// Memory.
    Memory {
        /// Takes a second register for the upper half of the address.
        wide: bool,
        /// Reads have no side effects: may live in a prefetchable window.
        prefetchable: bool,
    },
}

/// A base address register that a function implements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bar {
    /// Number of the (first) register, 0 to 5.
    pub index: u8,
    /// What it decodes.
    pub space: Space,
    /// Where; 0 when nobody has assigned it.
    pub address: u64,
    /// Size in bytes, a power of two.
    pub size: u64,
}

impl Bar {
    /// The range it decodes.
    pub fn range(&self) -> Range<u64> {
        self.address..self.address.saturating_add(self.size)
    }

    /// How much of it is mapped. Registers are at its start; mapping all of what a device claims
    /// would cost page tables that nobody gives back.
    pub(crate) fn mapped(&self) -> u64 {
        self.size.min(LARGEST_MAPPING)
    }

    pub(crate) fn is_memory(&self) -> bool {
        matches!(self.space, Space::Memory { .. })
    }

    /// The registers that it takes: offsets in configuration space.
    fn registers(&self) -> impl Iterator<Item = u16> {
        let register = BAR0 + 4 * u16::from(self.index);
        let is_wide = matches!(self.space, Space::Memory { wide: true, .. });
        [Some(register), is_wide.then_some(register + 4)].into_iter().flatten()
    }

    /// Tells the function.
    pub(crate) fn write(&self, function: &Function) {
        for (register, shift) in self.registers().zip([0, 32]) {
            function.write32(register, (self.address >> shift) as u32);
        }
    }
}

/// Sizes the first `count` registers, which keep what they hold. Decoding is off meanwhile: a BAR
/// that is being sized decodes addresses that belong to others, and a hypervisor that maps BARs
/// follows every write. A bridge stops forwarding too, so bridges are sized before anything below
/// them runs.
pub(crate) fn size(function: &Function, count: u8) -> Vec<Bar> {
    let command = function.read16(COMMAND);
    let decoding = CommandRegister::IO_ENABLE | CommandRegister::MEMORY_ENABLE;
    function.write16(COMMAND, command & !decoding.bits());
    let bars = size_each(count, |register| {
        let held = function.read32(register);
        let mask = probe(function, register);
        function.write32(register, held);
        (held, mask)
    });
    function.write16(COMMAND, command);
    bars
}

/// The same for a function whose decoding is off, and whose registers hold what is nobody's
/// decision. None of them has an address afterwards. In a virtual machine each access is slow, and
/// these are between a machine that has moved and its NIC.
pub(crate) fn size_anew(function: &Function, count: u8) -> Vec<Bar> {
    let mut holding = Vec::new();
    let mut bars = size_each(count, |register| {
        // What cannot be written is in the mask as well: what kind of BAR it is.
        let mask = probe(function, register);
        if mask != 0 {
            holding.push(register);
        }
        (mask, mask)
    });
    bars.iter_mut().for_each(|bar| bar.address = 0);
    // Those in memory are about to be given one.
    let assigned = |register: &u16| {
        bars.iter().any(|bar| bar.is_memory() && bar.registers().any(|its| its == *register))
    };
    for register in holding.into_iter().filter(|register| !assigned(register)) {
        function.write32(register, 0);
    }
    bars
}

/// Sizes registers by what `probe` says: what each holds, and which of its bits can be written.
fn size_each(count: u8, mut probe: impl FnMut(u16) -> (u32, u32)) -> Vec<Bar> {
    let mut bars = Vec::new();
    let mut index = 0;
    while index < count {
        let wide_fits = index + 1 < count;
        let (bar, registers) = size_one(&mut probe, index, wide_fits);
        bars.extend(bar);
        index += registers;
    }
    bars
}

/// Sizes one BAR; also says how many registers it takes.
fn size_one(
    mut probe: impl FnMut(u16) -> (u32, u32),
    index: u8,
    wide_fits: bool,
) -> (Option<Bar>, u8) {
    let register = BAR0 + 4 * u16::from(index);
    let (low, low_mask) = probe(register);
    if low & IO != 0 {
        let mask = u64::from(low_mask & IO_ADDRESS) | !0xffff_ffff;
        let bar = bar(index, Space::Io, (low & IO_ADDRESS).into(), mask);
        return (bar, 1);
    }
    let wide = low & TYPE_MASK == TYPE_64;
    let space = Space::Memory { wide, prefetchable: low & PREFETCHABLE != 0 };
    let address = u64::from(low & MEMORY_ADDRESS);
    let mask = u64::from(low_mask & MEMORY_ADDRESS);
    if !wide {
        return (bar(index, space, address, mask | !0xffff_ffff), 1);
    }
    if !wide_fits {
        return (None, 1);
    }
    let (high, high_mask) = probe(register + 4);
    let address = address | u64::from(high) << 32;
    (bar(index, space, address, mask | u64::from(high_mask) << 32), 2)
}

/// What a BAR reads with ones written to it.
fn probe(function: &Function, register: u16) -> u32 {
    function.write32(register, u32::MAX);
    function.read32(register)
}

/// `mask` has ones where address bits can be written, and above. The device may claim anything:
/// only ones without a gap, from the top, are a size.
fn bar(index: u8, space: Space, address: u64, mask: u64) -> Option<Bar> {
    let size = (!mask).checked_add(1)?;
    let implemented = match space {
        Space::Io => size < 1 << 32,
        Space::Memory { wide, .. } => wide || size < 1 << 32,
    };
    (implemented && size.is_power_of_two()).then_some(Bar { index, space, address, size })
}

/// A range of addresses a bridge forwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// The addresses.
    pub range: Range<u64>,
    /// For prefetchable memory only.
    pub prefetchable: bool,
}

/// Gives every memory BAR of `bars` that has no address one inside `windows`, clear of `taken`, and
/// writes it to the function. Prefetchable BARs prefer a prefetchable window; the others must not
/// use one (7.5.1.2.1, implementation note on prefetchable space). The largest go first, so that
/// alignment wastes nothing.
pub(crate) fn assign(
    function: &Function,
    bars: &mut [Bar],
    windows: &[Window],
    taken: &mut Vec<Range<u64>>,
) -> Result<(), Error> {
    let mut order: Vec<usize> =
        (0..bars.len()).filter(|&i| bars[i].is_memory() && bars[i].address == 0).collect();
    order.sort_by_key(|&i| core::cmp::Reverse(bars[i].size));
    for i in order {
        let bar = &mut bars[i];
        let address = place(bar, windows, taken).ok_or(Error::NoRoom {
            function: function.address(),
            bar: bar.index,
            size: bar.size,
        })?;
        bar.address = address;
        bar.write(function);
        taken.push(bar.range());
    }
    Ok(())
}

fn place(bar: &Bar, windows: &[Window], taken: &[Range<u64>]) -> Option<u64> {
    let Space::Memory { wide, prefetchable } = bar.space else { return None };
    let end_of_space = if wide { u64::MAX } else { 1 << 32 };
    let preferred = windows.iter().filter(|w| prefetchable && w.prefetchable);
    let fallback = windows.iter().filter(|w| !w.prefetchable);
    preferred.chain(fallback).find_map(|window| {
        let end = window.range.end.min(end_of_space);
        fit(window.range.start..end, bar.size, taken)
    })
}

/// The lowest multiple of `size` in `range` where `size` bytes overlap nothing in `taken`.
fn fit(range: Range<u64>, size: u64, taken: &[Range<u64>]) -> Option<u64> {
    // Address 0 means "not assigned".
    let mut start = range.start.max(1).checked_next_multiple_of(size)?;
    loop {
        let end = start.checked_add(size)?;
        if end > range.end {
            return None;
        }
        match taken.iter().find(|t| t.start < end && start < t.end) {
            Some(obstacle) => start = obstacle.end.checked_next_multiple_of(size)?,
            None => return Some(start),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(size: u64, wide: bool, prefetchable: bool) -> Bar {
        Bar { index: 0, space: Space::Memory { wide, prefetchable }, address: 0, size }
    }

    fn window(range: Range<u64>, prefetchable: bool) -> Window {
        Window { range, prefetchable }
    }

    #[test]
    fn fit_skips_what_is_taken_and_aligns() {
        let taken = [0x1000..0x1800, 0x3000..0x5000];
        assert_eq!(fit(0x1000..0x8000, 0x1000, &taken), Some(0x2000));
        assert_eq!(fit(0x1000..0x8000, 0x2000, &taken), Some(0x6000));
        assert_eq!(fit(0x1000..0x8000, 0x4000, &taken), None);
        assert_eq!(fit(0x1800..0x2000, 0x1000, &taken), None);
        assert_eq!(fit(u64::MAX - 0xfff..u64::MAX, 0x2000, &[]), None);
        assert_eq!(fit(0..0x2000, 0x1000, &[]), Some(0x1000));
    }

    #[test]
    fn a_prefetchable_bar_prefers_its_window_and_others_never_use_it() {
        let windows = [window(0xfe00_0000..0xfe20_0000, false), window(1 << 40..1 << 41, true)];
        assert_eq!(place(&memory(0x1000, true, true), &windows, &[]), Some(1 << 40));
        assert_eq!(place(&memory(0x1000, true, false), &windows, &[]), Some(0xfe00_0000));
        // The prefetchable window is out of a 32-bit BAR's reach.
        assert_eq!(place(&memory(0x1000, false, true), &windows, &[]), Some(0xfe00_0000));
        assert_eq!(place(&memory(0x1000, true, false), &windows[1..], &[]), None);
    }

    #[test]
    fn only_a_gapless_mask_is_a_size() {
        let space = Space::Memory { wide: true, prefetchable: false };
        assert_eq!(bar(0, space, 0, !0xfff).unwrap().size, 0x1000);
        assert_eq!(bar(0, space, 0, !0xfff & !0x10_0000), None);
        assert_eq!(bar(0, space, 0, 0), None);
        let narrow = Space::Memory { wide: false, prefetchable: false };
        assert_eq!(bar(0, narrow, 0, !0xffff_ffff), None);
    }
}

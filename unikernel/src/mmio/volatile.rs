//! The volatile accesses. [`Mmio`](super::Mmio) has checked offset and alignment against a range
//! that `memory::map_device` mapped: outside of RAM, and never unmapped.

use super::width::Width;
use core::ptr::{
    read_volatile, with_exposed_provenance, with_exposed_provenance_mut, write_volatile,
};

#[inline]
pub(super) fn read(address: usize, width: Width) -> u32 {
    match width {
        Width::Byte => load::<u8>(address).into(),
        Width::Word => load::<u16>(address).into(),
        Width::Dword => load(address),
    }
}

#[inline]
pub(super) fn write(address: usize, width: Width, value: u32) {
    match width {
        Width::Byte => store(address, value as u8),
        Width::Word => store(address, value as u16),
        Width::Dword => store(address, value),
    }
}

#[inline]
fn load<T: Copy>(address: usize) -> T {
    // SAFETY: inside a mapped register range and aligned (see above); any bits are a `T`, which is
    // one of the unsigned integers.
    unsafe { read_volatile(with_exposed_provenance(address)) }
}

#[inline]
fn store<T: Copy>(address: usize, value: T) {
    // SAFETY: inside a mapped register range and aligned (see above), where no Rust object is.
    unsafe { write_volatile(with_exposed_provenance_mut(address), value) }
}

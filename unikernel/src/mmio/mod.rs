//! Device registers, behind a bounds check.
//!
//! [`Mmio`] is the only way a driver reaches a device's registers. On the target it is a mapped
//! range of physical addresses; in host tests a model of the device stands behind the same
//! accessors.
//!
//! Accesses are volatile and little endian. x86 does not reorder accesses to uncached memory with
//! one another, nor stores to memory with a later store to a register; what a device must find in
//! memory when a register is written has been written through the DMA layer.

#[cfg(not(target_os = "none"))]
use alloc::sync::Arc;

#[cfg(target_os = "none")]
mod volatile;
mod width;

pub use width::Width;

/// A model of a device's registers, standing in for hardware in host tests.
#[cfg(not(target_os = "none"))]
pub trait Registers: Send + Sync {
    /// A read of `width` at `offset` bytes into the range.
    fn read(&self, offset: usize, width: Width) -> u32;
    /// A write of `width` at `offset` bytes into the range.
    fn write(&self, offset: usize, width: Width, value: u32);
}

#[derive(Clone)]
enum Backing {
    #[cfg(target_os = "none")]
    Mapped(usize),
    #[cfg(not(target_os = "none"))]
    Model(Arc<dyn Registers>, usize),
}

/// A range of device registers. Offsets are in bytes from its start; an access must be aligned to
/// its width and lie inside the range, anything else is a bug in the driver and panics.
#[derive(Clone)]
pub struct Mmio {
    backing: Backing,
    len: usize,
}

impl Mmio {
    /// The `len` bytes of device registers at `physical`; `None` where the kernel cannot map them.
    ///
    /// Safe for any range: the kernel maps nothing that is RAM.
    #[cfg(target_os = "none")]
    pub(crate) fn map(physical: u64, len: u64) -> Option<Self> {
        crate::memory::map_device(physical, len)
            .then_some(Self { backing: Backing::Mapped(physical as usize), len: len as usize })
    }

    /// A range of `len` bytes with `registers` behind it.
    #[cfg(not(target_os = "none"))]
    pub fn model(registers: Arc<dyn Registers>, len: usize) -> Self {
        Self { backing: Backing::Model(registers, 0), len }
    }

    /// Size of the range in bytes.
    #[allow(clippy::len_without_is_empty, reason = "a register range is never empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The part of this range from `offset`, `len` bytes long; `None` when it does not lie inside.
    /// For ranges whose place a device names.
    pub fn window(&self, offset: usize, len: usize) -> Option<Self> {
        if offset.checked_add(len)? > self.len {
            return None;
        }
        let backing = match &self.backing {
            #[cfg(target_os = "none")]
            Backing::Mapped(base) => Backing::Mapped(base + offset),
            #[cfg(not(target_os = "none"))]
            Backing::Model(model, base) => Backing::Model(model.clone(), base + offset),
        };
        Some(Self { backing, len })
    }

    /// Reads 8 bits.
    #[inline]
    pub fn read8(&self, offset: usize) -> u8 {
        self.read(offset, Width::Byte) as u8
    }

    /// Reads 16 bits.
    #[inline]
    pub fn read16(&self, offset: usize) -> u16 {
        self.read(offset, Width::Word) as u16
    }

    /// Reads 32 bits.
    #[inline]
    pub fn read32(&self, offset: usize) -> u32 {
        self.read(offset, Width::Dword)
    }

    /// Writes 8 bits.
    #[inline]
    pub fn write8(&self, offset: usize, value: u8) {
        self.write(offset, Width::Byte, value.into());
    }

    /// Writes 16 bits.
    #[inline]
    pub fn write16(&self, offset: usize, value: u16) {
        self.write(offset, Width::Word, value.into());
    }

    /// Writes 32 bits.
    #[inline]
    pub fn write32(&self, offset: usize, value: u32) {
        self.write(offset, Width::Dword, value);
    }

    /// Sets bits of 32.
    pub fn set32(&self, offset: usize, bits: u32) {
        self.write32(offset, self.read32(offset) | bits);
    }

    /// Clears bits of 32.
    pub fn clear32(&self, offset: usize, bits: u32) {
        self.write32(offset, self.read32(offset) & !bits);
    }

    #[inline]
    pub(crate) fn read(&self, offset: usize, width: Width) -> u32 {
        self.check(offset, width);
        match &self.backing {
            #[cfg(target_os = "none")]
            Backing::Mapped(base) => volatile::read(base + offset, width),
            #[cfg(not(target_os = "none"))]
            Backing::Model(model, base) => model.read(base + offset, width),
        }
    }

    #[inline]
    pub(crate) fn write(&self, offset: usize, width: Width, value: u32) {
        self.check(offset, width);
        match &self.backing {
            #[cfg(target_os = "none")]
            Backing::Mapped(base) => volatile::write(base + offset, width, value),
            #[cfg(not(target_os = "none"))]
            Backing::Model(model, base) => model.write(base + offset, width, value),
        }
    }

    #[inline]
    fn check(&self, offset: usize, width: Width) {
        let bytes = width as usize;
        assert!(
            offset.is_multiple_of(bytes)
                && offset <= self.len.saturating_sub(bytes)
                && bytes <= self.len,
            "register access of {bytes} bytes at {offset:#x} outside {:#x} bytes",
            self.len
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Echo;

    impl Registers for Echo {
        fn read(&self, offset: usize, _width: Width) -> u32 {
            offset as u32
        }
        fn write(&self, _offset: usize, _width: Width, _value: u32) {}
    }

    #[test]
    fn a_window_is_relative_and_stays_inside() {
        let mmio = Mmio::model(Arc::new(Echo), 0x100);
        let window = mmio.window(0x40, 0x10).unwrap();
        assert_eq!(window.read32(0xc), 0x4c);
        assert_eq!(window.window(8, 8).unwrap().read32(4), 0x4c);
        assert!(mmio.window(0xf8, 0x10).is_none());
        assert!(mmio.window(usize::MAX, 2).is_none());
    }

    #[test]
    #[should_panic(expected = "outside 0x100 bytes")]
    fn an_access_across_the_end_panics() {
        Mmio::model(Arc::new(Echo), 0x100).read32(0xfe);
    }

    #[test]
    #[should_panic(expected = "outside 0x2 bytes")]
    fn an_access_wider_than_the_range_panics() {
        Mmio::model(Arc::new(Echo), 2).read32(0);
    }
}

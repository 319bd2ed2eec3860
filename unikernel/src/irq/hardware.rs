//! The interrupt controllers, or what stands in for them on a host.

#[cfg(target_os = "none")]
pub(super) use crate::arch::{
    interrupts::message,
    pic::{has_lines, mask, unmask},
    vectors::MESSAGES,
};

#[cfg(not(target_os = "none"))]
pub(super) use host::*;

#[cfg(not(target_os = "none"))]
mod host {
    pub(in crate::irq) const MESSAGES: usize = 64;

    pub(in crate::irq) fn message(index: usize) -> (u64, u32) {
        (0xfee0_0000, 0x30 + index as u32)
    }

    pub(in crate::irq) fn has_lines() -> bool {
        true
    }

    pub(in crate::irq) fn mask(_line: u8) {}

    pub(in crate::irq) fn unmask(_line: u8) {}
}

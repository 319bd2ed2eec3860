//! The 82599 and the X540.
//!
//! Chapters and registers are those of the Intel 82599 10 GbE Controller Datasheet (331520,
//! revision 3.4); the X540's (515655) differs where it says so here. Receive side coalescing,
//! header split and head write-back stay off: a device writes frames, receive descriptors and
//! transmit reports, and nothing else.

mod hardware;
mod registers;

pub(crate) use hardware::Errors;
use hardware::{Ixgbe, Mac};
pub(crate) use registers::transmit::TXDCTL_PREFETCH;

/// Vendor and device id of the 82599ES, with SFP+ or backplane.
pub const INTEL_82599: (u16, u16) = (0x8086, 0x10fb);
/// Vendor and device id of the X540-AT2, 10GBASE-T.
pub const INTEL_X540: (u16, u16) = (0x8086, 0x1528);

/// The 82599.
pub(crate) type Hardware82599 = Ixgbe<Intel82599>;
/// The X540.
pub(crate) type HardwareX540 = Ixgbe<IntelX540>;

/// What is the 82599's own.
pub(crate) enum Intel82599 {}

impl Mac for Intel82599 {
    const RECEIVE_BUFFER_KIB: u32 = 512;
    const SETS_UP_LINK: bool = true;
}

/// What is the X540's own: its link is its PHY's business.
pub(crate) enum IntelX540 {}

impl Mac for IntelX540 {
    const RECEIVE_BUFFER_KIB: u32 = 384;
    const SETS_UP_LINK: bool = false;
}

//! Virtual functions of the 82576 and the I350.
//!
//! The datasheet is Intel's for the 82576EB Gigabit Ethernet Controller, revision 2.63: chapter
//! 8.26 has what a virtual function sees of the registers, 7.10 how they are shared. What a host's
//! driver does with them is Linux's igb.

use crate::intel::ReceiveErrors;
use crate::intel::gigabit;
use crate::intel::vf::{Kind, Layout, MailboxPlace, VirtualFunction};
use unikernel::mmio::Mmio;
use unikernel::nic::Link;

/// Vendor and device id of a virtual function of the 82576.
pub const INTEL_82576_VF: (u16, u16) = (0x8086, 0x10ca);
/// Vendor and device id of a virtual function of the I350.
pub const INTEL_I350_VF: (u16, u16) = (0x8086, 0x1520);

/// One of an 82576.
pub(crate) type Hardware82576Vf = VirtualFunction<Igbvf<Errors82576>>;
/// One of an I350.
pub(crate) type HardwareI350Vf = VirtualFunction<Igbvf<ErrorsI350>>;

/// Time between interrupts in microseconds, in bits 2 to 14 of EITR.
const THROTTLE_US: u32 = 51;

/// Descriptors fetched ahead, how many must be there to make it worthwhile, and how many are
/// written back at a time, as the physical function's driver has them.
const THRESHOLDS: u32 = 8 | 4 << 8 | 1 << 16;

/// Asks for frames to every group, in words of Linux's igb: promiscuous, for multicast.
const SET_PROMISCUOUS: u32 = 0x06;
const MULTICAST: u32 = 0b10 << 16;

/// The family; `E` is in what its two devices differ.
pub(crate) struct Igbvf<E>(E);

impl<E: ReceiveErrors + 'static> Kind for Igbvf<E> {
    const FAMILY: &'static str = "igbvf";
    const SIZE: usize = 0x4000;
    const LAYOUT: Layout = Layout {
        mailbox: MailboxPlace { control: 0x0c40, buffer: 0x0800 },
        eicr: 0x1580,
        eims: 0x1524,
        eimc: 0x1528,
        eitr: 0x1680,
        ivar: 0x1700,
        ivar_misc: 0x1740,
        receive: 0x2800,
        transmit: 0x3800,
        srrctl: 0x280c,
        dropped: Some(0x2830),
        psrtype: 0x0f0c,
        throttle: THROTTLE_US << 2,
        rxdctl: THRESHOLDS,
        txdctl: THRESHOLDS,
        strip_tags: 0,
        extra: 4 + 4,
    };
    type Errors = E;

    fn link(registers: &Mmio) -> Link {
        gigabit::link(registers)
    }

    fn every_group() -> [u32; 2] {
        [SET_PROMISCUOUS | MULTICAST, 0]
    }
}

/// Receive errors of a write-back, the 82576's (7.1.5.2).
pub(crate) enum Errors82576 {}

impl ReceiveErrors for Errors82576 {
    const FRAME: u64 = 1 << 31;
    const TRANSPORT: u64 = 1 << 29;
    const IP: u64 = 1 << 30;
}

/// The same of the I350.
pub(crate) enum ErrorsI350 {}

impl ReceiveErrors for ErrorsI350 {
    const FRAME: u64 = Errors82576::FRAME;
    const TRANSPORT: u64 = Errors82576::TRANSPORT;
    const IP: u64 = Errors82576::IP;
    /// It has the tag of a frame that another function sent as it was on the wire; Linux's driver
    /// swaps it, too.
    const TAG_SWAPPED: u64 = 1 << 18;
}

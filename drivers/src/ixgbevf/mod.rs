//! Virtual functions of the 82599 and the X540.
//!
//! Section 8.3 of the Intel 82599 10 GbE Controller Datasheet (331520, revision 3.4) has what a
//! virtual function sees of the registers, 7.10 how they are shared; the X540's (515655) has the
//! same. What a host's driver does with them is Linux's ixgbe.

use crate::intel::vf::{Kind, Layout, MailboxPlace, VirtualFunction};
use crate::ixgbe::Errors;
use unikernel::mmio::Mmio;
use unikernel::nic::Link;

/// Vendor and device id of a virtual function of the 82599.
pub const INTEL_82599_VF: (u16, u16) = (0x8086, 0x10ed);
/// Vendor and device id of a virtual function of the X540.
pub const INTEL_X540_VF: (u16, u16) = (0x8086, 0x1515);

/// One of either.
pub(crate) type HardwareVf = VirtualFunction<Ixgbevf>;

/// Time between interrupts in units of 2 µs, in bits 3 to 11 of EITR.
const THROTTLE: u32 = 25;

/// VFLINKS (8.3.5.1.3): the link is up, and its speed.
const LINKS: usize = 0x0010;
const LINKS_UP: u32 = 1 << 30;
const LINKS_SPEED_SHIFT: u32 = 28;

/// Agrees on a version of what may be asked for, by Linux's numbers: 1.3; 1.2, the first in which
/// there is [`SET_CAST`]; or 1.1, without which an 82599's host grants no long frames.
const NEGOTIATE: u32 = 0x08;
const VERSIONS: [[u32; 2]; 3] = [[NEGOTIATE, 4], [NEGOTIATE, 3], [NEGOTIATE, 2]];

/// Which frames to receive besides those to the station address: broadcasts, and to every group.
/// To a function that it does not trust, Linux's driver grants a lower mode, and says which.
const SET_CAST: u32 = 0x0c;
const ALL_GROUPS: u32 = 2;

/// The family.
pub(crate) enum Ixgbevf {}

impl Kind for Ixgbevf {
    const FAMILY: &'static str = "ixgbevf";
    const SIZE: usize = 0x4000;
    const LAYOUT: Layout = Layout {
        mailbox: MailboxPlace { control: 0x02fc, buffer: 0x0200 },
        eicr: 0x0100,
        eims: 0x0108,
        eimc: 0x010c,
        eitr: 0x0820,
        ivar: 0x0120,
        ivar_misc: 0x0140,
        receive: 0x1000,
        transmit: 0x2000,
        srrctl: 0x1014,
        dropped: None,
        psrtype: 0x0300,
        throttle: THROTTLE << 3,
        rxdctl: 0,
        txdctl: crate::ixgbe::TXDCTL_PREFETCH,
        strip_tags: 1 << 30,
        // A tag is allowed for.
        extra: 4,
    };
    type Errors = Errors;

    fn link(registers: &Mmio) -> Link {
        let links = registers.read32(LINKS);
        if links == u32::MAX || links & LINKS_UP == 0 {
            return Link::default();
        }
        let speed = match links >> LINKS_SPEED_SHIFT & 0b11 {
            0 | 1 => 100,
            2 => 1000,
            _ => 10_000,
        };
        Link { up: true, speed, full_duplex: true }
    }

    fn versions() -> &'static [[u32; 2]] {
        &VERSIONS
    }

    const GROUPS_HAVE_MODES: bool = true;

    fn every_group() -> [u32; 2] {
        [SET_CAST, ALL_GROUPS]
    }
}

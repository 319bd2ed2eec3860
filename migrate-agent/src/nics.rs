use core::fmt;

use unikernel::pci::{Device, PciAddress};

/// The NICs of the machine, and the interfaces they serve: what the [service](crate::BridgeService)
/// asks of whoever owns them.
///
/// An interface has a NIC, or a pair: a primary and a standby that takes its place.
#[allow(async_fn_in_trait, reason = "one executor runs everything; nothing here need be Send")]
pub trait Nics: Clone {
    /// Starts the driver of a device that has appeared, and gives the NIC to an interface. `None`
    /// if it is left alone, which has been said on the console.
    async fn attach(&self, device: Device) -> Option<Attached>;

    /// Moves traffic to the standbys of the NICs that are `below`, says on the console what
    /// happens, stops these NICs, and takes them out of their interfaces. No DMA of theirs happens
    /// afterwards, what they received has been completed, and nobody touches them any more. The
    /// machine may go on elsewhere at once: all that is said has been written.
    async fn release(&self, below: impl Fn(PciAddress) -> bool, why: Why);

    /// Has every interface announce its addresses: the machine is elsewhere on the network.
    fn announce(&self);

    /// Waits until what the NICs have received by now is dealt with.
    async fn drain(&self);
}

/// A NIC that has been given to an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attached {
    /// The hypervisor's dirty log sees what the device writes, so that nothing need be marked.
    pub is_logged: bool,
}

/// Why NICs are released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// They are about to leave the machine.
    Detached,
    /// They are to be left alone: the machine is about to move.
    Quiesced,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Detached => "detached",
            Self::Quiesced => "quiesced",
        })
    }
}

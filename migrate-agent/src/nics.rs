use unikernel::pci::{Bridge, Device};

/// The NICs of the machine, and the interfaces they serve: what the [service](crate::BridgeService)
/// asks of whoever owns them.
///
/// An interface has a NIC, or a pair: a primary and a standby that takes its place.
#[allow(async_fn_in_trait, reason = "one executor runs everything; nothing here need be Send")]
pub trait Nics: Clone {
    /// Starts the driver of a device that has appeared, and gives the NIC to an interface. `None`
    /// if it is left alone, which has been said on the console.
    async fn attach(&self, device: Device) -> Option<Attached>;

    /// Moves traffic to the standbys of the NICs below `bridge`, stops these NICs, and takes them
    /// out of their interfaces. No DMA of theirs happens afterwards.
    async fn detach_below(&self, bridge: &Bridge);

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

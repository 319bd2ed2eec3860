//! The capability where it really is: in a bridge's configuration space.

use unikernel::dma::Pool;
use unikernel::pci::{Bridge, VendorCapability};

use crate::{Agent, Marker, Registers, Slice, Unusable};

/// Whether a bridge tells when the hypervisor logs.
pub fn has_capability(bridge: &Bridge) -> bool {
    agent(bridge).is_some()
}

/// The agent of a bridge, if it has a capability to rely on.
pub(crate) fn agent(bridge: &Bridge) -> Option<Agent<Capability>> {
    bridge.function().vendor_capabilities().find_map(|capability| {
        match Agent::probe(Capability(capability)) {
            Ok(agent) => Some(agent),
            // Bridges have other vendor-specific capabilities as well.
            Err(Unusable::OtherKind) => None,
            Err(why) => {
                log::warn!("agent: {}: {why}: as if there were none", bridge.address());
                None
            }
        }
    })
}

/// Configuration space as the agent wants it. What lies outside the capability reads as all ones.
pub(crate) struct Capability(VendorCapability);

impl Registers for Capability {
    fn read8(&self, offset: u8) -> u8 {
        self.0.read8(offset).unwrap_or(u8::MAX)
    }

    fn read16(&self, offset: u8) -> u16 {
        self.0.read16(offset).unwrap_or(u16::MAX)
    }

    fn read32(&self, offset: u8) -> u32 {
        self.0.read32(offset).unwrap_or(u32::MAX)
    }

    fn write16(&mut self, offset: u8, value: u16) {
        // Refused outside the capability, which is all there is to do about it.
        let _ = self.0.write16(offset, value);
    }

    fn write32(&mut self, offset: u8, value: u32) {
        let _ = self.0.write32(offset, value);
    }
}

/// The DMA layer as the agent drives it.
pub(crate) struct PoolMarker(pub(crate) &'static Pool);

impl Marker for PoolMarker {
    fn start(&mut self) {
        self.0.start_marking();
    }

    fn catch_up(&mut self, from: u32) -> Slice {
        let slice = self.0.catch_up(from);
        Slice { pages: slice.pages, next: slice.next }
    }

    fn stop(&mut self) {
        self.0.stop_marking();
    }

    fn marked(&self) -> u64 {
        self.0.pages_marked()
    }
}

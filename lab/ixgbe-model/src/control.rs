//! What can be asked of a running model: in this process by [`Control`], in another one by
//! [`Client`].

mod socket;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{fault::Fault, memory::Pages, shared::Shared};

pub(crate) use socket::serve;
pub use socket::{Client, Command, Reply};

/// State and counters of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Whether the link is up.
    pub link: bool,
    /// How often the link changed.
    pub link_changes: u64,
    /// Resets of the device, the first at power-up.
    pub resets: u64,
    /// Interrupts sent.
    pub interrupts: u64,
    /// Accesses to memory that is not the guest's.
    pub bad_addresses: u64,
    /// Transmitted packets that did not fit their context.
    pub malformed: u64,
    /// Frames that are still to be mistreated.
    pub faults: u64,
    /// Whether the device fell silent, by [`Fault::Death`].
    pub dead: bool,
}

/// Commands a running model. Clones command the same one.
#[derive(Clone)]
pub struct Control {
    shared: Arc<Shared>,
}

impl Control {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Starts a new record of written pages.
    pub fn start_record(&self) {
        self.shared.with(|device| device.host.memory.start_record());
    }

    /// Ends the record, and returns it.
    pub fn stop_record(&self) -> Vec<Pages> {
        self.shared.with(|device| {
            device.host.memory.stop_record();
            device.host.memory.record()
        })
    }

    /// Every page the device wrote since the record began, in order of addresses.
    pub fn record(&self) -> Vec<Pages> {
        self.shared.with(|device| device.host.memory.record())
    }

    /// State and counters.
    pub fn status(&self) -> Status {
        self.shared.with(|device| Status {
            link: device.port.link.is_up(),
            link_changes: device.port.link.changes,
            resets: device.resets,
            interrupts: device.host.interrupts.sent,
            bad_addresses: device.host.bad_addresses,
            malformed: device.transmit.malformed,
            faults: device.receive.faults.left(),
            dead: device.host.dead,
        })
    }

    /// Plugs or pulls the cable.
    pub fn plug(&self, plugged: bool) {
        self.shared.with(|device| device.plug(plugged));
    }

    /// Mistreats the next `frames` received frames.
    pub fn inject(&self, fault: Fault, frames: u64) {
        self.shared.with(|device| device.receive.faults.add(fault, frames));
    }

    /// Sends an interrupt nobody asked for.
    pub fn interrupt(&self, vector: usize) {
        self.shared.with(|device| device.host.interrupts.spurious(vector));
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.shared.is_stopping()
    }
}

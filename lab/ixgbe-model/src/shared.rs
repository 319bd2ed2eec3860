//! What the threads of a model share, and how it is commanded.

use std::{
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use serde::{Deserialize, Serialize};

use crate::{device::Device, fault::Fault, memory::Pages};

/// Counts and states of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Whether the link is up.
    pub link: bool,
    /// How often it changed.
    pub link_changes: u64,
    /// Resets of the device, the first at power-up.
    pub resets: u64,
    /// Interrupts sent.
    pub interrupts: u64,
    /// Accesses to memory that is not the guest's.
    pub bad_addresses: u64,
    /// Transmitted packets that did not fit their context.
    pub malformed: u64,
    /// Faults still to come.
    pub faults: u64,
    /// Whether it fell silent.
    pub dead: bool,
}

/// What the threads share.
pub(crate) struct Shared {
    pub(crate) device: Mutex<Device>,
    /// Wakes the engine.
    pub(crate) wake: OwnedFd,
    pub(crate) stopping: AtomicBool,
}

impl Shared {
    /// Does something with the device and what follows from it, and wakes the engine if it would be
    /// late.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Device) -> T) -> T {
        let mut device = self.device.lock().expect("no thread panics with the device");
        let result = act(&mut device);
        let plan = device.settle(Instant::now());
        let late = device.planned.misses(&plan);
        if late {
            device.planned = plan;
        }
        drop(device);
        if late {
            self.wake();
        }
        result
    }

    pub(crate) fn wake(&self) {
        // It fails only when the engine was woken 2^64 times already.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }
}

/// Commands a model; clones command the same.
#[derive(Clone)]
pub struct Control {
    pub(crate) shared: Arc<Shared>,
}

impl Control {
    /// Begins the record of written pages anew.
    pub fn start_record(&self) {
        self.shared.with(|device| device.memory.start_record());
    }

    /// Keeps the record as it is from now on, and returns it.
    pub fn stop_record(&self) -> Vec<Pages> {
        self.shared.with(|device| {
            device.memory.stop_record();
            device.memory.record()
        })
    }

    /// Every page the device wrote since the record began, in order of addresses.
    pub fn record(&self) -> Vec<Pages> {
        self.shared.with(|device| device.memory.record())
    }

    /// Counts and states.
    pub fn status(&self) -> Status {
        self.shared.with(|device| Status {
            link: device.link.is_up(),
            link_changes: device.link.changes,
            resets: device.resets,
            interrupts: device.interrupts.sent,
            bad_addresses: device.bad_addresses,
            malformed: device.transmit.malformed,
            faults: device.faults.left(),
            dead: device.dead,
        })
    }

    /// Plugs or pulls the cable.
    pub fn plug(&self, plugged: bool) {
        self.shared.with(|device| device.change_link(|link| link.pull(!plugged)));
    }

    /// Mistreats the next `frames` received frames.
    pub fn inject(&self, fault: Fault, frames: u64) {
        self.shared.with(|device| device.faults.add(fault, frames));
    }

    /// Sends an interrupt nobody asked for.
    pub fn interrupt(&self, vector: usize) {
        self.shared.with(|device| device.interrupts.spurious(vector));
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.shared.stopping.load(Ordering::Relaxed)
    }
}

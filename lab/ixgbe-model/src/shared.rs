//! The device behind a lock, as the model's threads share it.

use std::{
    os::fd::OwnedFd,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use anyhow::{Context, Result};
use rustix::event::{EventfdFlags, eventfd};

use crate::{device::Device, plan::Plan};

/// What the threads share.
pub(crate) struct Shared {
    guarded: Mutex<Guarded>,
    /// Wakes the engine.
    pub(crate) wake: OwnedFd,
    /// The model is stopping.
    stopping: AtomicBool,
}

impl Shared {
    /// Puts a device behind a lock.
    ///
    /// # Errors
    /// The system has no event file to give.
    pub(crate) fn new(device: Device) -> Result<Self> {
        let wake = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)
            .context("cannot create an event file")?;
        let guarded = Mutex::new(Guarded { device, planned: Plan::default() });
        Ok(Self { guarded, wake, stopping: AtomicBool::new(false) })
    }

    /// Whether the model is stopping.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Asks the threads to end, and wakes the engine so that it sees this.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.wake();
    }

    /// Lets `act` use the device, does what follows from that, and wakes the engine if it would be
    /// late for what the device waits for now.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Device) -> T) -> T {
        let mut guarded = self.lock();
        let result = act(&mut guarded.device);
        let plan = guarded.device.settle(Instant::now());
        let late = guarded.planned.misses(&plan);
        if late {
            guarded.planned = plan;
        }
        drop(guarded);
        if late {
            self.wake();
        }
        result
    }

    /// Does what is due, and returns what the engine has to wait for.
    pub(crate) fn plan(&self) -> Plan {
        let mut guarded = self.lock();
        guarded.device.resume();
        guarded.planned = guarded.device.settle(Instant::now());
        guarded.planned
    }

    fn lock(&self) -> MutexGuard<'_, Guarded> {
        self.guarded.lock().expect("no thread panics with the device")
    }

    fn wake(&self) {
        // This fails only if the engine has been woken 2^64 times since it looked.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }
}

/// What the lock guards.
struct Guarded {
    device: Device,
    /// What the engine waits for.
    planned: Plan,
}

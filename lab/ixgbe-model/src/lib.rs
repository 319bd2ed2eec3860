//! A model of Intel's 82599 with one SFP+ port (8086:10fb), as a vfio-user server.
//!
//! Any QEMU from 10.1 on attaches it:
//! ```text
//! -object memory-backend-memfd,id=ram,size=512M,share=on -machine q35,memory-backend=ram
//! -device pcie-root-port,id=rp0,slot=1
//! -device '{"driver":"vfio-user-pci","bus":"rp0","socket":{"type":"unix","path":"PATH"}}'
//! ```
//! It writes guest memory behind QEMU's back, as hardware would, so no dirty log of a hypervisor
//! sees it; and it records every page it writes. What the guest's drivers do about their device's
//! writes can be judged by that record.
//!
//! # What it has
//! 128 receive and 128 transmit queues, advanced descriptors (transmit: legacy ones too), RSS, 64
//! MSI-X vectors with moderation, automatic masking and clearing (or MSI, or INTx), checksums both
//! ways, TCP and UDP segmentation, VLAN tags stripped, inserted and filtered, all address filters,
//! statistics, link flow control, resets of all kinds.
//!
//! # What it has not
//! Receive-side coalescing (a queue that enables it gets packets one by one), header split, legacy
//! receive descriptors (a queue that asks for either gets nothing, and the log says so), flow
//! director filters (commands are taken, nothing matches), traffic classes, virtualisation, FCoE,
//! MACsec, IPsec, IEEE 1588, AER, an I/O BAR, a ROM.
//!
//! # Threads
//! One answers QEMU and does transmission where the doorbell rings; the engine takes frames from
//! the wire and sends delayed interrupts. They share the device behind a lock.
#![forbid(unsafe_code)]

mod checksum;
mod config;
pub mod control;
mod device;
mod eeprom;
mod engine;
mod fault;
mod filters;
mod i2c;
mod interrupts;
mod link;
mod memory;
mod offload;
mod packet;
mod receive;
mod registers;
mod rss;
mod server;
mod statistics;
#[cfg(test)]
mod tests;
mod transmit;
mod wire;

use std::{
    os::{
        fd::OwnedFd,
        unix::net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Instant,
};

use anyhow::{Context, Result};
use device::Device;
use rustix::event::{EventfdFlags, eventfd};
use serde::{Deserialize, Serialize};

pub use engine::Peer;
pub use fault::Fault;
pub use memory::{PAGE, Pages};

/// How a model is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens for QEMU. The file must not exist.
    pub socket: PathBuf,
    /// The other end of the wire.
    pub peer: Peer,
    /// Address of the port.
    pub mac: [u8; 6],
    /// Where it listens for commands, if anywhere.
    pub control: Option<PathBuf>,
    /// Whether the command to exit ends this process.
    pub may_exit: bool,
}

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
struct Shared {
    device: Mutex<Device>,
    /// Wakes the engine.
    wake: OwnedFd,
    stopping: AtomicBool,
}

impl Shared {
    /// Does something with the device and what follows from it, and wakes the engine if it would be
    /// late.
    fn with<T>(&self, act: impl FnOnce(&mut Device) -> T) -> T {
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

    fn wake(&self) {
        // It fails only when the engine was woken 2^64 times already.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }
}

/// Commands a model; clones command the same.
#[derive(Clone)]
pub struct Control {
    shared: Arc<Shared>,
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

    fn is_stopping(&self) -> bool {
        self.shared.stopping.load(Ordering::Relaxed)
    }
}

/// A running model. It stops when dropped; a QEMU that is still attached is served until it is
/// gone.
pub struct Model {
    control: Control,
    options: Options,
    server: Option<JoinHandle<()>>,
    engine: Option<JoinHandle<()>>,
}

impl Model {
    /// Starts a model. QEMU may attach as soon as this returns.
    ///
    /// # Errors
    /// A socket that cannot be made, by its path.
    pub fn start(options: Options) -> Result<Self> {
        let wake = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)
            .context("cannot create an event file")?;
        let shared = Arc::new(Shared {
            device: Mutex::new(Device::new(options.mac)),
            wake,
            stopping: AtomicBool::new(false),
        });
        let control = Control { shared: shared.clone() };
        let port = match &options.peer {
            Peer::Connect(path) => engine::Port::Connect(path.clone()),
            Peer::Listen(path) => {
                let listener = bind(path)?;
                listener.set_nonblocking(true)?;
                engine::Port::Listen(listener)
            }
        };
        let server = server::listen(&options.socket)?;
        if let Some(path) = &options.control {
            let listener = bind(path)?;
            let control = control.clone();
            let may_exit = options.may_exit;
            spawn("82599-control", move || control::serve(&listener, &control, may_exit))?;
        }
        let engine = {
            let shared = shared.clone();
            spawn("82599-engine", move || engine::run(&shared, port))?
        };
        let server = spawn("82599-server", move || server::serve(&server, &shared))?;
        Ok(Self { control, options, server: Some(server), engine: Some(engine) })
    }

    /// Its controls.
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// Waits for ever, as a process does that is nothing but a model.
    pub fn wait(mut self) {
        if let Some(server) = self.server.take() {
            let _ = server.join();
        }
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        self.control.shared.stopping.store(true, Ordering::Relaxed);
        self.control.shared.wake();
        // Whoever waits for a connection gets one, and sees that it is over.
        let _ = UnixStream::connect(&self.options.socket);
        let listening = match &self.options.peer {
            Peer::Listen(path) => Some(path),
            Peer::Connect(_) => None,
        };
        if let Some(path) = &self.options.control {
            let _ = UnixStream::connect(path);
        }
        for path in self.options.control.iter().chain(listening) {
            let _ = std::fs::remove_file(path);
        }
        if let Some(engine) = self.engine.take() {
            let _ = engine.join();
        }
    }
}

fn bind(path: &Path) -> Result<UnixListener> {
    UnixListener::bind(path).with_context(|| format!("cannot listen on {}", path.display()))
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    thread::Builder::new()
        .name(name.into())
        .spawn(body)
        .with_context(|| format!("cannot start the thread {name}"))
}

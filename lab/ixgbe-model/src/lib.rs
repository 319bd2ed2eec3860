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

mod bank;
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
mod queues;
mod receive;
mod registers;
mod ring;
mod rss;
mod server;
mod shared;
mod statistics;
#[cfg(test)]
mod tests;
mod transmit;
mod waiting;
mod wire;

use std::{
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use anyhow::{Context, Result};
use device::Device;
use rustix::event::{EventfdFlags, eventfd};
use shared::Shared;

pub use engine::Peer;
pub use fault::Fault;
pub use memory::{PAGE, Pages};
pub use shared::{Control, Status};

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

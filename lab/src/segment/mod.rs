//! The Ethernet segment that the traffic source, the lab's NICs and a peer hang on: a learning
//! switch in this process.
//!
//! A port is either a unix socket that a QEMU connects to, or an end inside the process:
//! ```text
//! -netdev stream,id=n0,server=off,reconnect-ms=100,addr.type=unix,addr.path=PATH
//! ```
//! It is a switch and not a hub because the migration depends on what real switches do: the
//! gratuitous ARP of the guest on the destination moves its address to another port at once.
//! (QEMU's own hub also keeps frames for a NIC that does not receive, and delivers them when it
//! does, long after.)
//!
//! No port can hold up another: queues are bounded in number and age, and what does not fit is
//! dropped and counted.

mod frame;
mod local;
mod pcap;
mod port;
mod queue;
mod table;
mod worker;

pub use frame::{Frame, LONGEST, PREFIX};
pub use local::{Receiver, Sender, WhenFull};
pub use port::PortStatistics;
pub use table::{Mac, parse_mac};

use crate::clock::Clock;
use anyhow::{Context, Result};
use local::Inbox;
use mio::{Poll, Waker};
use port::Port;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use worker::{Command, Worker};

/// A running switch. It stops when dropped.
pub struct Segment {
    clock: Clock,
    commands: mpsc::Sender<Command>,
    waker: Arc<Waker>,
    ports: Mutex<Vec<Arc<Port>>>,
    worker: Option<JoinHandle<()>>,
    sockets: Mutex<Vec<PathBuf>>,
}

impl Segment {
    /// Starts a switch without ports. Every frame it takes in is written to the pcapng file `pcap`,
    /// if given.
    pub fn start(pcap: Option<&Path>) -> Result<Self> {
        Self::start_by(Clock::real(), pcap)
    }

    /// The same by another clock: a virtual one is set by the peers that tell the time.
    pub fn start_by(clock: Clock, pcap: Option<&Path>) -> Result<Self> {
        let tap = pcap.map(pcap::Writer::create).transpose()?;
        let poll = Poll::new().context("cannot create the segment's event queue")?;
        let waker = Arc::new(Waker::new(poll.registry(), worker::WAKE)?);
        let (commands, inbox) = mpsc::channel();
        let worker = Worker::new(poll, inbox, tap, clock.clone());
        let worker = std::thread::Builder::new()
            .name("segment".into())
            .spawn(move || worker.run())
            .context("cannot start the segment's thread")?;
        let (ports, sockets) = (Mutex::default(), Mutex::default());
        Ok(Self { clock, commands, waker, ports, worker: Some(worker), sockets })
    }

    /// The clock by which it carries frames.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Adds a port whose peer connects to the unix socket `path`. A new connection takes the place
    /// of the one before.
    pub fn listen(&self, name: &str, path: &Path) -> Result<()> {
        let listener = mio::net::UnixListener::bind(path)
            .with_context(|| format!("cannot listen on {} for port {name}", path.display()))?;
        self.sockets.lock().unwrap().push(path.to_path_buf());
        let port = self.add(name);
        self.command(Command::Listen { port, listener });
        Ok(())
    }

    /// Adds a port inside this process.
    pub fn local(&self, name: &str) -> (Sender, Receiver) {
        /// Frames for the process that wait in the port.
        const WAITING: usize = 1024;
        let inbox = Inbox::new();
        let (outbox, frames) = mpsc::sync_channel(WAITING);
        let port = self.add(name);
        port.connected.store(true, Relaxed);
        self.command(Command::Local { port, inbox: inbox.clone(), outbox });
        (
            Sender { clock: self.clock.clone(), inbox, waker: self.waker.clone() },
            Receiver { frames },
        )
    }

    /// Has the capture say this of the next frame that comes in, if there is a capture.
    pub fn remark(&self, what: &str) {
        self.command(Command::Remark(what.into()));
    }

    /// Counts of all ports, in the order they were added.
    pub fn statistics(&self) -> Vec<PortStatistics> {
        let ports = self.ports.lock().unwrap();
        ports.iter().map(|port| port.statistics()).collect()
    }

    fn add(&self, name: &str) -> Arc<Port> {
        let port = Arc::new(Port::new(name));
        self.ports.lock().unwrap().push(port.clone());
        port
    }

    fn command(&self, command: Command) {
        // Both fail only when the worker is gone, and then the segment carries nothing anyway.
        let _ = self.commands.send(command);
        let _ = self.waker.wake();
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        self.command(Command::Stop);
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
        for path in self.sockets.lock().unwrap().drain(..) {
            let _ = std::fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests;

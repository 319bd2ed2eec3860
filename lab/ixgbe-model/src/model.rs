//! A whole model: its sockets and threads, and how they start and stop.

use std::{
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::Arc,
    thread::{self, JoinHandle},
};

use anyhow::{Context, Result};

use crate::{
    control::{self, Control},
    device::Device,
    engine::{self, Peer, WireEnd},
    server,
    shared::Shared,
};

/// What a model is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens for QEMU. The file must not exist.
    pub socket: PathBuf,
    /// The other end of the wire.
    pub peer: Peer,
    /// Address of the port.
    pub mac: [u8; 6],
    /// Where it listens for commands, if it does.
    pub control: Option<PathBuf>,
    /// Whether it is a virtual function (8086:10ed), and not a whole device.
    pub virtual_function: bool,
    /// Whether [`Command::Exit`](crate::control::Command::Exit) may end this process.
    pub may_exit: bool,
}

/// A running model. It stops when dropped, but still serves a QEMU that is attached until that one
/// leaves.
pub struct Model {
    shared: Arc<Shared>,
    control: Control,
    options: Options,
    server: Option<JoinHandle<()>>,
    engine: Option<JoinHandle<()>>,
}

impl Model {
    /// Starts a model. QEMU may attach as soon as this returns.
    ///
    /// # Errors
    /// A socket could not be made: its path is in the message.
    pub fn start(options: Options) -> Result<Self> {
        let is_function = options.virtual_function;
        let device = if is_function { Device::of_function } else { Device::new };
        let shared = Arc::new(Shared::new(device(options.mac))?);
        let control = Control::new(shared.clone());
        let end = match &options.peer {
            Peer::Connect(path) => WireEnd::Connect(path.clone()),
            Peer::Listen(path) => {
                let listener = bind(path)?;
                listener.set_nonblocking(true)?;
                WireEnd::Listen(listener)
            }
        };
        let server = server::listen(&options.socket, is_function)?;
        if let Some(path) = &options.control {
            let listener = bind(path)?;
            let control = control.clone();
            let may_exit = options.may_exit;
            spawn("82599-control", move || control::serve(&listener, &control, may_exit))?;
        }
        let engine = {
            let shared = shared.clone();
            spawn("82599-engine", move || engine::run(&shared, end))?
        };
        let server = {
            let shared = shared.clone();
            spawn("82599-server", move || server::serve(&server, &shared, is_function))?
        };
        Ok(Self { shared, control, options, server: Some(server), engine: Some(engine) })
    }

    /// The handle to command it with.
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// Waits for ever: for a process that has nothing else to do.
    pub fn wait(mut self) {
        if let Some(server) = self.server.take() {
            let _ = server.join();
        }
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        self.shared.stop();
        // Threads that wait for a connection get one, and see that it is time to stop.
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

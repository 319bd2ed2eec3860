//! Accepting connections.

use alloc::rc::Rc;
use core::cell::Cell;
use core::future::poll_fn;

use super::connection::Connection;
use super::stream::TcpStream;
use crate::net::buffers::{Buffers, new_socket};
use crate::net::connections::ConnectionId;
use crate::net::error::Error;
use crate::net::listen::Port;
use crate::net::queue::Queue;
use crate::net::stack::Stack;
use crate::watch::Watch;

/// Accepts connections to a port.
pub struct TcpListener {
    stack: Stack,
    pub(in crate::net) port: Rc<Port>,
    /// A task is waiting for a connection; the queue wakes one.
    busy: Watch<bool>,
}

impl TcpListener {
    /// Listens on `port`, or on a free one if that is 0. Up to `backlog` connections may wait to be
    /// accepted. Each gets its `buffers` when its handshake is complete, though less to send from
    /// if memory is short; while there is no room or no memory, its peer tries again.
    ///
    /// # Errors
    /// [`Error::PortInUse`], [`Error::NoMemory`] if there is none for a single connection.
    pub fn bind(stack: &Stack, port: u16, backlog: usize, buffers: Buffers) -> Result<Self, Error> {
        stack.with_memory(|| new_socket(buffers))?;
        let ready = Queue::new(backlog.max(1))?;
        stack
            .with(|engine| {
                let number = engine.sockets.bind_tcp(port)?;
                let port = Rc::new(Port { number, buffers: Cell::new(buffers), ready });
                // From here on, dropping it frees the port.
                let listener = Self { stack: stack.clone(), port, busy: Watch::new(false) };
                let added = engine.pair.device.listeners.add(listener.port.clone());
                Ok((listener, added))
            })
            .and_then(|(listener, added)| added.map(|()| listener))
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port.number
    }

    /// Waits for the next connection. Any number of tasks can.
    pub async fn accept(&self) -> TcpStream {
        let mut watcher = self.busy.watcher();
        watcher.wait_for(|busy| !busy).await;
        self.busy.set(true);
        let _turn = Turn(&self.busy);
        loop {
            let id = poll_fn(|context| self.port.ready.poll_pop(context)).await;
            if let Some(stream) = self.take(id) {
                return stream;
            }
        }
    }

    /// `None` if the peer has reset the connection meanwhile. Closed is another matter: there may
    /// be data to read.
    fn take(&self, id: ConnectionId) -> Option<TcpStream> {
        let (local, peer) = self.stack.with_sockets(|sockets| {
            let socket = sockets.connections.get(id);
            socket.set_timeout(None);
            let ends = socket.local_endpoint().zip(socket.remote_endpoint());
            if ends.is_none() {
                sockets.remove(id);
            }
            ends
        })?;
        let connection = Connection::new(self.stack.clone(), id, local.into(), peer.into());
        Some(TcpStream::new(connection))
    }
}

/// A task's turn to wait, until dropped.
struct Turn<'a>(&'a Watch<bool>);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

impl Drop for TcpListener {
    fn drop(&mut self) {
        self.stack.with(|engine| {
            engine.pair.device.listeners.remove(&self.port);
            while let Some(id) = self.port.ready.pop() {
                engine.sockets.abort(id);
            }
            engine.sockets.free_tcp(self.port.number);
        });
        self.stack.wake();
    }
}

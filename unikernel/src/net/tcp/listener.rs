//! Accepting connections.

use alloc::vec::Vec;
use core::cell::RefCell;
use core::future::poll_fn;
use core::task::{Context, Poll};

use embassy_time::{Duration, Timer};
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::{self, State};

use super::connection::Connection;
use super::socket::{Buffers, HANDSHAKE, new_socket};
use super::stream::TcpStream;
use crate::net::error::Error;
use crate::net::stack::Stack;
use crate::watch::Watch;

/// How often a listener that had no memory for a single socket tries again.
const RETRY: Duration = Duration::from_millis(100);

/// Accepts connections to a port.
pub struct TcpListener {
    stack: Stack,
    port: u16,
    pub(in crate::net) buffers: Buffers,
    /// One socket a pending connection: smoltcp listens with the socket that will be the
    /// connection.
    backlog: RefCell<Vec<SocketHandle>>,
    /// A task is waiting for a connection; smoltcp wakes one.
    busy: Watch<bool>,
}

impl TcpListener {
    /// Listens on `port`, or on a free one if that is 0. Up to `backlog` connections may wait to be
    /// accepted, each with its `buffers` already allocated; more are refused, as are those there is
    /// no memory for.
    ///
    /// # Errors
    /// [`Error::PortInUse`], [`Error::NoMemory`].
    pub fn bind(stack: &Stack, port: u16, backlog: usize, buffers: Buffers) -> Result<Self, Error> {
        let port = stack.with_sockets(|sockets| sockets.bind_tcp(port))?;
        let backlog = RefCell::new(Vec::with_capacity(backlog.max(1)));
        // From here on, dropping it frees the port.
        let listener =
            Self { stack: stack.clone(), port, buffers, backlog, busy: Watch::new(false) };
        listener.add()?;
        listener.fill();
        Ok(listener)
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Waits for the next connection. Any number of tasks can.
    pub async fn accept(&self) -> TcpStream {
        let mut watcher = self.busy.watcher();
        watcher.wait_for(|busy| !busy).await;
        self.busy.set(true);
        let _turn = Turn(&self.busy);
        // Nothing tells when there is memory again.
        while self.backlog.borrow().is_empty() && self.add().is_err() {
            Timer::after(RETRY).await;
        }
        poll_fn(|context| self.poll_accept(context)).await
    }

    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<TcpStream> {
        let ready = self.stack.with_sockets(|sockets| {
            self.backlog.borrow().iter().enumerate().find_map(|(index, &handle)| {
                let socket = sockets.get::<tcp::Socket<'_>>(handle);
                if socket.state() == State::Closed {
                    // The handshake failed.
                    listen(socket, self.port);
                }
                // Closed again by the peer is no reason not to be accepted: there may be data to
                // read.
                if matches!(socket.state(), State::Listen | State::SynReceived) {
                    socket.register_recv_waker(context.waker());
                    return None;
                }
                socket.set_timeout(None);
                let (local, peer) = (socket.local_endpoint()?, socket.remote_endpoint()?);
                // A handshake before this one may have been reset.
                sockets.forget_reset(handle);
                Some((index, local.into(), peer.into()))
            })
        });
        let Some((index, local, peer)) = ready else { return Poll::Pending };
        let handle = self.backlog.borrow_mut().swap_remove(index);
        self.fill();
        let connection = Connection::new(self.stack.clone(), handle, local, peer);
        Poll::Ready(TcpStream::new(connection))
    }

    /// Listens with as many sockets as the backlog is to have, memory permitting.
    fn fill(&self) {
        let room = |backlog: &Vec<_>| backlog.len() < backlog.capacity();
        while room(&self.backlog.borrow()) {
            if self.add().is_err() {
                log::warn!("tcp: no memory for the backlog of port {}", self.port);
                return;
            }
        }
    }

    /// Listens with one more socket.
    fn add(&self) -> Result<(), Error> {
        let mut socket = new_socket(self.buffers)?;
        listen(&mut socket, self.port);
        let handle = self.stack.with_sockets(|sockets| sockets.add(socket));
        self.backlog.borrow_mut().push(handle);
        Ok(())
    }
}

/// A task's turn to wait, until dropped.
struct Turn<'a>(&'a Watch<bool>);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

fn listen(socket: &mut tcp::Socket<'static>, port: u16) {
    socket.set_timeout(Some(HANDSHAKE));
    socket.listen(port).expect("the port is not 0 and the socket is closed");
}

impl Drop for TcpListener {
    fn drop(&mut self) {
        self.stack.with_sockets(|sockets| {
            for &handle in self.backlog.get_mut().iter() {
                sockets.remove(handle);
            }
            sockets.free_tcp(self.port);
        });
    }
}

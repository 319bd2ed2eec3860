//! Connections as tasks have them.

use alloc::rc::Rc;
use core::future::poll_fn;
use core::net::SocketAddr;
use core::task::Poll;
use core::time::Duration;

use embedded_io_async::{ErrorType, Read, ReadReady, Write, WriteReady};
use smoltcp::socket::tcp::{self, State};
use smoltcp::wire::IpEndpoint;

use super::connection::Connection;
use super::halves::{OwnedTcpReader, OwnedTcpWriter, TcpReader, TcpWriter};
use crate::net::buffers::{Buffers, new_socket};
use crate::net::error::Error;
use crate::net::listen;
use crate::net::stack::Stack;

/// A TCP connection. Dropping it closes it: what was written is still sent.
pub struct TcpStream(Rc<Connection>);

impl TcpStream {
    pub(super) fn new(connection: Connection) -> Self {
        Self(Rc::new(connection))
    }

    /// Connects to `peer` from a free port. While the interface has no link, that waits.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::TimedOut`] if the peer does not answer, [`Error::Unreachable`],
    /// [`Error::InvalidAddress`], [`Error::NoMemory`], [`Error::PortInUse`] if no port is free.
    pub async fn connect(stack: &Stack, peer: SocketAddr, buffers: Buffers) -> Result<Self, Error> {
        let is_host = match peer.ip() {
            core::net::IpAddr::V4(ip) => !ip.is_broadcast() && !ip.is_multicast(),
            core::net::IpAddr::V6(ip) => !ip.is_multicast(),
        };
        if !is_host || peer.ip().is_unspecified() || peer.port() == 0 {
            return Err(Error::InvalidAddress);
        }
        let mut socket = stack.with_memory(|| new_socket(buffers))?;
        let (id, local) = stack.with(|engine| {
            if !engine.reaches(peer.ip().into()) {
                return Err(Error::Unreachable);
            }
            let port = engine.sockets.free_tcp_port()?;
            let local = engine.interface.get_source_address(&peer.ip().into());
            let local = IpEndpoint::new(local.ok_or(Error::Unreachable)?, port);
            let (to, now) = (peer.into(), engine.now());
            let number = engine.pair.device.listeners.sequence.first(local, to, now);
            listen::connect(&mut socket, (local, to), number, now)?;
            Ok((engine.sockets.connections.add(socket, (local, to))?, local.into()))
        })?;
        stack.wake();
        // From here on, dropping it gives the socket back.
        let connection = Connection::new(stack.clone(), id, local, peer);
        poll_fn(|context| {
            connection.socket(|socket| match socket.state() {
                State::SynSent | State::SynReceived => {
                    socket.register_recv_waker(context.waker());
                    Poll::Pending
                }
                State::Closed => Poll::Ready(Err(())),
                _ => {
                    socket.set_timeout(None);
                    Poll::Ready(Ok(()))
                }
            })
        })
        .await
        .map_err(|()| {
            let was_reset = stack.with_sockets(|sockets| sockets.was_reset(id));
            if was_reset { Error::Refused } else { Error::TimedOut }
        })?;
        Ok(Self::new(connection))
    }

    /// Waits for data and calls `f`, which may not call the stack, with a contiguous part of it.
    /// `f` returns how many bytes it consumed, and a result.
    ///
    /// `None` when the peer has closed its side and everything was read.
    ///
    /// # Errors
    /// [`Error::Reset`] or [`Error::TimedOut`] if the connection broke, [`Error::Closed`] if this
    /// side has aborted it.
    pub async fn read_with<R>(
        &self,
        f: impl FnMut(&mut [u8]) -> (usize, R),
    ) -> Result<Option<R>, Error> {
        self.0.read_with(f).await
    }

    /// Waits for room and calls `f`, which may not call the stack, with a contiguous part of it.
    /// `f` returns how many bytes of it are to be sent, and a result. Bytes it leaves alone are
    /// sent as they are: what this connection sent before, or zeros.
    ///
    /// # Errors
    /// [`Error::Reset`] or [`Error::TimedOut`] if the connection broke, [`Error::Closed`] if this
    /// side has closed it.
    pub async fn write_with<R>(&self, f: impl FnMut(&mut [u8]) -> (usize, R)) -> Result<R, Error> {
        self.0.write_with(f).await
    }

    /// Waits until the peer has acknowledged everything written.
    ///
    /// # Errors
    /// [`Error::Reset`] or [`Error::TimedOut`] if the connection broke before, [`Error::Closed`] if
    /// this side has aborted it.
    pub async fn flush(&self) -> Result<(), Error> {
        self.0.flush().await
    }

    /// Waits until there is something to read: data, the end, or an error.
    pub async fn readable(&self) {
        self.0.readable().await;
    }

    /// Closes this side, after what was written. The peer may go on sending.
    pub fn close(&self) {
        self.0.close();
    }

    /// Closes this side, and waits until the peer has acknowledged that and everything written.
    ///
    /// # Errors
    /// [`Error::Reset`] if the peer would not have it.
    pub async fn shutdown(&self) -> Result<(), Error> {
        self.0.shutdown().await
    }

    /// Resets the connection.
    pub fn abort(&self) {
        self.0.abort();
    }

    /// Gives the connection up when the peer has not answered for this long.
    pub fn set_timeout(&self, timeout: Option<Duration>) {
        self.0.socket(|socket| socket.set_timeout(timeout.map(Into::into)));
    }

    /// Probes the peer when it has been silent for this long.
    pub fn set_keep_alive(&self, interval: Option<Duration>) {
        self.0.socket(|socket| socket.set_keep_alive(interval.map(Into::into)));
    }

    /// Whether small writes wait for acknowledgement of earlier ones (RFC 896). They do unless this
    /// says otherwise.
    pub fn set_nagle(&self, enabled: bool) {
        self.0.socket(|socket: &mut tcp::Socket<'_>| socket.set_nagle_enabled(enabled));
    }

    /// The other end.
    pub fn peer(&self) -> SocketAddr {
        self.0.peer
    }

    /// This end.
    pub fn local(&self) -> SocketAddr {
        self.0.local
    }

    /// A reading and a writing half, for use in two futures.
    pub fn split(&mut self) -> (TcpReader<'_>, TcpWriter<'_>) {
        (TcpReader(&self.0), TcpWriter(&self.0))
    }

    /// A reading and a writing half, for use in two tasks.
    pub fn into_split(self) -> (OwnedTcpReader, OwnedTcpWriter) {
        (OwnedTcpReader(self.0.clone()), OwnedTcpWriter(self.0))
    }
}

impl ErrorType for TcpStream {
    type Error = Error;
}

impl Read for TcpStream {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        self.0.read(buffer).await
    }
}

impl ReadReady for TcpStream {
    fn read_ready(&mut self) -> Result<bool, Error> {
        Ok(self.0.is_readable())
    }
}

impl Write for TcpStream {
    async fn write(&mut self, data: &[u8]) -> Result<usize, Error> {
        self.0.write(data).await
    }

    async fn flush(&mut self) -> Result<(), Error> {
        self.0.flush().await
    }
}

impl WriteReady for TcpStream {
    fn write_ready(&mut self) -> Result<bool, Error> {
        Ok(self.0.is_writable())
    }
}

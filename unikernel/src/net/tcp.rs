//! TCP for tasks: a listener with a backlog, and streams that give access to the socket buffers in place.

use alloc::vec::Vec;
use core::fmt;
use core::future::poll_fn;
use core::task::{Context, Poll};

use embassy_time::Timer;
use embedded_io_async::{ErrorKind, ErrorType, Read, Write};
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::{self, RecvError, State};
use smoltcp::time::Duration;
use smoltcp::wire::IpEndpoint;

use super::memory::{filled, has_headroom};
use super::stack::Stack;

/// How long a handshake may take before its place in the backlog is given to another.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a closing connection may be silent before it is given up.
const FAREWELL: Duration = Duration::from_secs(10);
/// Connections that are closing at the same time; the oldest is forgotten beyond that, for its memory. What its peer still
/// sends is answered by a reset.
const CLOSING: usize = 16;
/// How often a listener that had no memory for a single socket tries again.
const RETRY: embassy_time::Duration = embassy_time::Duration::from_millis(100);

/// Why a connection is no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpError {
    /// The peer reset it, a timeout expired, or this side has closed it.
    Closed,
}

impl fmt::Display for TcpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("connection closed")
    }
}

impl core::error::Error for TcpError {}

impl embedded_io_async::Error for TcpError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::ConnectionReset
    }
}

/// Sizes of a connection's socket buffers, in bytes. The receive buffer is also the window offered to the peer; above 64 KiB it
/// is rounded down to a power of two times 65535.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffers {
    /// Receive buffer.
    pub receive: usize,
    /// Transmit buffer.
    pub transmit: usize,
}

impl Buffers {
    /// For bulk transfer: windows that fill 10 Gbit/s at 0.2 ms, or 1 Gbit/s at 2 ms.
    pub const BULK: Self = Self { receive: 256 * 1024, transmit: 256 * 1024 };
    /// For requests and replies.
    pub const SMALL: Self = Self { receive: 4 * 1024, transmit: 32 * 1024 };
}

/// Accepts connections to a port.
pub struct TcpListener {
    stack: Stack,
    port: u16,
    pub(super) buffers: Buffers,
    /// One socket a pending connection: smoltcp listens with the socket that will be the connection.
    backlog: Vec<SocketHandle>,
}

impl TcpListener {
    /// Listens on `port`. Up to `backlog` connections may wait to be accepted, each with its `buffers` already
    /// allocated; more are refused, as are those there is no memory for.
    ///
    /// # Panics
    /// If `port` is 0.
    pub fn bind(stack: &Stack, port: u16, backlog: usize, buffers: Buffers) -> Self {
        assert!(port != 0, "0 is not a port to listen on");
        let mut listener =
            Self { stack: stack.clone(), port, buffers, backlog: Vec::with_capacity(backlog) };
        listener.fill();
        listener
    }

    /// Waits for the next connection.
    pub async fn accept(&mut self) -> TcpStream {
        // Nothing tells when there is memory again.
        while self.backlog.is_empty() && !self.add() {
            Timer::after(RETRY).await;
        }
        poll_fn(|context| self.poll_accept(context)).await
    }

    fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<TcpStream> {
        let ready = {
            let inner = &mut *self.stack.shared.inner.borrow_mut();
            self.backlog.iter().position(|&handle| {
                let socket = inner.sockets.get_mut::<tcp::Socket<'_>>(handle);
                if socket.state() == State::Closed {
                    // The handshake failed.
                    listen(socket, self.port);
                }
                // Closed again by the peer is no reason not to be accepted: there may be data to read.
                let established = !matches!(socket.state(), State::Listen | State::SynReceived);
                if !established {
                    socket.register_recv_waker(context.waker());
                }
                established
            })
        };
        let Some(index) = ready else { return Poll::Pending };
        let handle = self.backlog.swap_remove(index);
        self.fill();
        self.stack.socket(handle, |socket: &mut tcp::Socket<'_>| socket.set_timeout(None));
        Poll::Ready(TcpStream { stack: self.stack.clone(), handle })
    }

    /// Listens with as many sockets as the backlog is to have, memory permitting.
    fn fill(&mut self) {
        while self.backlog.len() < self.backlog.capacity() {
            if !self.add() {
                log::warn!("tcp: no memory for the backlog of port {}", self.port);
                return;
            }
        }
    }

    /// Listens with one more socket. `false` if there is no memory for it.
    fn add(&mut self) -> bool {
        let Some(mut socket) = new_socket(self.buffers) else { return false };
        listen(&mut socket, self.port);
        self.backlog.push(self.stack.shared.inner.borrow_mut().sockets.add(socket));
        true
    }
}

fn listen(socket: &mut tcp::Socket<'static>, port: u16) {
    socket.set_timeout(Some(HANDSHAKE));
    socket.listen(port).expect("the port is not 0 and the socket is closed");
}

/// A closed socket, or `None` if there is no memory for its buffers.
fn new_socket(buffers: Buffers) -> Option<tcp::Socket<'static>> {
    let buffer = |len| filled(len, 0).map(tcp::SocketBuffer::new);
    let (receive, transmit) = (buffer(window(buffers.receive))?, buffer(buffers.transmit)?);
    if !has_headroom() {
        return None;
    }
    let mut socket = tcp::Socket::new(receive, transmit);
    socket.set_congestion_control(tcp::CongestionControl::Reno);
    Some(socket)
}

/// The largest receive buffer of at most `bytes` that a peer cannot overrun.
///
/// smoltcp 0.14 takes the window it offered with its SYN, which is never scaled (RFC 7323, section 2.2), for a scaled one. Until
/// the next acknowledgement it accepts what lies in that window, and what does not fit the buffer ends in an assertion.
/// Of these sizes the two are the same.
fn window(bytes: usize) -> usize {
    let mut window = bytes.min(u16::MAX.into());
    while 2 * window <= bytes {
        window *= 2;
    }
    window
}

impl Drop for TcpListener {
    fn drop(&mut self) {
        let inner = &mut *self.stack.shared.inner.borrow_mut();
        for &handle in &self.backlog {
            inner.sockets.remove(handle);
        }
    }
}

/// A TCP connection. Dropping it closes it: what was written is still sent.
pub struct TcpStream {
    stack: Stack,
    handle: SocketHandle,
}

impl TcpStream {
    /// Connects to `peer` from `port`, which no other connection to that peer may be using.
    ///
    /// # Errors
    /// [`TcpError::Closed`] if the peer refuses or does not answer, if there is no address or no memory.
    pub async fn connect(
        stack: &Stack,
        peer: IpEndpoint,
        port: u16,
        buffers: Buffers,
    ) -> Result<Self, TcpError> {
        let mut socket = new_socket(buffers).ok_or(TcpError::Closed)?;
        socket.set_timeout(Some(HANDSHAKE));
        let handle = {
            let inner = &mut *stack.shared.inner.borrow_mut();
            socket.connect(inner.interface.context(), peer, port).map_err(|_| TcpError::Closed)?;
            inner.sockets.add(socket)
        };
        stack.shared.work.signal(());
        let stream = Self { stack: stack.clone(), handle };
        poll_fn(|context| {
            stream.socket(|socket| match socket.state() {
                State::SynSent | State::SynReceived => {
                    socket.register_recv_waker(context.waker());
                    Poll::Pending
                }
                State::Closed => Poll::Ready(Err(TcpError::Closed)),
                _ => {
                    socket.set_timeout(None);
                    Poll::Ready(Ok(()))
                }
            })
        })
        .await?;
        Ok(stream)
    }

    fn socket<R>(&self, f: impl FnOnce(&mut tcp::Socket<'static>) -> R) -> R {
        self.stack.socket(self.handle, f)
    }

    /// Waits for data and calls `f` with a contiguous part of it. `f` returns how many bytes it consumed, and a result.
    ///
    /// `None` when the peer has closed its side and everything was read.
    ///
    /// # Errors
    /// [`TcpError::Closed`] if the connection broke.
    pub async fn read_with<R>(
        &self,
        mut f: impl FnMut(&mut [u8]) -> (usize, R),
    ) -> Result<Option<R>, TcpError> {
        poll_fn(|context| {
            let result = self.socket(|socket| {
                if !socket.can_recv() && socket.may_recv() {
                    socket.register_recv_waker(context.waker());
                    return Poll::Pending;
                }
                Poll::Ready(match socket.recv(&mut f) {
                    Ok(result) => Ok(Some(result)),
                    Err(RecvError::Finished) => Ok(None),
                    Err(RecvError::InvalidState) => Err(TcpError::Closed),
                })
            });
            if result.is_ready() {
                // The window has grown.
                self.stack.shared.work.signal(());
            }
            result
        })
        .await
    }

    /// Waits for room and calls `f` with a contiguous part of it. `f` returns how many bytes of it are to be sent, and
    /// a result. Bytes it leaves alone are sent as they are: what this connection sent before, or zeros.
    ///
    /// # Errors
    /// [`TcpError::Closed`] if the connection broke or this side has closed it.
    pub async fn write_with<R>(
        &self,
        mut f: impl FnMut(&mut [u8]) -> (usize, R),
    ) -> Result<R, TcpError> {
        poll_fn(|context| {
            let result = self.socket(|socket| {
                if !socket.can_send() && socket.may_send() {
                    socket.register_send_waker(context.waker());
                    return Poll::Pending;
                }
                Poll::Ready(socket.send(&mut f).map_err(|_| TcpError::Closed))
            });
            if result.is_ready() {
                self.stack.shared.work.signal(());
            }
            result
        })
        .await
    }

    /// Waits until the peer has acknowledged everything written.
    ///
    /// # Errors
    /// [`TcpError::Closed`] if the connection broke before.
    pub async fn flush(&self) -> Result<(), TcpError> {
        poll_fn(|context| {
            self.socket(|socket| {
                if socket.send_queue() == 0 {
                    Poll::Ready(Ok(()))
                } else if socket.state() == State::Closed {
                    Poll::Ready(Err(TcpError::Closed))
                } else {
                    socket.register_send_waker(context.waker());
                    Poll::Pending
                }
            })
        })
        .await
    }

    /// Closes this side, after what was written. The peer may go on sending.
    pub fn close(&self) {
        self.socket(tcp::Socket::close);
        self.stack.shared.work.signal(());
    }

    /// Resets the connection.
    pub fn abort(&self) {
        self.socket(tcp::Socket::abort);
        self.stack.shared.work.signal(());
    }

    /// Gives the connection up when the peer has not answered for this long.
    pub fn set_timeout(&self, timeout: Option<core::time::Duration>) {
        self.socket(|socket| socket.set_timeout(timeout.map(Duration::from)));
    }

    /// Probes the peer when it has been silent for this long.
    pub fn set_keep_alive(&self, interval: Option<core::time::Duration>) {
        self.socket(|socket| socket.set_keep_alive(interval.map(Duration::from)));
    }

    /// Whether small writes wait for acknowledgement of earlier ones (RFC 896). They do unless this says otherwise.
    pub fn set_nagle(&self, enabled: bool) {
        self.socket(|socket| socket.set_nagle_enabled(enabled));
    }

    /// The other end.
    pub fn peer(&self) -> Option<IpEndpoint> {
        self.socket(|socket| socket.remote_endpoint())
    }

    /// This end.
    pub fn local(&self) -> Option<IpEndpoint> {
        self.socket(|socket| socket.local_endpoint())
    }

    /// A reading and a writing half, for use in two futures.
    pub fn split(&mut self) -> (TcpReader<'_>, TcpWriter<'_>) {
        (TcpReader(self), TcpWriter(self))
    }

    async fn read_some(&self, buffer: &mut [u8]) -> Result<usize, TcpError> {
        let read = self.read_with(|data| {
            let len = data.len().min(buffer.len());
            buffer[..len].copy_from_slice(&data[..len]);
            (len, len)
        });
        Ok(read.await?.unwrap_or(0))
    }

    async fn write_some(&self, data: &[u8]) -> Result<usize, TcpError> {
        if data.is_empty() {
            return Ok(0);
        }
        let write = self.write_with(|room| {
            let len = room.len().min(data.len());
            room[..len].copy_from_slice(&data[..len]);
            (len, len)
        });
        write.await
    }
}

impl Drop for TcpStream {
    fn drop(&mut self) {
        let inner = &mut *self.stack.shared.inner.borrow_mut();
        let socket = inner.sockets.get_mut::<tcp::Socket<'_>>(self.handle);
        socket.close();
        socket.set_timeout(Some(FAREWELL));
        inner.closing.push(self.handle);
        if inner.closing.len() > CLOSING {
            inner.sockets.remove(inner.closing.remove(0));
        }
        self.stack.shared.work.signal(());
    }
}

impl ErrorType for TcpStream {
    type Error = TcpError;
}

impl Read for TcpStream {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, TcpError> {
        self.read_some(buffer).await
    }
}

impl Write for TcpStream {
    async fn write(&mut self, data: &[u8]) -> Result<usize, TcpError> {
        self.write_some(data).await
    }

    async fn flush(&mut self) -> Result<(), TcpError> {
        TcpStream::flush(self).await
    }
}

/// The reading half of a [`TcpStream`].
pub struct TcpReader<'a>(&'a TcpStream);

impl ErrorType for TcpReader<'_> {
    type Error = TcpError;
}

impl Read for TcpReader<'_> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, TcpError> {
        self.0.read_some(buffer).await
    }
}

/// The writing half of a [`TcpStream`].
pub struct TcpWriter<'a>(&'a TcpStream);

impl TcpWriter<'_> {
    /// As [`TcpStream::write_with`].
    ///
    /// # Errors
    /// As there.
    pub async fn write_with<R>(
        &mut self,
        f: impl FnMut(&mut [u8]) -> (usize, R),
    ) -> Result<R, TcpError> {
        self.0.write_with(f).await
    }
}

impl ErrorType for TcpWriter<'_> {
    type Error = TcpError;
}

impl Write for TcpWriter<'_> {
    async fn write(&mut self, data: &[u8]) -> Result<usize, TcpError> {
        self.0.write_some(data).await
    }

    async fn flush(&mut self) -> Result<(), TcpError> {
        self.0.flush().await
    }
}

//! UDP for tasks.

use core::future::poll_fn;
use core::net::{IpAddr, SocketAddr};
use core::task::{Context, Poll};

use smoltcp::iface::SocketHandle;
use smoltcp::socket::udp;

use super::error::Error;
use super::inbox::Inbox;
use super::memory::{check_headroom, filled};
use super::stack::Stack;
use crate::watch::Watcher;

/// The longest payload of a datagram: its length has 16 bits (RFC 768).
const LONGEST: usize = u16::MAX as usize - 8;
/// The most bytes of datagrams that came in fragments, for which there is room beside the others:
/// two of the longest.
const FRAGMENTED: usize = 2 * LONGEST;

/// A bound UDP socket. Dropping it drops what is not sent yet; see [`flush`](Self::flush).
pub struct UdpSocket {
    stack: Stack,
    /// Sends, and receives what comes in fragments.
    handle: SocketHandle,
    /// All other datagrams.
    inbox: Inbox,
    port: u16,
}

impl UdpSocket {
    /// Binds `port`, or a free one if that is 0, with room for `datagrams` datagrams and `bytes`
    /// bytes of payload in each direction. What arrives beyond that is dropped.
    ///
    /// # Errors
    /// [`Error::PortInUse`], [`Error::NoMemory`].
    pub fn bind(stack: &Stack, port: u16, datagrams: usize, bytes: usize) -> Result<Self, Error> {
        let buffer = |datagrams: usize, bytes: usize| {
            let metadata = filled(datagrams, udp::PacketMetadata::EMPTY)?;
            Ok(udp::PacketBuffer::new(metadata, filled(bytes, 0)?))
        };
        let (mut socket, inbox) = stack.with_memory(|| {
            let fragmented = buffer(datagrams, bytes.min(FRAGMENTED))?;
            let socket = udp::Socket::new(fragmented, buffer(datagrams, bytes)?);
            let inbox = Inbox::new(datagrams, bytes)?;
            check_headroom()?;
            Ok((socket, inbox))
        })?;
        stack.with(|engine| {
            let port = engine.sockets.bind_udp(port)?;
            socket.bind(port).expect("the port is not 0 and the socket is new");
            engine.pair.device.intake.add_inbox(port, inbox.clone());
            Ok(Self { stack: stack.clone(), handle: engine.sockets.add(socket), inbox, port })
        })
    }

    /// The port it is bound to.
    pub fn port(&self) -> u16 {
        self.port
    }

    fn socket<R>(&self, f: impl FnOnce(&mut udp::Socket<'static>) -> R) -> R {
        self.stack.with_socket(self.handle, f)
    }

    /// Waits for a datagram and calls `f`, which may not call the stack, with its source and
    /// payload, in place.
    pub async fn receive_with<R>(&self, f: impl FnOnce(SocketAddr, &[u8]) -> R) -> R {
        let mut f = Some(f);
        poll_fn(|context| {
            self.poll_receive(context, |from, payload| {
                f.take().expect("it is ready once")(from, payload)
            })
        })
        .await
    }

    pub(super) fn poll_receive<R>(
        &self,
        context: &Context<'_>,
        f: impl FnOnce(SocketAddr, &[u8]) -> R,
    ) -> Poll<R> {
        if !self.inbox.is_empty() {
            return self.inbox.pop(f).map_or(Poll::Pending, Poll::Ready);
        }
        self.socket(|socket| match socket.recv() {
            Ok((payload, meta)) => Poll::Ready(f(meta.endpoint.into(), payload)),
            Err(_) => {
                socket.register_recv_waker(context.waker());
                self.inbox.register(context.waker());
                Poll::Pending
            }
        })
    }

    /// Waits for a datagram and copies its payload to `buffer`, as far as there is room. Returns
    /// how many bytes those are, and the source.
    pub async fn recv_from(&self, buffer: &mut [u8]) -> (usize, SocketAddr) {
        self.receive_with(|from, payload| {
            let len = payload.len().min(buffer.len());
            buffer[..len].copy_from_slice(&payload[..len]);
            (len, from)
        })
        .await
    }

    /// Waits for a datagram, then calls `f`, which may not call the stack, with each one that is
    /// there: its source and payload, in place.
    ///
    /// Returns after at most one socket buffer full, so a flood leaves other tasks their turn.
    pub async fn receive_each(&self, mut f: impl FnMut(SocketAddr, &[u8])) {
        self.readable().await;
        self.inbox.each(&mut f);
        self.socket(|socket| {
            while let Ok((payload, meta)) = socket.recv() {
                f(meta.endpoint.into(), payload);
            }
        });
    }

    /// Waits until there is a datagram.
    pub async fn readable(&self) {
        poll_fn(|context| {
            self.socket(|socket| {
                if !self.inbox.is_empty() || socket.can_recv() {
                    return Poll::Ready(());
                }
                socket.register_recv_waker(context.waker());
                self.inbox.register(context.waker());
                Poll::Pending
            })
        })
        .await;
    }

    /// Waits for room, then sends the `len` bytes that `f`, which may not call the stack, writes to
    /// `to`.
    ///
    /// # Errors
    /// [`Error::TooLong`] if the socket never has room for so many, [`Error::Unreachable`],
    /// [`Error::InvalidAddress`].
    pub async fn send_with(
        &self,
        to: SocketAddr,
        len: usize,
        mut f: impl FnMut(&mut [u8]),
    ) -> Result<(), Error> {
        loop {
            let room = self.queue(to, len, &mut f).await;
            self.stack.wake();
            match room? {
                None => return Ok(()),
                Some(mut room) => room.changed().await,
            }
        }
    }

    /// Waits for room in the socket, and queues the datagram, or sends it if it is long. Returns
    /// what to wait for if the NIC had no room for that.
    async fn queue(
        &self,
        to: SocketAddr,
        len: usize,
        mut f: impl FnMut(&mut [u8]),
    ) -> Result<Option<Watcher<()>>, Error> {
        poll_fn(|context| {
            self.stack.with(|engine| {
                let reachable = engine.reaches(to.ip().into());
                let is_long = engine.is_long(to.ip().into(), len);
                let socket = engine.sockets.get::<udp::Socket<'_>>(self.handle);
                Poll::Ready(if len > socket.payload_send_capacity().min(LONGEST) {
                    Err(Error::TooLong)
                } else if !reachable {
                    Err(Error::Unreachable)
                } else if let (IpAddr::V6(ip), true) = (to.ip(), is_long) {
                    if to.port() == 0 || ip.is_unspecified() {
                        return Poll::Ready(Err(Error::InvalidAddress));
                    }
                    // Behind those that wait already.
                    if socket.send_queue() != 0 {
                        socket.register_send_waker(context.waker());
                        return Poll::Pending;
                    }
                    if engine.send_long(self.port, (ip, to.port()), len, &mut f) {
                        Ok(None)
                    } else {
                        Ok(Some(engine.pair.device.wait_for_room()))
                    }
                } else {
                    match socket.send(len, to) {
                        Ok(room) => {
                            f(room);
                            Ok(None)
                        }
                        Err(udp::SendError::BufferFull) => {
                            socket.register_send_waker(context.waker());
                            return Poll::Pending;
                        }
                        Err(udp::SendError::Unaddressable) => Err(Error::InvalidAddress),
                    }
                })
            })
        })
        .await
    }

    /// Waits until everything is sent.
    pub async fn flush(&self) {
        poll_fn(|context| {
            self.socket(|socket| {
                if socket.send_queue() == 0 {
                    return Poll::Ready(());
                }
                socket.register_send_waker(context.waker());
                Poll::Pending
            })
        })
        .await;
    }

    /// As [`Stack::join_multicast`]; it outlives the socket.
    ///
    /// # Errors
    /// As there.
    pub fn join_multicast(&self, group: IpAddr) -> Result<(), Error> {
        self.stack.join_multicast(group)
    }

    /// As [`Stack::leave_multicast`].
    pub fn leave_multicast(&self, group: IpAddr) {
        self.stack.leave_multicast(group);
    }

    /// Sends `payload` to `to`; see [`send_with`](Self::send_with).
    ///
    /// # Errors
    /// As there.
    pub async fn send_to(&self, payload: &[u8], to: SocketAddr) -> Result<(), Error> {
        self.send_with(to, payload.len(), |room| room.copy_from_slice(payload)).await
    }
}

impl Drop for UdpSocket {
    fn drop(&mut self) {
        self.stack.with(|engine| {
            engine.pair.device.intake.remove_inbox(self.port);
            engine.sockets.remove_other(self.handle);
            engine.sockets.free_udp(self.port);
        });
    }
}

//! A connection and its socket, which a stream or its halves share.

use core::cell::Cell;
use core::future::poll_fn;
use core::net::SocketAddr;
use core::task::Poll;

use smoltcp::socket::tcp::{self, RecvError, State};

use crate::net::connections::ConnectionId;
use crate::net::error::Error;
use crate::net::stack::Stack;

/// What this side has done to end a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
enum End {
    Open,
    /// Nothing more is written.
    Closed,
    Aborted,
}

/// An established connection. Dropping it closes it: what was written is still sent.
pub(super) struct Connection {
    stack: Stack,
    id: ConnectionId,
    end: Cell<End>,
    pub(super) local: SocketAddr,
    pub(super) peer: SocketAddr,
}

impl Connection {
    pub(super) fn new(stack: Stack, id: ConnectionId, local: SocketAddr, peer: SocketAddr) -> Self {
        Self { stack, id, end: Cell::new(End::Open), local, peer }
    }

    pub(super) fn socket<R>(&self, f: impl FnOnce(&mut tcp::Socket<'static>) -> R) -> R {
        self.stack.with_sockets(|sockets| f(sockets.connections.get(self.id)))
    }

    pub(super) async fn read_with<R>(
        &self,
        mut f: impl FnMut(&mut [u8]) -> (usize, R),
    ) -> Result<Option<R>, Error> {
        poll_fn(|context| {
            let result = self.socket(|socket| {
                if !socket.can_recv() && socket.may_recv() {
                    socket.register_recv_waker(context.waker());
                    return Poll::Pending;
                }
                Poll::Ready(match socket.recv(&mut f) {
                    Ok(result) => Ok(Some(result)),
                    Err(RecvError::Finished) => Ok(None),
                    Err(RecvError::InvalidState) => Err(()),
                })
            });
            if result.is_ready() {
                // The window has grown.
                self.stack.wake();
            }
            result.map_err(|()| self.error(End::Aborted))
        })
        .await
    }

    pub(super) async fn write_with<R>(
        &self,
        mut f: impl FnMut(&mut [u8]) -> (usize, R),
    ) -> Result<R, Error> {
        poll_fn(|context| {
            let result = self.socket(|socket| {
                if !socket.can_send() && socket.may_send() {
                    socket.register_send_waker(context.waker());
                    return Poll::Pending;
                }
                Poll::Ready(socket.send(&mut f))
            });
            if result.is_ready() {
                self.stack.wake();
            }
            result.map_err(|_| self.error(End::Closed))
        })
        .await
    }

    pub(super) async fn read(&self, buffer: &mut [u8]) -> Result<usize, Error> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let read = self.read_with(|data| {
            let len = data.len().min(buffer.len());
            buffer[..len].copy_from_slice(&data[..len]);
            (len, len)
        });
        Ok(read.await?.unwrap_or(0))
    }

    pub(super) async fn write(&self, data: &[u8]) -> Result<usize, Error> {
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

    pub(super) async fn flush(&self) -> Result<(), Error> {
        poll_fn(|context| {
            let result = self.socket(|socket| {
                if socket.send_queue() == 0 {
                    Poll::Ready(Ok(()))
                } else if socket.state() == State::Closed {
                    Poll::Ready(Err(()))
                } else {
                    socket.register_send_waker(context.waker());
                    Poll::Pending
                }
            });
            result.map_err(|()| self.error(End::Aborted))
        })
        .await
    }

    /// Waits until there is something to read: data, the end, or an error.
    pub(super) async fn readable(&self) {
        poll_fn(|context| {
            self.socket(|socket| {
                if socket.can_recv() || !socket.may_recv() {
                    return Poll::Ready(());
                }
                socket.register_recv_waker(context.waker());
                Poll::Pending
            })
        })
        .await;
    }

    /// Whether reading would not wait.
    pub(super) fn is_readable(&self) -> bool {
        self.socket(|socket| socket.can_recv() || !socket.may_recv())
    }

    /// Whether writing would not wait.
    pub(super) fn is_writable(&self) -> bool {
        self.socket(|socket| socket.can_send() || !socket.may_send())
    }

    pub(super) fn close(&self) {
        if self.end.get() == End::Open {
            self.end.set(End::Closed);
        }
        self.socket(tcp::Socket::close);
        self.stack.wake();
    }

    pub(super) async fn shutdown(&self) -> Result<(), Error> {
        self.close();
        let is_closed = poll_fn(|context| {
            self.socket(|socket| match socket.state() {
                State::FinWait2 | State::TimeWait => Poll::Ready(false),
                State::Closed => Poll::Ready(true),
                _ => {
                    socket.register_send_waker(context.waker());
                    Poll::Pending
                }
            })
        });
        match is_closed.await && self.was_reset() {
            true => Err(Error::Reset),
            false => Ok(()),
        }
    }

    fn was_reset(&self) -> bool {
        self.stack.with_sockets(|sockets| sockets.was_reset(self.id))
    }

    pub(super) fn abort(&self) {
        self.end.set(End::Aborted);
        self.socket(tcp::Socket::abort);
        self.stack.wake();
    }

    /// Why the connection is no more, to somebody who was told so by this side with `end`.
    fn error(&self, end: End) -> Error {
        if self.end.get() >= end {
            return Error::Closed;
        }
        // smoltcp does not tell a reset from a timeout.
        if self.was_reset() { Error::Reset } else { Error::TimedOut }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.stack.with_sockets(|sockets| sockets.close(self.id));
        self.stack.wake();
    }
}

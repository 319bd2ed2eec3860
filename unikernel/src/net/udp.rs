//! UDP for tasks.

use core::future::poll_fn;
use core::task::Poll;

use smoltcp::iface::SocketHandle;
use smoltcp::socket::udp;
use smoltcp::wire::IpEndpoint;

use super::memory::{filled, has_headroom};
use super::stack::Stack;

/// A bound UDP socket.
pub struct UdpSocket {
    stack: Stack,
    handle: SocketHandle,
}

impl UdpSocket {
    /// Binds `port`, with room for `datagrams` datagrams and `bytes` bytes of payload in each direction. What arrives
    /// beyond that is dropped. `None` if there is no memory for it.
    ///
    /// # Panics
    /// If `port` is 0.
    pub fn bind(stack: &Stack, port: u16, datagrams: usize, bytes: usize) -> Option<Self> {
        let buffer = || {
            let metadata = filled(datagrams, udp::PacketMetadata::EMPTY)?;
            Some(udp::PacketBuffer::new(metadata, filled(bytes, 0)?))
        };
        let mut socket = udp::Socket::new(buffer()?, buffer()?);
        if !has_headroom() {
            return None;
        }
        socket.bind(port).expect("the port is not 0 and the socket is new");
        let handle = stack.shared.inner.borrow_mut().sockets.add(socket);
        Some(Self { stack: stack.clone(), handle })
    }

    fn socket<R>(&self, f: impl FnOnce(&mut udp::Socket<'static>) -> R) -> R {
        self.stack.socket(self.handle, f)
    }

    /// Waits for a datagram, then calls `f` with each one that is there: its source and payload, in place.
    ///
    /// Returns after at most one socket buffer full, so a flood leaves other tasks their turn.
    pub async fn receive_each(&self, mut f: impl FnMut(IpEndpoint, &[u8])) {
        poll_fn(|context| {
            self.socket(|socket| {
                if !socket.can_recv() {
                    socket.register_recv_waker(context.waker());
                    return Poll::Pending;
                }
                while let Ok((payload, meta)) = socket.recv() {
                    f(meta.endpoint, payload);
                }
                Poll::Ready(())
            })
        })
        .await;
    }

    /// Waits for room, then sends the `len` bytes that `f` writes to `to`.
    ///
    /// `false` if that can never be: `to` is no address to send to, or `len` more than the socket has room for.
    pub async fn send_with(
        &self,
        to: IpEndpoint,
        len: usize,
        mut f: impl FnMut(&mut [u8]),
    ) -> bool {
        let sent = poll_fn(|context| {
            self.socket(|socket| {
                let possible = len <= socket.payload_send_capacity();
                match socket.send(len, to) {
                    Ok(room) => f(room),
                    Err(udp::SendError::BufferFull) if possible => {
                        socket.register_send_waker(context.waker());
                        return Poll::Pending;
                    }
                    Err(_) => return Poll::Ready(false),
                }
                Poll::Ready(true)
            })
        })
        .await;
        self.stack.shared.work.signal(());
        sent
    }

    /// Sends `payload` to `to`; see [`send_with`](Self::send_with).
    pub async fn send(&self, to: IpEndpoint, payload: &[u8]) -> bool {
        self.send_with(to, payload.len(), |room| room.copy_from_slice(payload)).await
    }

    /// The largest datagram that fits.
    pub fn max_payload(&self) -> usize {
        self.socket(|socket| socket.payload_send_capacity())
    }
}

impl Drop for UdpSocket {
    fn drop(&mut self) {
        self.stack.shared.inner.borrow_mut().sockets.remove(self.handle);
    }
}

//! UDP in place: datagrams in the memory they arrived in.

use alloc::vec::Vec;
use core::future::poll_fn;
use core::net::SocketAddr;
use core::ops::{Deref, Range};
use core::task::Poll;

use super::error::Error;
use super::intake::WholeDatagram;
use super::queue::Queue;
use super::stack::Stack;
use super::udp::UdpSocket;
use crate::dma::RxBuffer;

/// Room for what is to be sent, and for what arrived in fragments.
const DATAGRAMS: usize = 32;
const BYTES: usize = 128 * 1024;

/// A received datagram, which may be kept. It is its payload.
#[derive(Debug)]
pub struct Datagram {
    /// Where it came from.
    pub source: SocketAddr,
    /// What it carried.
    pub payload: Payload,
}

/// The payload of a received datagram.
#[derive(Debug)]
pub enum Payload {
    /// The frame that brought it, and where in it the payload is.
    InFrame(RxBuffer, Range<usize>),
    /// A copy: it came in fragments, or by way of a header that only the stack understands.
    Copied(Vec<u8>),
}

impl Deref for Datagram {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.payload {
            Payload::InFrame(frame, range) => &frame[range.clone()],
            Payload::Copied(bytes) => bytes,
        }
    }
}

impl From<WholeDatagram> for Datagram {
    fn from(datagram: WholeDatagram) -> Self {
        let payload = Payload::InFrame(datagram.frame, datagram.payload);
        Self { source: datagram.source, payload }
    }
}

/// A bound UDP socket that receives datagrams in place.
pub struct UdpFrames {
    stack: Stack,
    queue: Queue<WholeDatagram>,
    /// Has the port, sends, and receives what is not whole in one frame.
    socket: UdpSocket,
}

impl UdpFrames {
    /// Binds `port`, or a free one if that is 0. Up to `depth` datagrams wait to be received; more
    /// are dropped and [counted](Self::dropped).
    ///
    /// # Errors
    /// [`Error::PortInUse`], [`Error::NoMemory`].
    pub fn bind(stack: &Stack, port: u16, depth: usize) -> Result<Self, Error> {
        let queue = Queue::new(depth)?;
        let socket = UdpSocket::bind(stack, port, DATAGRAMS, BYTES)?;
        stack.with(|engine| {
            engine.pair.device.intake.add_datagrams(socket.port(), queue.clone());
        });
        Ok(Self { stack: stack.clone(), queue, socket })
    }

    /// The port it is bound to.
    pub fn port(&self) -> u16 {
        self.socket.port()
    }

    /// Waits for the next datagram. One task waits at a time.
    pub async fn recv(&self) -> Datagram {
        poll_fn(|context| {
            if let Poll::Ready(datagram) = self.queue.poll_pop(context) {
                return Poll::Ready(datagram.into());
            }
            self.socket.poll_receive(context, copied)
        })
        .await
    }

    /// Waits for a datagram, then calls `f` with each one that is there: one wait for a batch.
    pub async fn recv_each(&self, mut f: impl FnMut(Datagram)) {
        f(self.recv().await);
        for _ in 0..self.queue.len() {
            let Some(datagram) = self.queue.pop() else { break };
            f(datagram.into());
        }
    }

    /// Datagrams that were dropped because more than the socket's depth waited.
    pub fn dropped(&self) -> u64 {
        self.queue.dropped()
    }

    /// As [`UdpSocket::send_with`].
    ///
    /// # Errors
    /// As there.
    pub async fn send_with(
        &self,
        to: SocketAddr,
        len: usize,
        f: impl FnMut(&mut [u8]),
    ) -> Result<(), Error> {
        self.socket.send_with(to, len, f).await
    }

    /// As [`UdpSocket::send_to`].
    ///
    /// # Errors
    /// As there.
    pub async fn send_to(&self, payload: &[u8], to: SocketAddr) -> Result<(), Error> {
        self.socket.send_to(payload, to).await
    }
}

fn copied(source: SocketAddr, payload: &[u8]) -> Datagram {
    Datagram { source, payload: Payload::Copied(payload.to_vec()) }
}

impl Drop for UdpFrames {
    fn drop(&mut self) {
        let port = self.port();
        self.stack.with(|engine| engine.pair.device.intake.remove_datagrams(port));
    }
}

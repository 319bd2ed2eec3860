//! What a UDP socket has received: whole datagrams, put there before smoltcp has seen them.
//!
//! smoltcp would find the same socket by a walk through all of them, after it has parsed every
//! header a second time. What is not whole in one frame still comes by way of it.

use alloc::rc::Rc;
use core::cell::RefCell;
use core::net::SocketAddr;
use core::task::Waker;

use smoltcp::storage::{PacketBuffer, PacketMetadata};

use super::error::Error;
use super::memory::filled;

/// Both ends of it. A handle, cheap to clone.
#[derive(Clone)]
pub(super) struct Inbox(Rc<RefCell<State>>);

struct State {
    datagrams: PacketBuffer<'static, SocketAddr>,
    waker: Option<Waker>,
}

impl Inbox {
    /// With room for so many datagrams, and so many bytes of payload.
    pub(super) fn new(datagrams: usize, bytes: usize) -> Result<Self, Error> {
        let metadata = filled(datagrams, PacketMetadata::EMPTY)?;
        let datagrams = PacketBuffer::new(metadata, filled(bytes, 0)?);
        Ok(Self(Rc::new(RefCell::new(State { datagrams, waker: None }))))
    }

    /// Puts a datagram in. What there is no room for is dropped.
    #[inline]
    pub(super) fn push(&self, from: SocketAddr, payload: &[u8]) {
        let waker = {
            let state = &mut *self.0.borrow_mut();
            let Ok(room) = state.datagrams.enqueue(payload.len(), from) else { return };
            room.copy_from_slice(payload);
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Calls `f`, which may not receive, with the oldest datagram, if there is one.
    #[inline]
    pub(super) fn pop<R>(&self, f: impl FnOnce(SocketAddr, &[u8]) -> R) -> Option<R> {
        let state = &mut *self.0.borrow_mut();
        let (from, payload) = state.datagrams.dequeue().ok()?;
        Some(f(from, payload))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.borrow().datagrams.is_empty()
    }

    /// Wakes that task when there is a datagram.
    pub(super) fn register(&self, waker: &Waker) {
        self.0.borrow_mut().waker = Some(waker.clone());
    }
}

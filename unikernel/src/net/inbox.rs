//! What a UDP socket has received: whole datagrams, put there before smoltcp has seen them.
//!
//! smoltcp would find the same socket by a walk through all of them, after it has parsed every
//! header a second time. What is not whole in one frame still comes by way of it.

use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::net::SocketAddr;
use core::task::Waker;

use super::error::Error;
use super::memory::filled;

/// Both ends of it. A handle, cheap to clone.
#[derive(Clone)]
pub(super) struct Inbox(Rc<RefCell<State>>);

struct State {
    /// Oldest first. Never grows beyond what it was made with.
    datagrams: VecDeque<Datagram>,
    most: usize,
    /// Their payloads, each in one piece, in the same order and round and round.
    bytes: Vec<u8>,
    /// Where the youngest one ends.
    end: usize,
    waker: Option<Waker>,
}

struct Datagram {
    from: SocketAddr,
    /// Where its payload begins.
    start: usize,
    len: usize,
}

impl State {
    /// Where there is room for so many bytes, at least one.
    #[inline]
    fn room(&self, len: usize) -> Option<usize> {
        let Some(oldest) = self.datagrams.front() else {
            return (len <= self.bytes.len()).then_some(0);
        };
        // Behind the youngest, up to the end or to the oldest; or else before the oldest. Each has
        // a byte at least, so where the two are the same there is no room.
        let is_in_order = oldest.start < self.end;
        let limit = if is_in_order { self.bytes.len() } else { oldest.start };
        if len <= limit - self.end {
            return Some(self.end);
        }
        (is_in_order && len <= oldest.start).then_some(0)
    }
}

impl Inbox {
    /// With room for so many datagrams, and so many bytes of payload.
    pub(super) fn new(datagrams: usize, bytes: usize) -> Result<Self, Error> {
        let (most, bytes) = (datagrams, filled(bytes, 0)?);
        let mut datagrams = VecDeque::new();
        datagrams.try_reserve_exact(most).map_err(|_| Error::NoMemory)?;
        let state = State { datagrams, most, bytes, end: 0, waker: None };
        Ok(Self(Rc::new(RefCell::new(state))))
    }

    /// Puts a datagram in. What there is no room for is dropped.
    #[inline]
    pub(super) fn push(&self, from: SocketAddr, payload: &[u8]) {
        let waker = {
            let state = &mut *self.0.borrow_mut();
            let len = payload.len();
            // One without payload takes a byte as well: no two begin at the same place.
            let room = state.room(len.max(1)).filter(|_| state.datagrams.len() < state.most);
            let Some(start) = room else { return };
            state.bytes[start..start + len].copy_from_slice(payload);
            state.datagrams.push_back(Datagram { from, start, len });
            state.end = start + len.max(1);
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
        let Datagram { from, start, len } = state.datagrams.pop_front()?;
        Some(f(from, &state.bytes[start..start + len]))
    }

    /// Calls `f`, which may not receive, with each datagram, oldest first.
    #[inline]
    pub(super) fn each(&self, mut f: impl FnMut(SocketAddr, &[u8])) {
        let state = &mut *self.0.borrow_mut();
        while let Some(Datagram { from, start, len }) = state.datagrams.pop_front() {
            f(from, &state.bytes[start..start + len]);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.borrow().datagrams.is_empty()
    }

    /// Wakes that task when there is a datagram.
    pub(super) fn register(&self, waker: &Waker) {
        self.0.borrow_mut().waker = Some(waker.clone());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    const FROM: SocketAddr =
        SocketAddr::V4(core::net::SocketAddrV4::new(core::net::Ipv4Addr::LOCALHOST, 7));

    proptest! {
        /// Against a plain queue: what is taken comes out as it was and in order, and what finds
        /// room in an empty inbox is taken.
        #[test]
        fn what_is_taken_comes_out_in_order(
            steps in proptest::collection::vec(proptest::option::of(0_usize..40), 0..200)
        ) {
            let (inbox, mut expected) = (Inbox::new(4, 64).unwrap(), VecDeque::new());
            for (number, step) in steps.into_iter().enumerate() {
                if let Some(len) = step {
                    let payload = std::vec![number as u8; len];
                    let before = inbox.0.borrow().datagrams.len();
                    inbox.push(FROM, &payload);
                    let is_taken = inbox.0.borrow().datagrams.len() > before;
                    prop_assert!(is_taken || before != 0);
                    if is_taken {
                        expected.push_back(payload);
                    }
                    prop_assert!(expected.len() <= 4);
                    let held: usize = expected.iter().map(std::vec::Vec::len).sum();
                    prop_assert!(held <= 64);
                } else {
                    let popped = inbox.pop(|_, payload| payload.to_vec());
                    prop_assert_eq!(popped, expected.pop_front());
                }
            }
        }
    }
}

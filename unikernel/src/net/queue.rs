//! A queue of bounded length from the stack to one task.

use alloc::collections::VecDeque;
use alloc::rc::Rc;
use core::cell::RefCell;
use core::task::{Context, Poll, Waker};

use super::error::Error;

/// Both ends of a queue. A handle, cheap to clone.
pub(super) struct Queue<T>(Rc<RefCell<State<T>>>);

struct State<T> {
    /// Never grows beyond what it was made with.
    items: VecDeque<T>,
    depth: usize,
    waker: Option<Waker>,
    dropped: u64,
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Queue<T> {
    /// A queue that holds up to `depth` items.
    pub(super) fn new(depth: usize) -> Result<Self, Error> {
        let mut items = VecDeque::new();
        items.try_reserve_exact(depth).map_err(|_| Error::NoMemory)?;
        Ok(Self(Rc::new(RefCell::new(State { items, depth, waker: None, dropped: 0 }))))
    }

    /// Whether an item can be appended.
    pub(super) fn has_room(&self) -> bool {
        let state = self.0.borrow();
        state.items.len() < state.depth
    }

    /// Appends an item. Beyond the queue's depth it is dropped, and counted.
    #[inline]
    pub(super) fn push(&self, item: T) {
        let waker = {
            let state = &mut *self.0.borrow_mut();
            if state.items.len() == state.depth {
                state.dropped += 1;
                return;
            }
            state.items.push_back(item);
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The oldest item.
    #[inline]
    pub(super) fn pop(&self) -> Option<T> {
        self.0.borrow_mut().items.pop_front()
    }

    /// The oldest item, or else the task is woken when there is one.
    pub(super) fn poll_pop(&self, context: &Context<'_>) -> Poll<T> {
        let state = &mut *self.0.borrow_mut();
        match state.items.pop_front() {
            Some(item) => Poll::Ready(item),
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// How many items there are.
    pub(super) fn len(&self) -> usize {
        self.0.borrow().items.len()
    }

    /// How many items were dropped for want of room.
    pub(super) fn dropped(&self) -> u64 {
        self.0.borrow().dropped
    }
}

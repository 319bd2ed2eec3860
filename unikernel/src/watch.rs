//! A value that any number of tasks watch.
//!
//! What a watcher sees is the level, not each edge: one that is slow gets the latest value, and
//! always learns that there was a change since it last looked. All of it happens on one executor.
//!
//! ```
//! # use unikernel::watch::Watch;
//! # embassy_futures::block_on(async {
//! let speed = Watch::new(10);
//! let mut watcher = speed.watcher();
//! speed.set(100);
//! speed.set(1000);
//! assert_eq!(watcher.changed().await, 1000);
//! # });
//! ```

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::future::poll_fn;
use core::task::{Context, Poll, Waker};

/// The side of a watched value that changes it. A handle, cheap to clone.
#[derive(Debug)]
pub struct Watch<T>(Rc<RefCell<State<T>>>);

#[derive(Debug)]
struct State<T> {
    value: T,
    /// Counts the changes.
    version: u64,
    /// Tasks that wait for the next change. An empty place belongs to a waiter that was woken, or
    /// to nobody if it is in `free`.
    waiters: Vec<Option<Waker>>,
    free: Vec<usize>,
}

impl<T> Clone for Watch<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Clone> Watch<T> {
    /// A value that has not changed yet.
    pub fn new(value: T) -> Self {
        let state = State { value, version: 0, waiters: Vec::new(), free: Vec::new() };
        Self(Rc::new(RefCell::new(state)))
    }

    /// The value as it is now.
    pub fn get(&self) -> T {
        self.0.borrow().value.clone()
    }

    /// Changes the value and wakes whoever waits for that, also if the value is the same as before.
    pub fn set(&self, value: T) {
        self.update(|present| *present = value);
    }

    /// Changes the value in place; see [`set`](Self::set).
    pub fn update(&self, f: impl FnOnce(&mut T)) {
        let count = {
            let state = &mut *self.0.borrow_mut();
            f(&mut state.value);
            state.version += 1;
            state.waiters.len()
        };
        for place in 0..count {
            // Not woken while the state is borrowed: what a waker does is its own affair.
            let waker = self.0.borrow_mut().waiters[place].take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// A watcher to whom the value as it is now is no news.
    pub fn watcher(&self) -> Watcher<T> {
        Watcher { watch: self.clone(), seen: self.0.borrow().version }
    }
}

/// The side of a watched value that waits for its changes, one for each task.
#[derive(Debug)]
pub struct Watcher<T> {
    watch: Watch<T>,
    seen: u64,
}

impl<T> Clone for Watcher<T> {
    fn clone(&self) -> Self {
        Self { watch: self.watch.clone(), seen: self.seen }
    }
}

impl<T: Clone> Watcher<T> {
    /// The value as it is now, which is no news from here on.
    pub fn get(&mut self) -> T {
        let state = self.watch.0.borrow();
        self.seen = state.version;
        state.value.clone()
    }

    /// Waits until the value has changed since this watcher last saw it.
    pub async fn changed(&mut self) -> T {
        let mut waiter = Waiter { watch: &self.watch, place: None };
        poll_fn(|context| waiter.poll(self.seen, context)).await;
        drop(waiter);
        self.get()
    }

    /// Waits until the value is one that `f` accepts, which it may be already.
    pub async fn wait_for(&mut self, mut f: impl FnMut(&T) -> bool) -> T {
        let mut value = self.get();
        while !f(&value) {
            value = self.changed().await;
        }
        value
    }
}

/// A place among the waiters, given up when the wait is over or abandoned.
struct Waiter<'a, T> {
    watch: &'a Watch<T>,
    place: Option<usize>,
}

impl<T> Waiter<'_, T> {
    fn poll(&mut self, seen: u64, context: &Context<'_>) -> Poll<()> {
        let mut state = self.watch.0.borrow_mut();
        if state.version != seen {
            return Poll::Ready(());
        }
        let place = *self.place.get_or_insert_with(|| {
            state.free.pop().unwrap_or_else(|| {
                state.waiters.push(None);
                state.waiters.len() - 1
            })
        });
        let previous = state.waiters[place].replace(context.waker().clone());
        drop(state);
        drop(previous);
        Poll::Pending
    }
}

impl<T> Drop for Waiter<'_, T> {
    fn drop(&mut self) {
        let Some(place) = self.place else { return };
        let mut state = self.watch.0.borrow_mut();
        let waker = state.waiters[place].take();
        state.free.push(place);
        drop(state);
        drop(waker);
    }
}

#[cfg(test)]
mod tests {
    use core::future::Future;
    use core::pin::pin;
    use core::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::Arc;
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn every_waiting_task_is_woken_and_sees_the_value() {
        let watch = Watch::new(1);
        let mut watchers = [watch.watcher(), watch.watcher(), watch.watcher()];
        let counts: [Arc<Count>; 3] = Default::default();
        let mut waits: Vec<_> =
            watchers.iter_mut().map(|w| std::boxed::Box::pin(w.changed())).collect();
        let mut poll = |index: usize| {
            let waker = Waker::from(counts[index].clone());
            waits[index].as_mut().poll(&mut Context::from_waker(&waker))
        };
        assert!((0..3).all(|index| poll(index).is_pending()));
        watch.set(2);
        assert!(counts.iter().all(|count| count.0.load(Ordering::Relaxed) == 1));
        assert!((0..3).all(|index| poll(index) == Poll::Ready(2)));
    }

    #[test]
    fn a_slow_watcher_sees_the_latest_value_once() {
        let watch = Watch::new(0);
        let mut watcher = watch.watcher();
        let mut poll = |expected| {
            let mut wait = pin!(watcher.changed());
            assert_eq!(wait.as_mut().poll(&mut Context::from_waker(Waker::noop())), expected);
        };
        poll(Poll::Pending);
        watch.set(1);
        watch.update(|value| *value += 1);
        poll(Poll::Ready(2));
        poll(Poll::Pending);
        // The same value again is a change: there may have been another between.
        watch.set(2);
        poll(Poll::Ready(2));
    }

    #[test]
    fn a_watcher_that_waits_for_a_value_passes_over_the_others() {
        let watch = Watch::new(0);
        let mut watcher = watch.watcher();
        let mut wait = pin!(watcher.wait_for(|&value| value >= 3));
        let mut poll = || wait.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        for value in [1, 2] {
            watch.set(value);
            assert!(poll().is_pending());
        }
        watch.set(3);
        assert_eq!(poll(), Poll::Ready(3));
        assert_eq!(embassy_futures::block_on(watch.watcher().wait_for(|&value| value == 3)), 3);
    }

    #[test]
    fn abandoned_waits_leave_nothing_behind() {
        let watch = Watch::new(0);
        let mut watcher = watch.watcher();
        let count = Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        for _ in 0..10 {
            let mut wait = pin!(watcher.changed());
            assert!(wait.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
        drop(waker);
        watch.set(1);
        assert_eq!(watch.0.borrow().waiters.len(), 1);
        assert_eq!((count.0.load(Ordering::Relaxed), Arc::strong_count(&count)), (0, 1));
    }
}

//! Who is to be woken when: any number of tasks.

use alloc::vec::Vec;
use core::task::Waker;

/// Tasks and the earliest time that each asked for. A task that asks again and again has one place.
///
/// Timers that are dropped stay until their time has come, as `embassy-time` has it.
pub(super) struct Queue(Vec<(u64, Waker)>);

impl Queue {
    /// Nobody.
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    /// Has a task woken at a time, or earlier if it asked for that before.
    pub(super) fn schedule(&mut self, at: u64, waker: &Waker) {
        match self.0.iter_mut().find(|(_, other)| other.will_wake(waker)) {
            Some((earliest, _)) => *earliest = at.min(*earliest),
            None => self.0.push((at, waker.clone())),
        }
    }

    /// Somebody who is to be woken by `now`.
    pub(super) fn take_due(&mut self, now: u64) -> Option<Waker> {
        let index = self.0.iter().position(|&(at, _)| at <= now)?;
        Some(self.0.swap_remove(index).1)
    }

    /// When the next one is to be woken.
    pub(super) fn next(&self) -> Option<u64> {
        self.0.iter().map(|&(at, _)| at).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn any_number_of_tasks_are_woken_each_once_and_at_its_time() {
        let counts: Vec<_> = (0..1000).map(|_| Arc::new(Count::default())).collect();
        let woken = |count: &Arc<Count>| count.0.load(Ordering::Relaxed);
        let mut queue = Queue::new();
        for (at, count) in counts.iter().enumerate() {
            let waker = Waker::from(count.clone());
            // Asking again, for later, changes nothing.
            queue.schedule(at as u64, &waker);
            queue.schedule(at as u64 + 5000, &waker);
        }
        assert_eq!(counts.iter().map(woken).sum::<usize>(), 0, "for want of room, as it were");
        for now in [0, 10, 999] {
            assert!(queue.next() <= Some(now));
            while let Some(waker) = queue.take_due(now) {
                waker.wake();
            }
            let due = now as usize + 1;
            assert!(counts[..due].iter().all(|count| woken(count) == 1));
            assert!(counts[due..].iter().all(|count| woken(count) == 0));
        }
        assert_eq!(queue.next(), None);
        assert!(counts.iter().all(|count| Arc::strong_count(count) == 1), "wakers are given up");
    }

    #[test]
    fn the_earliest_wish_of_a_task_counts() {
        let waker = Waker::from(Arc::new(Count::default()));
        let mut queue = Queue::new();
        queue.schedule(100, &waker);
        queue.schedule(50, &waker);
        assert_eq!(queue.next(), Some(50));
        assert!(queue.take_due(49).is_none());
        assert!(queue.take_due(50).is_some() && queue.take_due(1000).is_none());
    }
}

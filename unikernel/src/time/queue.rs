//! Who is to be woken when: any number of tasks.

use alloc::collections::{BTreeMap, BTreeSet};
use core::ptr;
use core::task::Waker;

/// Tasks and the earliest time that each asked for. A task that asks again and again has one place.
///
/// Timers that are dropped stay until their time has come, as `embassy-time` has it: a server has
/// thousands of them, of connections that are closed. So nobody is looked for one by one.
pub(super) struct Queue {
    tasks: BTreeMap<Task, (u64, Waker)>,
    times: BTreeSet<(u64, Task)>,
}

/// What tells a task's wakers from those of others ([`Waker::will_wake`]): their data and their
/// functions.
type Task = (usize, usize);

impl Queue {
    /// Nobody.
    pub(super) const fn new() -> Self {
        Self { tasks: BTreeMap::new(), times: BTreeSet::new() }
    }

    /// Has a task woken at a time, or earlier if it asked for that before.
    pub(super) fn schedule(&mut self, at: u64, waker: &Waker) {
        let task = (waker.data().addr(), ptr::from_ref(waker.vtable()).addr());
        let (earliest, _) = self.tasks.entry(task).or_insert_with(|| {
            self.times.insert((at, task));
            (at, waker.clone())
        });
        if at < *earliest {
            self.times.remove(&(*earliest, task));
            self.times.insert((at, task));
            *earliest = at;
        }
    }

    /// Somebody who is to be woken by `now`.
    pub(super) fn take_due(&mut self, now: u64) -> Option<Waker> {
        let &(at, task) = self.times.first().filter(|&&(at, _)| at <= now)?;
        self.times.remove(&(at, task));
        self.tasks.remove(&task).map(|(_, waker)| waker)
    }

    /// When the next one is to be woken.
    pub(super) fn next(&self) -> Option<u64> {
        self.times.first().map(|&(at, _)| at)
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

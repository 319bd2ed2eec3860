//! Tasks: futures that run next to one another, any number of them.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::future::{Future, pending};
use core::pin::Pin;

use embassy_futures::select::select;
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::signal::Signal;
use futures_util::stream::{FuturesUnordered, StreamExt};

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// Where tasks are spawned. A handle, cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Tasks(Rc<Spawned>);

/// Those that have not been polled yet.
#[derive(Default)]
struct Spawned {
    tasks: RefCell<Vec<Task>>,
    arrived: Signal<NoopRawMutex, ()>,
}

impl Tasks {
    /// Has a future run until it ends.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.0.tasks.borrow_mut().push(Box::pin(task));
        self.0.arrived.signal(());
    }

    /// Runs what was spawned and what will be, for ever.
    pub(crate) async fn run(&self) {
        let mut running: FuturesUnordered<Task> = FuturesUnordered::new();
        // Without tasks the set would end.
        running.push(Box::pin(pending()));
        loop {
            running.extend(self.0.tasks.take());
            select(self.0.arrived.wait(), running.next()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::Cell;

    #[test]
    fn tasks_spawn_tasks_and_end() {
        let (tasks, ended) = (Tasks::default(), Rc::new(Cell::new(0)));
        let (inner, count) = (tasks.clone(), ended.clone());
        tasks.spawn(async move {
            for _ in 0..100 {
                let count = count.clone();
                inner.spawn(async move {
                    embassy_futures::yield_now().await;
                    count.set(count.get() + 1);
                });
            }
        });
        let all_ended = async {
            while ended.get() < 100 {
                embassy_futures::yield_now().await;
            }
        };
        embassy_futures::block_on(select(tasks.run(), all_ended));
        assert_eq!(Rc::strong_count(&ended), 1, "a task that has ended is dropped");
    }
}

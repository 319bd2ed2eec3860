//! A buffer received, against the agent's edge to logging on.

use loom::sync::atomic::{Ordering, fence};
use loom::thread;

use crate::dma::atomic::leave_out;
use crate::dma::{Policy, Pool, PoolMemory};

/// One buffer from posting to receiving on one side, and on the other what the agent does before
/// it acknowledges. The device's write stands in the receiver's thread: by then it has seen the
/// done bit.
fn receive_against_catch_up(doorbell: fn()) {
    loom::model(move || {
        let pool = Pool::new(PoolMemory::default(), Policy::Auto);
        let pool: &'static Pool = Box::leak(Box::new(pool));
        let agent = thread::spawn(|| {
            pool.start_marking();
            let mut next = Some(0);
            while let Some(from) = next {
                next = pool.catch_up(from).next;
            }
        });
        pool.receive_one(doorbell);
        agent.join().unwrap();
        assert_eq!(pool.logged(), 1, "a write was lost");
    });
}

/// An uncached store, which a device acts on after all earlier stores are in memory.
fn doorbell() {
    fence(Ordering::SeqCst);
}

/// The acquire fence between done bit and flag pairs with the fence that catch-up begins with.
#[test]
fn what_is_received_unmarked_is_caught_up() {
    receive_against_catch_up(doorbell);
}

/// The flag could be looked at too early.
#[test]
#[should_panic(expected = "a write was lost")]
fn without_the_fence_after_the_done_bit_a_write_is_lost() {
    leave_out(Ordering::Acquire);
    receive_against_catch_up(doorbell);
}

/// The flag could be set too late.
#[test]
#[should_panic(expected = "a write was lost")]
fn without_the_fence_of_catch_up_a_write_is_lost() {
    leave_out(Ordering::SeqCst);
    receive_against_catch_up(doorbell);
}

/// A device that is told of a buffer before the books are in memory: catch-up misses it.
#[test]
#[should_panic(expected = "a write was lost")]
fn with_books_written_after_the_doorbell_a_write_is_lost() {
    receive_against_catch_up(|| ());
}

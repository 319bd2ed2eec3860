//! The pool's books and the flag, the kernel's own source files, on loom's atomics: every
//! interleaving of a few threads, with every value a load may return under C11.

extern crate alloc;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering, fence};
use loom::thread;

/// Where those files find their atomics.
mod atomic {
    pub(crate) use loom::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
}

#[path = "../../../unikernel/src/dma/free_list.rs"]
mod free_list;

#[allow(dead_code, unreachable_pub, reason = "part of another crate")]
#[path = "../../../unikernel/src/dma/slots.rs"]
mod slots;

#[allow(dead_code, unreachable_pub, reason = "part of another crate")]
#[path = "../../../unikernel/src/dma/marking.rs"]
mod marking;

use marking::{Marking, Policy};
use slots::{Slots, Use};

/// The classic ABA: while one thread is about to take the first slot, another takes both and gives
/// the first back, so that the head looks as it did but the next slot is not free any more.
#[test]
fn a_slot_has_one_owner() {
    loom::model(|| {
        let slots = Arc::new(Slots::new(3, 0));
        let all: Vec<_> = (0..3).map(|_| slots.take(0, Use::Cpu).unwrap()).collect();
        all.into_iter().for_each(|slot| slots.give_back(slot, 0, Use::Cpu));
        let other = thread::spawn({
            let slots = slots.clone();
            move || {
                let first = slots.take(0, Use::Cpu).unwrap();
                let second = slots.take(0, Use::Cpu).unwrap();
                slots.give_back(first, 0, Use::Cpu);
                second
            }
        });
        let mine = slots.take(0, Use::Cpu).unwrap();
        let theirs = other.join().unwrap();
        assert_ne!(mine, theirs);
        let last = slots.take(0, Use::Cpu).unwrap();
        assert!(last != mine && last != theirs, "taken twice");
        assert_eq!(slots.take(0, Use::Cpu), None);
    });
}

/// What one owner did with a slot has happened before the next one has it.
#[test]
fn a_slot_comes_with_what_was_done_to_it() {
    loom::model(|| {
        let slots = Arc::new(Slots::new(1, 0));
        let content = Arc::new(loom::cell::UnsafeCell::new(0));
        let take_and_write = |slots: &Slots, content: &loom::cell::UnsafeCell<u32>| {
            if let Some(slot) = slots.take(0, Use::Cpu) {
                // SAFETY: loom reports two accesses that nothing orders.
                content.with_mut(|content| unsafe { *content += 1 });
                slots.give_back(slot, 0, Use::Cpu);
            }
        };
        let other = thread::spawn({
            let (slots, content) = (slots.clone(), content.clone());
            move || take_and_write(&slots, &content)
        });
        take_and_write(&slots, &content);
        other.join().unwrap();
    });
}

/// Carving two runs at once gives neither what the other has, and loses no slot.
#[test]
fn runs_are_carved_apart() {
    loom::model(|| {
        let slots = Arc::new(Slots::new(4, 1));
        let other = thread::spawn({
            let slots = slots.clone();
            move || slots.take(1, Use::Coherent)
        });
        let mine = slots.take(0, Use::FromDevice).unwrap();
        if let Some(theirs) = other.join().unwrap() {
            assert!(mine < theirs || mine > theirs + 1);
            assert_eq!((1 + theirs) % 2, 0, "aligned as the device sees it");
            assert_eq!(slots.free(), 1);
        }
    });
}

/// A ring that wants two slots together, against a buffer that wants one of them.
#[test]
fn gathered_runs_have_one_owner() {
    loom::model(|| {
        let slots = Arc::new(Slots::new(2, 0));
        let singles = [(); 2].map(|()| slots.take(0, Use::Cpu).unwrap());
        singles.into_iter().for_each(|slot| slots.give_back(slot, 0, Use::Cpu));
        let other = thread::spawn({
            let slots = slots.clone();
            move || slots.take(1, Use::Coherent)
        });
        let mine = slots.take(0, Use::FromDevice);
        let theirs = other.join().unwrap();
        assert!(mine.is_none() || theirs.is_none(), "two owners of a slot");
        let held = mine.map_or(0, |_| 1) + theirs.map_or(0, |_| 2);
        assert_eq!(slots.free(), 2 - held, "a slot was lost");
    });
}

/// Catch-up finds a run that was split off while another thread still has the rest of it in hand.
#[test]
fn a_walk_finds_what_was_split_off() {
    loom::model(|| {
        let slots = Arc::new(Slots::new(2, 0));
        let whole = slots.take(1, Use::Coherent).unwrap();
        slots.give_back(whole, 1, Use::Coherent);
        let other = thread::spawn({
            let slots = slots.clone();
            move || {
                let mine = slots.take(0, Use::Coherent)?;
                let found = (mine, 0, Use::Coherent);
                assert!(slots.runs_from(0).any(|run| run == found), "it is stepped over");
                Some(())
            }
        });
        slots.take(0, Use::Coherent);
        other.join().unwrap();
    });
}

/// Agents that start and stop at the same time leave the flag as the last one standing wants it.
#[test]
fn marking_is_on_while_anybody_sees_the_log() {
    loom::model(|| {
        let marking = Arc::new(Marking::new(Policy::Auto));
        marking.start();
        let other = thread::spawn({
            let marking = marking.clone();
            move || marking.stop()
        });
        marking.start();
        assert!(marking.mode().marks(), "this agent has not stopped");
        other.join().unwrap();
        assert!(marking.mode().marks() && marking.mode().logging());
        marking.stop();
        assert!(marking.mode().is_idle());
    });
}

/// One buffer from posting to receiving, on one side, and the agent's edge to logging on the
/// other. The device's write stands in the receiver's thread: by then it has seen the done bit.
fn receive_against_catch_up(doorbell: fn(), after_done: fn()) {
    loom::model(move || {
        let slots = Arc::new(Slots::new(2, 0));
        let marking = Arc::new(Marking::new(Policy::Auto));
        // The page, and what a hypervisor that copies it after the last mark is sure to get. Marks
        // and the device's write are atomic changes of the page; they order nothing else.
        let page = Arc::new(AtomicU32::new(0));
        let logged = Arc::new(AtomicU32::new(0));
        let mark = |page: &AtomicU32, logged: &AtomicU32| {
            logged.fetch_max(page.fetch_add(0, Ordering::Relaxed), Ordering::Relaxed);
        };

        let agent = thread::spawn({
            let (slots, marking) = (slots.clone(), marking.clone());
            let (page, logged) = (page.clone(), logged.clone());
            move || {
                marking.start();
                fence(Ordering::SeqCst);
                if slots.runs_from(0).any(|run| run.2.is_caught_up()) {
                    mark(&page, &logged);
                }
            }
        });
        let slot = slots.take(0, Use::FromDevice).unwrap();
        doorbell();
        page.fetch_add(1, Ordering::Relaxed); // the device's write
        after_done();
        if marking.mode().marks() {
            mark(&page, &logged);
        }
        slots.set(slot, 0, Use::Received);
        agent.join().unwrap();
        assert_eq!(logged.load(Ordering::Acquire), 1, "a write was lost");
    });
}

/// The acquire fence between done bit and flag pairs with the fence that catch-up begins with. The
/// doorbell is an uncached store, which a device acts on after all earlier stores are in memory.
#[test]
fn what_is_received_unmarked_is_caught_up() {
    receive_against_catch_up(|| fence(Ordering::SeqCst), || fence(Ordering::Acquire));
}

/// Without it the flag could be looked at too early, and loom finds the frame that is lost.
#[test]
#[should_panic(expected = "a write was lost")]
fn without_the_fence_after_the_done_bit_a_write_is_lost() {
    receive_against_catch_up(|| fence(Ordering::SeqCst), || ());
}

/// A device that is told of a buffer before the books are in memory: catch-up misses it.
#[test]
#[should_panic(expected = "a write was lost")]
fn with_books_written_after_the_doorbell_a_write_is_lost() {
    receive_against_catch_up(|| (), || fence(Ordering::Acquire));
}

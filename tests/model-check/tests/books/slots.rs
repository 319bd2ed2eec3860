//! The pool's books.

use loom::sync::Arc;
use loom::thread;

use crate::dma::marking::{Marking, Policy};
use crate::dma::slots::{Slots, Use};

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

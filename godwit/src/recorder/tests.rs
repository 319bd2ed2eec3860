//! Recording, rolling over, and finding what changed behind the recorder's back.

use core::pin::pin;
use core::task::{Context, Poll, Waker};

use unikernel::dma::{Policy, Pool, fake};
use unikernel::net::Observer;

use super::*;

fn pool() -> &'static Pool {
    fake::pool(1 << 20, Policy::Auto)
}

/// A frame as a device delivers it.
fn frame(pool: &'static Pool, fill: u8, len: usize) -> RxBuffer {
    let stream = pool.receive_stream().expect("a slot");
    pool.device().write(stream.device_address(), &alloc::vec![fill; len]);
    stream.receive(&fake::completed(), len).expect("it fits")
}

fn fill(recorder: &mut Recorder, pool: &'static Pool, frames: usize) {
    (0..frames).for_each(|n| {
        let buffer = frame(pool, n as u8, 60 + n % 1400);
        assert!(recorder.ear(n % 2).received(buffer, Instant::now()).is_none());
    });
}

fn ready<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    for _ in 0..1000 {
        if let Poll::Ready(result) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return result;
        }
    }
    panic!("a check that never ends");
}

/// Changes a held frame as a migration that lost its page would.
fn corrupt(recorder: &Recorder, number: u64) {
    let mut ring = recorder.ring.borrow_mut();
    let index = (number - ring.first) as usize;
    ring.frames[index].crc ^= 1;
}

#[test]
fn keeps_the_last_frames_and_gives_the_rest_back() {
    let pool = pool();
    let free = pool.statistics().slots_free;
    let mut recorder = Recorder::new(100, pool);
    fill(&mut recorder, pool, 250);
    assert_eq!(recorder.held(), (100, 0));
    assert_eq!(pool.statistics().slots_free, free - 100);
    assert_eq!(recorder.frame_from(0, |kept| (kept.number, kept.bytes[0])), Some((150, 150)));
    assert_eq!(recorder.frame_from(249, |kept| (kept.number, kept.interface)), Some((249, 1)));
    assert_eq!(recorder.frame_from(250, |_| ()), None);
    drop(recorder);
    assert_eq!(pool.statistics().slots_free, free);
}

#[test]
fn what_is_held_for_a_check_is_not_missed_when_it_goes() {
    let pool = pool();
    let mut recorder = Recorder::new(100, pool);
    fill(&mut recorder, pool, 100);
    recorder.hold_for_check();
    [3, 7, 80].iter().for_each(|&number| corrupt(&recorder, number));
    fill(&mut recorder, pool, 50);
    corrupt(&recorder, 120);
    let report = ready(recorder.check());
    assert_eq!((report.checked, report.stale), (100, 3), "3, 7 and 80; 120 came too late");
    let report = ready(recorder.check());
    assert_eq!((report.checked, report.stale), (100, 2), "80 and 120");
}

#[test]
fn a_check_looks_at_everything_and_finds_what_changed() {
    let pool = pool();
    let mut recorder = Recorder::new(100, pool);
    fill(&mut recorder, pool, 40);
    pool.start_marking();
    fill(&mut recorder, pool, 60);
    pool.stop_marking();
    assert_eq!(recorder.held(), (100, 60));
    assert_eq!(ready(recorder.check()), Report { checked: 100, while_logging: 60, stale: 0 });
    corrupt(&recorder, 3);
    corrupt(&recorder, 99);
    assert_eq!(ready(recorder.check()), Report { checked: 100, while_logging: 60, stale: 2 });
}

#[test]
fn frames_that_roll_over_during_a_check_are_checked() {
    let pool = pool();
    let mut recorder = Recorder::new(100, pool);
    fill(&mut recorder, pool, 100);
    for number in [0, 10, 40, 99] {
        corrupt(&recorder, number);
    }
    let mut other = recorder.clone();
    let mut check = pin!(recorder.check());
    let mut context = Context::from_waker(Waker::noop());
    assert!(check.as_mut().poll(&mut context).is_pending());
    // More than there is room for: everything the check has not reached goes.
    fill(&mut other, pool, 150);
    assert_eq!(ready(check), Report { checked: 100, while_logging: 0, stale: 4 });
}

#[test]
fn checks_wait_for_each_other_and_an_abandoned_one_is_no_obstacle() {
    let pool = pool();
    let mut recorder = Recorder::new(100, pool);
    fill(&mut recorder, pool, 100);
    let mut context = Context::from_waker(Waker::noop());
    {
        let mut first = pin!(recorder.check());
        let mut second = pin!(recorder.check());
        assert!(first.as_mut().poll(&mut context).is_pending());
        assert!(second.as_mut().poll(&mut context).is_pending());
        assert_eq!(ready(first).checked, 100);
        assert_eq!(ready(second).checked, 100);
    }
    {
        let mut abandoned = pin!(recorder.check());
        assert!(abandoned.as_mut().poll(&mut context).is_pending());
    }
    assert_eq!(ready(recorder.check()).checked, 100);
}

#[test]
fn without_room_nothing_is_kept() {
    let pool = pool();
    let free = pool.statistics().slots_free;
    let mut recorder = Recorder::new(0, pool);
    fill(&mut recorder, pool, 10);
    assert_eq!(recorder.held(), (0, 0));
    assert_eq!(pool.statistics().slots_free, free);
    assert_eq!(ready(recorder.check()), Report::default());
}

#[test]
fn capacity_leaves_slots_for_the_rings() {
    assert_eq!(capacity(8 << 20, 8192), Ok(4096));
    assert_eq!(capacity(16 << 20, 8192), Err(8192 - RESERVE));
    assert_eq!(capacity(8 << 20, 6144), Ok(4096));
    assert_eq!(capacity(8 << 20, 2048), Err(512));
    assert_eq!(capacity(0, 256), Ok(0));
    assert_eq!(capacity(u64::MAX, 8192), Err(8192 - RESERVE));
}

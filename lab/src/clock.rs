//! The lab's clock: this machine's, or the emulated host's own.
//!
//! An emulated host that counts its instructions has a time of its own, in which it is always as
//! fast, however busy this machine is. What happens in it is measured in that time, by moments that
//! count from when the lab was made. It advances by ticks, which QEMU sends over the ports of the
//! [segment](crate::segment): between two of them, it stands still.

use std::{
    collections::BTreeMap,
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread::{self, Thread},
    time::{Duration, Instant},
};

/// A lab that has not ticked for so long of this machine's time will not do so any more, and who
/// waits for it has waited long enough: from then on, its clock is this machine's.
const SILENCE: Duration = Duration::from_secs(60);
/// A thread that sleeps in virtual time looks so often whether the clock still runs.
const LOOK: Duration = Duration::from_secs(1);
/// A wait for something else than the clock looks so often, in this machine's time, what the clock
/// says.
const GLANCE: Duration = Duration::from_millis(5);

/// A clock. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Clock(Option<Arc<Virtual>>);

#[derive(Debug)]
struct Virtual {
    /// When the lab's time was zero.
    epoch: Instant,
    state: Mutex<State>,
    settled: Condvar,
}

#[derive(Debug)]
struct State {
    time: Duration,
    /// When it became that, by this machine's clock.
    ticked: Instant,
    /// By the time at which they are due, and numbers that make them distinct.
    sleepers: BTreeMap<(Duration, u64), Sleeper>,
    next: u64,
    /// Members that are not asleep.
    awake: usize,
}

#[derive(Debug)]
struct Sleeper {
    thread: Thread,
    is_member: bool,
}

impl Clock {
    /// This machine's.
    #[must_use]
    pub fn real() -> Self {
        Self(None)
    }

    /// The time of whoever tells it ([`crate::segment`]), which stands still in between.
    #[must_use]
    pub fn stepped() -> Self {
        let now = Instant::now();
        let state = State {
            time: Duration::ZERO,
            ticked: now,
            sleepers: BTreeMap::new(),
            next: 0,
            awake: 0,
        };
        let (state, settled) = (Mutex::new(state), Condvar::new());
        Self(Some(Arc::new(Virtual { epoch: now, state, settled })))
    }

    /// Whether it is the lab's own.
    #[must_use]
    pub fn is_virtual(&self) -> bool {
        self.0.is_some()
    }

    /// The moment it is.
    #[must_use]
    pub fn now(&self) -> Instant {
        match &self.0 {
            None => Instant::now(),
            Some(lab) => lab.epoch + lab.lock().now(),
        }
    }

    /// How long ago a moment was.
    #[must_use]
    pub fn since(&self, moment: Instant) -> Duration {
        self.now().saturating_duration_since(moment)
    }

    /// How long it is until a moment.
    #[must_use]
    pub fn until(&self, moment: Instant) -> Duration {
        moment.saturating_duration_since(self.now())
    }

    /// How long a wait for something else may last, on this machine, before it asks again what is
    /// [left](Clock::until) of its time.
    #[must_use]
    pub fn patience(&self, left: Duration) -> Duration {
        if self.is_virtual() { left.min(GLANCE) } else { left }
    }

    /// Sleeps.
    pub fn sleep(&self, time: Duration) {
        match &self.0 {
            None => thread::sleep(time),
            Some(lab) => lab.sleep(time, false),
        }
    }

    /// Makes a member for a thread to come: time stands still whenever it is not asleep.
    #[must_use]
    pub fn member(&self) -> Member {
        if let Some(lab) = &self.0 {
            lab.lock().awake += 1;
        }
        Member(self.clone())
    }

    /// Nothing advances it any more: it goes on as this machine's does.
    pub(crate) fn let_go(&self) {
        if let Some(lab) = &self.0 {
            let mut state = lab.lock();
            // One that cannot be that long ago is waited for.
            state.ticked = state.ticked.checked_sub(SILENCE).unwrap_or(state.ticked);
        }
    }

    /// Sets the time since the lab began, and waits until all members that it woke sleep again.
    /// Time does not go back.
    pub(crate) fn advance(&self, time: Duration) {
        let Some(lab) = &self.0 else { return };
        let is_busy = |state: &mut State| state.awake > 0;
        let mut state = lab.settled.wait_while(lab.lock(), is_busy).unwrap();
        state.ticked = Instant::now();
        if time <= state.time {
            return;
        }
        state.time = time;
        while let Some(first) = state.sleepers.first_entry()
            && first.key().0 <= time
        {
            let sleeper = first.remove();
            state.awake += usize::from(sleeper.is_member);
            sleeper.thread.unpark();
        }
        let _state = lab.settled.wait_while(state, is_busy).unwrap();
    }
}

/// A thread's part in a clock.
#[derive(Debug)]
pub struct Member(Clock);

impl Member {
    /// Sleeps.
    pub fn sleep(&self, time: Duration) {
        match &self.0.0 {
            None => thread::sleep(time),
            Some(lab) => lab.sleep(time, true),
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Some(lab) = &self.0.0 {
            lab.lock().awake -= 1;
            lab.settled.notify_all();
        }
    }
}

impl Virtual {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn sleep(&self, time: Duration, is_member: bool) {
        let mut state = self.lock();
        let key = (state.time + time, state.next);
        state.next += 1;
        state.sleepers.insert(key, Sleeper { thread: thread::current(), is_member });
        if is_member {
            state.awake -= 1;
            self.settled.notify_all();
        }
        while state.sleepers.contains_key(&key) {
            if state.now() >= key.0 {
                // It is this machine's time that has passed.
                state.sleepers.remove(&key);
                state.awake += usize::from(is_member);
                return;
            }
            drop(state);
            thread::park_timeout(LOOK);
            state = self.lock();
        }
    }
}

impl State {
    fn now(&self) -> Duration {
        self.time + self.ticked.elapsed().saturating_sub(SILENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

    #[test]
    fn a_virtual_clock_moves_only_when_it_is_told_to() {
        let clock = Clock::stepped();
        let start = clock.now();
        thread::sleep(Duration::from_millis(20));
        assert_eq!(clock.now(), start);
        clock.advance(Duration::from_millis(7));
        assert_eq!(clock.since(start), Duration::from_millis(7));
        clock.advance(Duration::from_millis(5));
        assert_eq!(clock.since(start), Duration::from_millis(7), "it went back");
    }

    #[test]
    fn whoever_sleeps_is_woken_when_its_time_has_come_and_not_before() {
        let clock = Clock::stepped();
        let sleeper = thread::spawn({
            let clock = clock.clone();
            move || {
                clock.sleep(Duration::from_secs(3600));
                clock.now()
            }
        });
        let is_asleep = || !clock.0.as_ref().unwrap().lock().sleepers.is_empty();
        while !is_asleep() {
            thread::yield_now();
        }
        let start = clock.now();
        clock.advance(Duration::from_secs(3599));
        thread::sleep(Duration::from_millis(20));
        assert!(!sleeper.is_finished());
        clock.advance(Duration::from_secs(3600));
        assert_eq!(sleeper.join().unwrap() - start, Duration::from_secs(3600));
    }

    #[test]
    fn time_waits_for_its_members() {
        let clock = Clock::stepped();
        let member = clock.member();
        let count = Arc::new(AtomicU32::new(0));
        let counting = count.clone();
        thread::spawn(move || {
            loop {
                member.sleep(Duration::from_millis(2));
                // Long enough for a clock that does not wait to be seen.
                thread::sleep(Duration::from_millis(5));
                counting.fetch_add(1, SeqCst);
            }
        });
        for ms in 1..=20 {
            clock.advance(Duration::from_millis(ms));
            assert_eq!(u64::from(count.load(SeqCst)), ms / 2);
        }
    }
}

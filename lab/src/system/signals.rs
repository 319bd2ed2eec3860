//! Being told to end: by Ctrl-C, `kill`, or a terminal that closes.

use std::{
    collections::BTreeMap,
    fmt, process,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use rustix::process::{Signal, getpid, set_child_subreaper};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

use super::{process::signal_descendants, scratch};

/// For processes that were asked to end, and then for those that were killed.
const PATIENCE: Duration = Duration::from_secs(3);
const TICK: Duration = Duration::from_millis(20);

/// A signal has come.
static ENDING: AtomicBool = AtomicBool::new(false);

/// From now on a signal to end takes every process that this one started with it, and leaves
/// nothing but logs. The exit status is 128 and the signal's number, as a shell has it.
///
/// # Errors
/// The signals cannot be taken.
pub fn end_cleanly() -> Result<()> {
    // Those whose own parent was killed first are then ours, and found.
    set_child_subreaper(Some(getpid())).context("cannot become a subreaper (prctl(2))")?;
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("cannot take signals")?;
    thread::Builder::new().name("signals".into()).spawn(move || {
        let Some(signal) = signals.forever().next() else { return };
        ENDING.store(true, Relaxed);
        end_descendants();
        // What processes had open is free by now.
        let mut all = finally();
        std::mem::take(&mut *all).into_values().for_each(|undo| undo());
        scratch::remove_all();
        // Another thread may have been about to start one.
        let _ = signal_descendants(Signal::KILL);
        eprintln!("\nEnded by signal {signal}.");
        process::exit(128 + signal);
    })?;
    Ok(())
}

/// Asks them, since they may have something to clear away as well, before it kills them.
fn end_descendants() {
    for signal in [Signal::TERM, Signal::KILL] {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            match signal_descendants(signal) {
                Ok(1..) => thread::sleep(TICK),
                _ => return,
            }
        }
    }
}

/// Returns unless a signal has come: then the process ends by that, not by what became of the work
/// when its processes were killed.
pub fn unless_ending() {
    while ENDING.load(Relaxed) {
        thread::park();
    }
}

type Undo = Box<dyn FnOnce() + Send>;

/// What is to be done in any case.
static FINALLY: Mutex<BTreeMap<u64, Undo>> = Mutex::new(BTreeMap::new());

fn finally() -> std::sync::MutexGuard<'static, BTreeMap<u64, Undo>> {
    FINALLY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Something that is done once: when this is dropped, or before a signal ends the process.
pub struct Finally(u64);

impl Finally {
    /// Does `act` now, and will do `undo`. No signal ends the process in the middle of `act`, which
    /// so never meets its own undoing; where one has come before, neither is done and this does
    /// not return.
    pub fn doing<T>(act: impl FnOnce() -> T, undo: impl FnOnce() + Send + 'static) -> (T, Self) {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let this = Self(NEXT.fetch_add(1, Relaxed));
        let mut all = loop {
            unless_ending();
            let all = finally();
            if !ENDING.load(Relaxed) {
                break all;
            }
        };
        all.insert(this.0, Box::new(undo));
        (act(), this)
    }
}

impl Drop for Finally {
    fn drop(&mut self) {
        let mut all = finally();
        // With the lock held, so that a signal does not end the process in the middle of it.
        if let Some(undo) = all.remove(&self.0) {
            undo();
        }
    }
}

impl fmt::Debug for Finally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Finally({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn what_is_to_be_done_finally_is_done_once() {
        let count = Arc::new(AtomicU64::new(0));
        let counter = count.clone();
        let ((), guard) = Finally::doing(
            || {},
            move || {
                counter.fetch_add(1, Relaxed);
            },
        );
        assert_eq!(count.load(Relaxed), 0);
        drop(guard);
        assert_eq!(count.load(Relaxed), 1);
    }

    #[test]
    fn what_is_being_done_is_not_undone_before_it_is_over() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let undone = sender.clone();
        let (other, guard) = Finally::doing(
            || {
                // As the thread of the signals does it.
                let other = thread::spawn(move || {
                    let _all = finally();
                    undone.send("undone").unwrap();
                });
                thread::sleep(Duration::from_millis(100));
                sender.send("done").unwrap();
                other
            },
            || {},
        );
        other.join().unwrap();
        assert_eq!(receiver.try_iter().collect::<Vec<_>>(), ["done", "undone"]);
        drop(guard);
    }
}

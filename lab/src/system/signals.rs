//! Being told to end: by Ctrl-C, `kill`, or a terminal that closes.

use std::{
    process,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
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

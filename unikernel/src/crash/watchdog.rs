//! Says where the processor is when no task has had a turn for long: one that never waits keeps
//! all others, and the network, from running, and nothing else would say so.
//!
//! What counts are interrupts of the timer, a second apart, that find the one before still waiting
//! for the executor. Of a clock nothing is asked: a machine that was stopped, or moved, finds one
//! interrupt more when it goes on, however long that was. Where a task keeps interrupts off as well
//! nothing comes here; a non-maskable one still says where that is.

use core::fmt;
use core::str::FromStr;
use core::sync::atomic::{AtomicU32, Ordering};

use crate::arch::backtrace;
use crate::arch::interrupts::{Frame, set_timer_watch};
use crate::console::print_at_once;
use crate::time;

/// How many seconds are long; 0 for never.
#[derive(Clone, Copy)]
pub(crate) struct Patience(pub(crate) u32);

impl FromStr for Patience {
    type Err = BadPatience;

    fn from_str(text: &str) -> Result<Self, BadPatience> {
        // `u32::from_str` takes a sign.
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| is_number).map(Self).ok_or(BadPatience)
    }
}

/// The text was no [`Patience`].
pub(crate) struct BadPatience;

impl fmt::Display for BadPatience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a watchdog has a whole number of seconds, or 0 for none")
    }
}

static PATIENCE: AtomicU32 = AtomicU32::new(0);
/// Interrupts in a row that found the one before still waiting.
static MISSED: AtomicU32 = AtomicU32::new(0);

/// Watches from now on.
pub(crate) fn start(patience: Patience) {
    if patience.0 > 0 {
        PATIENCE.store(patience.0, Ordering::Relaxed);
        set_timer_watch(on_timer);
        time::interrupt_in_a_second();
    }
}

/// The timer has interrupted a task, and `is_missed` if it had done so before in the same turn.
///
/// It may have been anywhere but in a critical section. So nothing is used here that others have
/// half-changed: no heap, no waiting lines, no locks.
fn on_timer(frame: &Frame, is_missed: bool) {
    let missed = if is_missed { MISSED.load(Ordering::Relaxed).saturating_add(1) } else { 0 };
    MISSED.store(missed, Ordering::Relaxed);
    if missed > 0 && missed.is_multiple_of(PATIENCE.load(Ordering::Relaxed)) {
        // A line may have been in the middle.
        print_at_once(format_args!(
            "\nwatchdog: no task has had its turn for {missed} s: at {:#x}, and goes on",
            frame.rip
        ));
        for address in backtrace::return_addresses(frame.rbp) {
            print_at_once(format_args!("  from {address:#x}"));
        }
    }
    // If this turn ends, the executor arms the timer for what is really next.
    time::interrupt_in_a_second();
}

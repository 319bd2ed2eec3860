//! Printing that waits until nobody is kept from work by it.

use core::cell::RefCell;

use embassy_futures::yield_now;
use embassy_sync::blocking_mutex::CriticalSectionMutex;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::signal::Signal;
use embassy_time::{Duration, Instant, Timer};
use heapless::{Deque, Vec};

use super::recent::Recent;
use crate::arch::serial;

/// Bytes that wait at most. More are written at once: nothing is lost.
const MOST: usize = 4096;
/// Bytes written between two turns of the other tasks.
const PIECE: usize = 8;
/// How often a serial port that takes no bytes is asked again.
const BUSY: Duration = Duration::from_millis(1);
/// How long what waits is waited for, should nobody take it from the port.
const PATIENCE: Duration = Duration::from_millis(200);
/// Bytes of the last lines that are kept: some twenty.
const KEPT: usize = 2048;

struct Waiting {
    bytes: Deque<u8, MOST>,
    /// How many have been taken out, ever.
    taken: u64,
    /// There is a task that writes them.
    deferred: bool,
    /// How many [`Hold`]s there are.
    holds: usize,
}

static WAITING: CriticalSectionMutex<RefCell<Waiting>> =
    CriticalSectionMutex::new(RefCell::new(Waiting {
        bytes: Deque::new(),
        taken: 0,
        deferred: false,
        holds: 0,
    }));
struct LastLines {
    recent: Recent<KEPT>,
    /// The machine is about to end: what it says from then on is about what is here.
    is_closed: bool,
}

static LAST_LINES: CriticalSectionMutex<RefCell<LastLines>> =
    CriticalSectionMutex::new(RefCell::new(LastLines { recent: Recent::new(), is_closed: false }));
static MORE: Signal<CriticalSectionRawMutex, ()> = Signal::new();

/// Has the bytes written soon; at once if nobody else would, or there is no room.
pub(super) fn write(bytes: &[u8]) {
    let waits = with(|waiting| {
        let waits = waiting.deferred && waiting.bytes.len() + bytes.len() <= MOST;
        if waits {
            waiting.bytes.extend(bytes);
        }
        waits
    });
    if waits == Some(true) {
        MORE.signal(());
    } else {
        write_waiting();
        serial::write(bytes);
    }
}

/// Keeps the console silent for as long as it exists: what is printed waits, as far as there is
/// room for it. See [`hold`](super::hold).
#[must_use = "dropped, it holds nothing"]
#[derive(Debug)]
pub struct Hold(());

impl Hold {
    pub(super) fn new() -> Self {
        with(|waiting| waiting.holds += 1);
        Self(())
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        with(|waiting| waiting.holds -= 1);
        MORE.signal(());
    }
}

/// Writes what waits, and from now on everything at once: the machine is about to end.
pub(crate) fn finish() {
    LAST_LINES.lock(|last| {
        if let Ok(mut last) = last.try_borrow_mut() {
            last.is_closed = true;
        }
    });
    with(|waiting| waiting.deferred = false);
    write_waiting();
}

/// Keeps a piece of a line for [`print_last_lines`].
pub(super) fn keep(piece: &[u8]) {
    LAST_LINES.lock(|last| {
        // Not if a non-maskable interrupt came just here.
        if let Ok(mut last) = last.try_borrow_mut()
            && !last.is_closed
        {
            last.recent.write(piece);
        }
    });
}

/// Writes the last lines from before [`finish`], each with a mark in front, so that nobody takes
/// it for news.
pub(crate) fn print_last_lines() {
    LAST_LINES.lock(|last| {
        let Ok(last) = last.try_borrow() else { return };
        let mut is_start = true;
        for part in last.recent.pieces().iter().flat_map(|piece| piece.split_inclusive(is_end)) {
            if is_start {
                serial::write(b"  | ");
            }
            serial::write(part);
            is_start = part.last().is_some_and(is_end);
        }
    });
}

fn is_end(byte: &u8) -> bool {
    *byte == b'\n'
}

/// Writes what is printed from now on, for ever.
pub(crate) async fn write_deferred() -> ! {
    with(|waiting| waiting.deferred = true);
    loop {
        MORE.wait().await;
        while may_write() {
            if !serial::is_ready() {
                Timer::after(BUSY).await;
                continue;
            }
            if let Some(piece) = take() {
                serial::put(&piece);
            }
            yield_now().await;
        }
    }
}

/// Waits until what waits now is written, but not for long. What others print meanwhile may go on
/// waiting. Where the console is held, nothing is waited for.
pub(super) async fn written() {
    let end = with(|waiting| waiting.taken + waiting.bytes.len() as u64);
    let deadline = Instant::now() + PATIENCE;
    while with(|waiting| waiting.taken) < end && may_write() && Instant::now() < deadline {
        yield_now().await;
    }
}

fn write_waiting() {
    while let Some(piece) = take() {
        serial::write(&piece);
    }
}

/// There is something to write, and nobody minds.
fn may_write() -> bool {
    with(|waiting| !waiting.bytes.is_empty() && waiting.holds == 0) == Some(true)
}

fn take() -> Option<Vec<u8, PIECE>> {
    with(|waiting| {
        let bytes = core::iter::from_fn(|| waiting.bytes.pop_front());
        let piece: Vec<_, PIECE> = bytes.take(PIECE).collect();
        waiting.taken += piece.len() as u64;
        (!piece.is_empty()).then_some(piece)
    })
    .flatten()
}

/// `None` in a non-maskable interrupt that came just here: what it has to say does not wait.
fn with<R>(f: impl FnOnce(&mut Waiting) -> R) -> Option<R> {
    WAITING.lock(|waiting| Some(f(&mut *waiting.try_borrow_mut().ok()?)))
}

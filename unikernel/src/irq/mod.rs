//! Interrupts as things a task can wait for.
//!
//! The executor counts here what handlers have noted, and wakes whoever waits; all work is done in
//! tasks. Every handle remembers how far it has counted, so handles that share an interrupt each
//! see it once.

mod hardware;

use core::cell::RefCell;
use core::fmt;
use core::future::poll_fn;
use core::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use core::task::{Poll, Waker};

use critical_section::Mutex;
use embassy_sync::waitqueue::MultiWakerRegistration;

/// Message-signalled interrupts there are for all devices together.
pub const MESSAGES: usize = hardware::MESSAGES;
/// Input lines of the two 8259 controllers.
const LINES: usize = 16;
/// Tasks that can wait for one interrupt without waking each other needlessly.
const WAITERS: usize = 4;

/// What a device writes to raise an interrupt (MSI and MSI-X table entries).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MsiMessage {
    /// Where to write.
    pub address: u64,
    /// What to write.
    pub data: u32,
}

/// Why there is no interrupt to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// All [`MESSAGES`] are in use.
    Exhausted,
    /// There is no such line, or no 8259 controller behind it.
    NoSuchLine(u8),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exhausted => write!(f, "all {MESSAGES} interrupt vectors are in use"),
            Self::NoSuchLine(line) => write!(f, "there is no interrupt line {line}"),
        }
    }
}

struct Source {
    /// Handles alive; 0 means free.
    handles: AtomicU16,
    raised: AtomicU32,
    waiters: Mutex<RefCell<MultiWakerRegistration<WAITERS>>>,
}

impl Source {
    const fn new() -> Self {
        Self {
            handles: AtomicU16::new(0),
            raised: AtomicU32::new(0),
            waiters: Mutex::new(RefCell::new(MultiWakerRegistration::new())),
        }
    }

    fn raise(&self) {
        critical_section::with(|section| {
            self.raised
                .store(self.raised.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
            self.waiters.borrow_ref_mut(section).wake();
        });
    }

    fn register(&self, waker: &Waker) {
        critical_section::with(|section| self.waiters.borrow_ref_mut(section).register(waker));
    }
}

/// The lines first, the messages after them.
static SOURCES: [Source; LINES + MESSAGES] = [const { Source::new() }; LINES + MESSAGES];

/// A handle to one interrupt. Clones wait independently; the last one dropped frees the vector.
pub struct Interrupt {
    index: usize,
    seen: AtomicU32,
}

/// Takes a free message-signalled interrupt.
///
/// # Errors
/// [`Error::Exhausted`].
pub fn allocate() -> Result<Interrupt, Error> {
    for (index, source) in SOURCES.iter().enumerate().skip(LINES) {
        if source.handles.compare_exchange(0, 1, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            return Ok(Interrupt::new(index));
        }
    }
    Err(Error::Exhausted)
}

/// The interrupt of an 8259 input line, as the Interrupt Line register of a PCI function names
/// it (PCI 3.0, section 6.2.4). Several functions may share a line.
///
/// The line is level-triggered: the handler masks it, and it stays masked until a driver that
/// has serviced its device calls [`Interrupt::unmask`]. It starts out unmasked.
///
/// # Errors
/// [`Error::NoSuchLine`] for a line the controllers do not have (255 means "not connected").
pub fn legacy(line: u8) -> Result<Interrupt, Error> {
    // Line 2 is where the second controller hangs on the first.
    if usize::from(line) >= LINES || line == 2 || !hardware::has_lines() {
        return Err(Error::NoSuchLine(line));
    }
    SOURCES[usize::from(line)].handles.fetch_add(1, Ordering::Relaxed);
    let interrupt = Interrupt::new(line.into());
    interrupt.unmask();
    Ok(interrupt)
}

impl Interrupt {
    fn new(index: usize) -> Self {
        let seen = AtomicU32::new(SOURCES[index].raised.load(Ordering::Acquire));
        Self { index, seen }
    }

    fn source(&self) -> &'static Source {
        &SOURCES[self.index]
    }

    /// What the device must write to raise this interrupt.
    ///
    /// # Panics
    /// For an interrupt from [`legacy`], which has no message.
    pub fn message(&self) -> MsiMessage {
        assert!(self.index >= LINES, "line {} is not message-signalled", self.index);
        let (address, data) = hardware::message(self.index - LINES);
        MsiMessage { address, data }
    }

    /// Whether the interrupt was raised since this handle last looked, in `take` or `wait`.
    pub fn take(&self) -> bool {
        let raised = self.source().raised.load(Ordering::Acquire);
        let seen = self.seen.load(Ordering::Relaxed);
        self.seen.store(raised, Ordering::Relaxed);
        raised != seen
    }

    /// Waits until [`take`](Self::take) would say yes, and takes it.
    pub async fn wait(&self) {
        // A line that several functions share goes down only when all are serviced, and is raised
        // again at once by the unmasking of those that have been. The others' tasks get their turn
        // first; else one task would service its own function for ever.
        let mut has_yielded = self.index >= LINES;
        poll_fn(|context| {
            // Register first: an interrupt between the look and the registration would be lost.
            self.source().register(context.waker());
            if !has_yielded {
                has_yielded = true;
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            if self.take() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Lets a line from [`legacy`] interrupt again; nothing for a message.
    pub fn unmask(&self) {
        if self.index < LINES {
            hardware::unmask(self.index as u8);
        }
    }

    /// Raises the interrupt, in place of a device.
    #[cfg(not(target_os = "none"))]
    pub fn trigger(&self) {
        self.source().raise();
    }
}

impl Clone for Interrupt {
    fn clone(&self) -> Self {
        self.source().handles.fetch_add(1, Ordering::Relaxed);
        Self { index: self.index, seen: AtomicU32::new(self.seen.load(Ordering::Relaxed)) }
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        let last = self.source().handles.fetch_sub(1, Ordering::Relaxed) == 1;
        if last && self.index < LINES {
            hardware::mask(self.index as u8);
        }
    }
}

impl fmt::Debug for Interrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.index.checked_sub(LINES) {
            None => write!(f, "line {}", self.index),
            Some(message) => write!(f, "message {message}"),
        }
    }
}

/// Called by the executor: message `index` arrived.
#[cfg(target_os = "none")]
pub(crate) fn raise_message(index: usize) {
    SOURCES[LINES + index].raise();
}

/// Called by the executor: `line` is asserted, and masked by now.
#[cfg(target_os = "none")]
pub(crate) fn raise_line(line: u8) {
    SOURCES[usize::from(line)].raise();
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::future::Future;
    use core::pin::pin;
    use core::task::Context;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::vec::Vec;

    struct Count(AtomicUsize);

    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_waiter_is_woken_and_sees_several_interrupts_as_one() {
        let interrupt = allocate().unwrap();
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let waker = count.clone().into();
        let mut context = Context::from_waker(&waker);
        let mut wait = pin!(interrupt.wait());
        assert!(wait.as_mut().poll(&mut context).is_pending());
        interrupt.trigger();
        interrupt.trigger();
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert!(wait.as_mut().poll(&mut context).is_ready());
        assert!(!interrupt.take());
    }

    #[test]
    fn an_interrupt_before_the_wait_is_not_lost() {
        let interrupt = allocate().unwrap();
        interrupt.trigger();
        let mut wait = pin!(interrupt.wait());
        assert!(wait.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
    }

    #[test]
    fn handles_that_share_a_line_each_see_it() {
        let (a, b) = (legacy(11).unwrap(), legacy(11).unwrap());
        a.trigger();
        assert!(a.take() && b.take());
        assert!(!a.take() && !b.take());
        assert_eq!(legacy(2).unwrap_err(), Error::NoSuchLine(2));
        assert_eq!(legacy(255).unwrap_err(), Error::NoSuchLine(255));
    }

    #[test]
    fn waiting_for_a_line_lets_others_run_first() {
        let line = legacy(9).unwrap();
        line.trigger();
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let waker = count.clone().into();
        let mut context = Context::from_waker(&waker);
        let mut wait = pin!(line.wait());
        assert!(wait.as_mut().poll(&mut context).is_pending());
        assert_eq!(count.0.load(Ordering::Relaxed), 1, "comes back by itself");
        assert!(wait.as_mut().poll(&mut context).is_ready());
    }

    #[test]
    fn messages_are_distinct_and_come_back() {
        // Other tests hold a few at the same time; a round that leaks runs out soon.
        for _ in 0..MESSAGES {
            let held: Vec<_> = (0..MESSAGES / 2).map(|_| allocate().unwrap()).collect();
            let mut data: Vec<_> = held.iter().map(|held| held.message().data).collect();
            data.sort_unstable();
            data.dedup();
            assert_eq!(data.len(), held.len());
            let clone = held[0].clone();
            drop(held);
            assert_ne!(allocate().unwrap().message(), clone.message());
        }
    }
}

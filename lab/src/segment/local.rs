//! The end of a port that is inside this process.

use super::frame::Frame;
use crate::clock::Clock;
use mio::Waker;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::time::{Duration, Instant};

/// Frames the sending side may be ahead of the switch.
const AHEAD: usize = 256;

/// What the switch does with a frame from a port inside the process when the port it is for is
/// full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// It drops, as a switch does.
    Drop,
    /// It lets the sender wait, which gives the rate the receiver can take without burning a
    /// processor to lose the rest.
    Wait,
}

pub(super) struct Inbox {
    state: Mutex<State>,
    room: Condvar,
}

struct State {
    frames: VecDeque<Frame>,
    when_full: WhenFull,
    closed: bool,
}

impl Inbox {
    pub(super) fn new() -> Arc<Self> {
        let state = State { frames: VecDeque::new(), when_full: WhenFull::Drop, closed: false };
        Arc::new(Self { state: Mutex::new(state), room: Condvar::new() })
    }

    /// Hands waiting frames to `forward` until it returns one. Returns whether some had to stay.
    pub(super) fn drain(&self, mut forward: impl FnMut(Frame, WhenFull) -> Option<Frame>) -> bool {
        let mut state = self.state.lock().unwrap();
        let when_full = state.when_full;
        let mut blocked = false;
        while let Some(frame) = state.frames.pop_front() {
            if let Some(frame) = forward(frame, when_full) {
                state.frames.push_front(frame);
                blocked = true;
                break;
            }
        }
        if state.frames.len() < AHEAD {
            self.room.notify_all();
        }
        blocked
    }

    pub(super) fn close(&self) {
        self.state.lock().unwrap().closed = true;
        self.room.notify_all();
    }
}

/// Sends into the segment.
pub struct Sender {
    pub(super) clock: Clock,
    pub(super) inbox: Arc<Inbox>,
    pub(super) waker: Arc<Waker>,
}

impl Sender {
    /// The segment's clock.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Chooses what happens to frames the receiver has no room for.
    pub fn when_full(&self, choice: WhenFull) {
        self.inbox.state.lock().unwrap().when_full = choice;
    }

    /// Gives `frames` to the switch, in order, and waits while too many are under way already.
    /// Frames that had to wait longer than `patience` stay in `frames`.
    pub fn send(&self, frames: &mut VecDeque<Frame>, patience: Duration) {
        let deadline = Instant::now() + patience;
        let mut state = self.inbox.state.lock().unwrap();
        loop {
            while state.frames.len() < AHEAD
                && let Some(frame) = frames.pop_front()
            {
                state.frames.push_back(frame);
            }
            // A failure to wake can only mean that the switch's poll is gone, and with it the
            // segment.
            let _ = self.waker.wake();
            let left = deadline.saturating_duration_since(Instant::now());
            if frames.is_empty() || state.closed || left.is_zero() {
                return;
            }
            state = self.inbox.room.wait_timeout(state, left).unwrap().0;
        }
    }
}

/// Receives what the segment has for this port.
pub struct Receiver {
    pub(super) frames: mpsc::Receiver<(Frame, Instant)>,
}

impl Receiver {
    /// The next frame, or `None` when none came within `patience` or the segment is gone.
    pub fn receive(&self, patience: Duration) -> Option<Frame> {
        Some(self.receive_with_time(patience)?.0)
    }

    /// The same, with when the switch had it, by the switch's clock.
    pub fn receive_with_time(&self, patience: Duration) -> Option<(Frame, Instant)> {
        self.frames.recv_timeout(patience).ok()
    }
}

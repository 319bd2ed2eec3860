//! The frames waiting to leave through a port.

use super::frame::Frame;
use std::collections::VecDeque;
use std::io::IoSlice;
use std::time::{Duration, Instant};

/// Frames a port holds at most: 3 MiB, a port's share of what switches have, and enough to bridge
/// the moments in which a busy machine does not run the NIC's emulation.
pub(super) const CAPACITY: usize = 2048;
/// A frame older than this is dropped. A NIC that starts to receive must not be given what was
/// meant for a time when it did not: a port is a wire with a little buffer, not a mailbox.
pub(super) const LIFETIME: Duration = Duration::from_millis(100);

/// Bounded in number and age; the oldest frames give way.
#[derive(Debug, Default)]
pub(super) struct Queue {
    frames: VecDeque<(Frame, Instant)>,
    /// Bytes of the front frame that the peer has already been given. Such a frame has to be
    /// finished, or the stream loses its framing.
    sent: usize,
    dropped: u64,
}

impl Queue {
    /// Appends `frame`, at the cost of the oldest when there is no room.
    pub(super) fn push(&mut self, frame: Frame, now: Instant) {
        if self.frames.len() == CAPACITY {
            self.drop_oldest();
        }
        self.frames.push_back((frame, now));
    }

    /// Drops the frames that have waited too long.
    pub(super) fn expire(&mut self, now: Instant) {
        while self.oldest().is_some_and(|at| now.duration_since(at) > LIFETIME) {
            self.drop_oldest();
        }
    }

    /// Whether another frame fits without costing one.
    pub(super) fn has_room(&self) -> bool {
        self.frames.len() < CAPACITY
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Frames dropped so far.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The bytes to write next, as many frames as there are slices.
    pub(super) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut used = 0;
        for (slice, (frame, _)) in slices.iter_mut().zip(&self.frames) {
            let skip = if used == 0 { self.sent } else { 0 };
            *slice = IoSlice::new(&frame.wire()[skip..]);
            used += 1;
        }
        used
    }

    /// Takes `written` bytes off the front. Returns the number of frames finished.
    pub(super) fn advance(&mut self, written: usize) -> u64 {
        self.sent += written;
        let mut finished = 0;
        while let Some((front, _)) = self.frames.front() {
            if self.sent < front.wire().len() {
                break;
            }
            self.sent -= front.wire().len();
            self.frames.pop_front();
            finished += 1;
        }
        finished
    }

    /// The oldest frame.
    pub(super) fn take(&mut self) -> Option<Frame> {
        Some(self.frames.pop_front()?.0)
    }

    /// Forgets all frames: the peer is gone.
    pub(super) fn clear(&mut self) {
        self.dropped += self.frames.len() as u64;
        self.frames.clear();
        self.sent = 0;
    }

    fn first_droppable(&self) -> usize {
        usize::from(self.sent > 0)
    }

    fn oldest(&self) -> Option<Instant> {
        self.frames.get(self.first_droppable()).map(|(_, at)| *at)
    }

    fn drop_oldest(&mut self) {
        self.frames.remove(self.first_droppable());
        self.dropped += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(tag: u8) -> Frame {
        Frame::build(20, |b| b.resize(24, tag))
    }

    fn drain(queue: &mut Queue) -> Vec<u8> {
        let mut bytes = Vec::new();
        while !queue.is_empty() {
            let mut slices = [IoSlice::new(&[]); 4];
            let used = queue.slices(&mut slices);
            // As a socket that takes an odd number of bytes each time.
            let chunk: Vec<u8> =
                slices[..used].iter().flat_map(|s| s.iter().copied()).take(7).collect();
            queue.advance(chunk.len());
            bytes.extend(chunk);
        }
        bytes
    }

    #[test]
    fn partial_writes_keep_the_stream_whole() {
        let mut queue = Queue::default();
        let now = Instant::now();
        let expected: Vec<u8> = (1..=5).flat_map(|t| frame(t).wire().to_vec()).collect();
        (1..=5).for_each(|t| queue.push(frame(t), now));
        assert_eq!(drain(&mut queue), expected);
    }

    #[test]
    fn the_oldest_gives_way_but_never_one_half_sent() {
        let mut queue = Queue::default();
        let now = Instant::now();
        queue.push(frame(1), now);
        assert_eq!(queue.advance(3), 0);
        for _ in 0..CAPACITY {
            queue.push(frame(2), now);
        }
        assert!(!queue.has_room());
        assert_eq!(queue.dropped(), 1);
        queue.expire(now + LIFETIME * 2);
        assert_eq!(queue.dropped(), CAPACITY as u64);
        assert_eq!(drain(&mut queue), frame(1).wire()[3..]);
    }

    #[test]
    fn frames_expire() {
        let mut queue = Queue::default();
        let now = Instant::now();
        queue.push(frame(1), now);
        queue.push(frame(2), now + LIFETIME);
        queue.expire(now + LIFETIME + Duration::from_millis(1));
        assert_eq!(drain(&mut queue), frame(2).wire());
    }
}

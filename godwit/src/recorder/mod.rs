//! The flight recorder: the last received frames, in the DMA pages they arrived in.
//!
//! Each frame is kept as the [`RxBuffer`] the driver received, together with a CRC-32C taken at
//! that moment and kept in ordinary memory. Nothing ever writes to the frame again, so a frame that
//! no longer matches its checksum was changed behind the guest's back: after a live migration that
//! means a page the hypervisor did not know to be dirty.
//!
//! So it is the proof that a migration lost nothing, and any application can have it: `recorder=4M`
//! on the command line. Its frames are checked whenever a migration has ended.
//!
//! [`Recorder::check`] looks at every frame held when it starts, or when it was announced
//! ([`Recorder::hold_for_check`]). It works in slices so that the stack keeps moving, and frames
//! that have to make room for new ones meanwhile are looked at as they go.

mod crc;
mod service;

use alloc::collections::VecDeque;
use alloc::rc::Rc;
use core::cell::RefCell;

use embassy_futures::yield_now;
use embassy_time::Instant;
use unikernel::dma::{Pool, RxBuffer, SLOT_SIZE};
use unikernel::net::Observer;

use crc::Crc32c;
pub(crate) use service::start;

/// Frames looked at before other tasks get their turn.
const SLICE: usize = 32;
/// Slots of the pool left to the driver's rings and to frames on their way, or three quarters of it
/// where that is less.
const RESERVE: usize = 2048;

/// How many slots a recorder of `bytes` keeps in a pool of `slots`. A frame takes one, or several
/// with jumbo frames.
///
/// # Errors
/// If the pool has no room for so many: how many it has room for.
fn capacity(bytes: u64, slots: u32) -> Result<usize, usize> {
    let wanted = usize::try_from(bytes / SLOT_SIZE as u64).unwrap_or(usize::MAX);
    let slots = slots as usize;
    let room = slots - RESERVE.min(slots / 4 * 3);
    if wanted <= room { Ok(wanted) } else { Err(room) }
}

/// A rolling capture. A handle, cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    ring: Rc<RefCell<Ring>>,
    pool: &'static Pool,
}

struct Ring {
    crc: Crc32c,
    frames: VecDeque<Frame>,
    /// Most slots that may be held, and so most frames. The queue never grows beyond what it was
    /// made with.
    capacity: usize,
    /// Slots that are held.
    slots: usize,
    /// Number of the oldest frame held; they are numbered from 0 in the order of arrival.
    first: u64,
    /// How many of the frames held arrived while the hypervisor was logging.
    logged: usize,
    check: Option<Progress>,
}

struct Frame {
    buffer: RxBuffer,
    crc: u32,
    at: Instant,
    /// Number of the interface that it came in by.
    interface: u8,
}

/// What one interface receives, for the recorder.
pub(crate) struct Ear {
    recorder: Recorder,
    interface: u8,
}

/// A frame that is held.
#[derive(Clone, Copy, Debug)]
pub struct Kept<'a> {
    /// They are numbered in the order of arrival.
    pub number: u64,
    /// When the batch was begun that it came in.
    pub at: Instant,
    /// Number of the interface that it came in by.
    pub interface: usize,
    /// From the Ethernet header on.
    pub bytes: &'a [u8],
}

/// A check that is under way.
struct Progress {
    /// Number of the next frame to look at.
    next: u64,
    /// Number of the first frame that arrived too late for this check.
    end: u64,
    /// Somebody carries it out. Before that, only frames that go are looked at.
    begun: bool,
    report: Report,
}

/// What a check found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Frames looked at.
    pub checked: u64,
    /// Those that arrived while the hypervisor was logging.
    pub while_logging: u64,
    /// Those that are not what they were.
    pub stale: u64,
}

impl Recorder {
    /// A recorder that keeps up to `capacity` frames of one slot.
    pub(crate) fn new(capacity: usize, pool: &'static Pool) -> Self {
        let ring = Rc::new(RefCell::new(Ring {
            crc: Crc32c::fastest(),
            frames: VecDeque::with_capacity(capacity),
            capacity,
            slots: 0,
            first: 0,
            logged: 0,
            check: None,
        }));
        Self { ring, pool }
    }

    /// Which implementation of CRC-32C is in use.
    pub fn crc_name(&self) -> &'static str {
        self.ring.borrow().crc.name()
    }

    /// Frames held, and those among them that arrived while the hypervisor was logging.
    pub fn held(&self) -> (usize, usize) {
        let ring = self.ring.borrow();
        (ring.frames.len(), ring.logged)
    }

    /// Most slots that are held, and so most frames.
    pub fn capacity(&self) -> usize {
        self.ring.borrow().capacity
    }

    /// Has the next check be one of the frames that are held now, though there is no time for it
    /// yet.
    pub fn hold_for_check(&self) {
        self.ring.borrow_mut().next_check();
    }

    /// Checks every frame that is held now, or was when [`hold_for_check`](Self::hold_for_check)
    /// was called, and says on the console what it found. Scripts read these lines.
    ///
    /// If another check is under way, waits for its end and then does its own.
    pub async fn check(&self) -> Report {
        let report = self.look().await;
        let dma = self.pool.statistics();
        unikernel::println!(
            "dma: marked {} caught-up {} received {}",
            dma.pages_marked,
            dma.pages_caught_up,
            dma.buffers_received
        );
        unikernel::println!("recorder: while-logging {}", report.while_logging);
        unikernel::println!("recorder: checked {} stale {}", report.checked, report.stale);
        report
    }

    /// The check itself.
    async fn look(&self) -> Report {
        while self.ring.borrow().check.as_ref().is_some_and(|check| check.begun) {
            yield_now().await;
        }
        self.ring.borrow_mut().next_check().begun = true;
        // Dropped in the middle, it must not keep others from checking.
        let guard = EndCheck(self);
        while self.ring.borrow_mut().check_slice() {
            yield_now().await;
        }
        let report = self.ring.borrow().check.as_ref().map(|check| check.report);
        drop(guard);
        report.unwrap_or_default()
    }

    /// What is to see the frames of the interface of this number.
    pub(crate) fn ear(&self, interface: usize) -> Ear {
        // A machine has a few.
        Ear { recorder: self.clone(), interface: u8::try_from(interface).unwrap_or(u8::MAX) }
    }

    /// Whether it keeps any frames at all.
    pub(crate) fn keeps_frames(&self) -> bool {
        self.ring.borrow().capacity != 0
    }

    /// The number that the next frame to arrive will have.
    pub fn next_number(&self) -> u64 {
        let ring = self.ring.borrow();
        ring.first + ring.frames.len() as u64
    }

    /// Calls `f` with the oldest frame whose number is at least `number`. `None` if there is no
    /// such frame.
    pub fn frame_from<R>(&self, number: u64, f: impl FnOnce(Kept<'_>) -> R) -> Option<R> {
        let ring = self.ring.borrow();
        let number = number.max(ring.first);
        let frame = ring.frames.get(usize::try_from(number - ring.first).ok()?)?;
        let Frame { at, interface, .. } = *frame;
        Some(f(Kept { number, at, interface: interface.into(), bytes: &frame.buffer }))
    }
}

struct EndCheck<'a>(&'a Recorder);

impl Drop for EndCheck<'_> {
    fn drop(&mut self) {
        self.0.ring.borrow_mut().check = None;
    }
}

impl Observer for Ear {
    fn received(&mut self, frame: RxBuffer, at: Instant) -> Option<RxBuffer> {
        self.recorder.ring.borrow_mut().push(frame, self.interface, at);
        None
    }
}

impl Ring {
    fn push(&mut self, buffer: RxBuffer, interface: u8, at: Instant) {
        let slots = buffer.memory() / SLOT_SIZE;
        if slots > self.capacity {
            return;
        }
        while self.slots + slots > self.capacity {
            self.evict();
        }
        self.slots += slots;
        self.logged += usize::from(buffer.logged());
        let crc = self.crc.of(&buffer);
        self.frames.push_back(Frame { buffer, crc, at, interface });
    }

    fn evict(&mut self) {
        let Some(frame) = self.frames.pop_front() else { return };
        if let Some(check) = &mut self.check
            && (check.next..check.end).contains(&self.first)
        {
            // The check starts at the oldest frame, so the one that goes is the next in line.
            check.look_at(&frame, self.crc);
        }
        self.slots -= frame.buffer.memory() / SLOT_SIZE;
        self.logged -= usize::from(frame.buffer.logged());
        self.first += 1;
    }

    /// The check there is; if there is none, one of what is held now.
    fn next_check(&mut self) -> &mut Progress {
        let end = self.first + self.frames.len() as u64;
        let report = Report::default();
        self.check.get_or_insert(Progress { next: self.first, end, begun: false, report })
    }

    /// Looks at some frames. Returns whether there are more.
    fn check_slice(&mut self) -> bool {
        let Some(check) = &mut self.check else { return false };
        for _ in 0..SLICE {
            if check.next >= check.end {
                return false;
            }
            let index = (check.next - self.first) as usize;
            check.look_at(&self.frames[index], self.crc);
        }
        true
    }
}

impl Progress {
    fn look_at(&mut self, frame: &Frame, crc: Crc32c) {
        self.next += 1;
        self.report.checked += 1;
        self.report.while_logging += u64::from(frame.buffer.logged());
        self.report.stale += u64::from(crc.of(&frame.buffer) != frame.crc);
    }
}

#[cfg(test)]
mod tests;

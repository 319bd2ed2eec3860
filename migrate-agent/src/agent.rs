use crate::registers::{
    ACK, CONTROL, Control, EPOCH, FEATURES, Features, MARKED, STATUS, Status, validate,
};
use crate::{Registers, Unusable};

/// The part of the DMA layer that the agent drives.
pub trait Marker {
    /// From now on, mark what devices complete.
    fn start(&mut self);
    /// Mark what they may have completed unmarked: a slice of it, short enough for a NIC to wait,
    /// from `from` on, which is 0 for the first.
    fn catch_up(&mut self, from: u32) -> Slice;
    /// No need to mark any more. Balances [`Marker::start`].
    fn stop(&mut self);
    /// Pages marked since boot, caught-up ones included.
    fn marked(&self) -> u64;
}

/// What a call of [`Marker::catch_up`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    /// Pages marked.
    pub pages: u64,
    /// Where the next slice begins; `None` when all is marked.
    pub next: Option<u32>,
}

/// What a poll found and has already acted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing new.
    None,
    /// The hypervisor logs, the guest marks and is catching up: to be polled again as soon as
    /// others had their turn.
    CatchingUp,
    /// The hypervisor logs, or logs afresh; the guest marks and has caught up.
    LoggingStarted {
        /// The EPOCH acknowledged.
        epoch: u32,
        /// Pages caught up.
        caught_up: u64,
    },
    /// The hypervisor logs no longer, and the machine is where it was.
    LoggingStopped {
        /// The EPOCH acknowledged.
        epoch: u32,
    },
    /// The machine is on the destination, where nobody logs yet.
    Moved {
        /// The EPOCH acknowledged.
        epoch: u32,
    },
    /// The devices below are to be quiesced, which [`Agent::quiesced`] is to be told of. Nothing
    /// is acknowledged before.
    QuiesceRequested,
    /// The hypervisor knows that the devices below are quiet. They must not be touched any more.
    Quiesced {
        /// The EPOCH acknowledged.
        epoch: u32,
    },
    /// A change that asks for nothing but what [`Agent::take_release`] says.
    Other {
        /// The EPOCH acknowledged.
        epoch: u32,
    },
}

/// A catch-up under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct CatchUp {
    /// The EPOCH to acknowledge at its end.
    epoch: u32,
    from: u32,
    pages: u64,
}

/// The agent of one bridge. Two that are equal do the same from here on, whatever they meet: model
/// checking rests on that.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Agent<R> {
    registers: R,
    features: Features,
    control: Control,
    /// The EPOCH acknowledged last, if any.
    epoch: Option<u32>,
    /// Whether its STATUS had LOGGING.
    was_logging: bool,
    /// The hypervisor logs.
    logging: bool,
    /// Marking is on.
    marking: bool,
    /// The catch-up under way.
    catch_up: Option<CatchUp>,
    /// The EPOCH that was caught up for, and the pages that were.
    caught_up: Option<(u32, u64)>,
    /// The devices below are quiet, as asked for.
    quiet: bool,
    /// They may be used again, and nobody has been told yet.
    release: bool,
    /// [`Marker::marked`] when logging began.
    marked_before: u64,
    /// What MARKED has.
    marked: u32,
}

impl<R: Registers> Agent<R> {
    /// Looks at a capability. Nothing is promised yet: see [`Agent::promise`].
    ///
    /// # Errors
    /// [`Unusable`] says why it is none; the devices below are then marked for always.
    pub fn probe(registers: R) -> Result<Self, Unusable> {
        let features = validate(&registers)?;
        Ok(Self {
            registers,
            features,
            control: Control::empty(),
            epoch: None,
            was_logging: false,
            logging: false,
            marking: false,
            catch_up: None,
            caught_up: None,
            quiet: false,
            release: false,
            marked_before: 0,
            marked: 0,
        })
    }

    /// What the hypervisor offers.
    pub fn features(&self) -> Features {
        self.features
    }

    /// Whether the hypervisor logs, as of the last poll.
    pub fn logging(&self) -> bool {
        self.logging
    }

    /// The devices below have been quiesced: see [`Event::QuiesceRequested`].
    pub fn quiesced(&mut self) {
        self.quiet = true;
    }

    /// Whether the devices below are quiet, as asked for.
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Whether they may be used again since the last call, or may be others: those that are not in
    /// use are as after a reset.
    pub fn take_release(&mut self) -> bool {
        core::mem::take(&mut self.release)
    }

    /// The EPOCH acknowledged last; 0, which no EPOCH is, before the first poll.
    pub fn epoch(&self) -> u32 {
        self.epoch.unwrap_or(0)
    }

    /// Tells the hypervisor what to count on: `marking`, that every driver below the bridge marks
    /// what its device writes, so that the devices may stay; `interrupt`, that changes are to
    /// raise the bridge's interrupt. To be followed by a poll, and repeated when either changes.
    pub fn promise(&mut self, marking: bool, interrupt: bool) {
        self.control.set(Control::MARKING, marking);
        self.control.set(Control::IRQ, interrupt);
        self.registers.write16(CONTROL, self.control.bits());
    }

    /// Sees whether something changed, and acts on it. Called after [`Agent::promise`], at the
    /// bridge's interrupt, and every so often in case one is lost; again and again until it
    /// returns [`Event::None`], since an interrupt may stand for several changes.
    pub fn poll(&mut self, marker: &mut impl Marker) -> Event {
        // EPOCH before STATUS: a change between the two makes the STATUS newer than the EPOCH to be
        // acknowledged, and an acknowledgement of a past EPOCH is not taken for one. The other way
        // round, a new EPOCH would be acknowledged for an old STATUS.
        let epoch = self.registers.read32(EPOCH);
        if Some(epoch) == self.epoch {
            if self.marking {
                self.report(marker);
            }
            return Event::None;
        }
        let status = self.registers.read16(STATUS);
        if status == u16::MAX {
            // Reserved bits are zero: this bridge is gone.
            return Event::None;
        }
        let status = Status::from_bits_truncate(status);
        let stopped = self.was_logging;
        if !status.contains(Status::LOGGING) {
            self.stop(marker);
        } else if !self.is_same_log(epoch) && !self.catch_up(epoch, marker) {
            return Event::CatchingUp;
        }
        if status.contains(Status::QUIESCE) && !self.quiet {
            return Event::QuiesceRequested;
        }
        let event = match self.caught_up.take() {
            Some((_, caught_up)) => Event::LoggingStarted { epoch, caught_up },
            // The state the guest was started in is no news.
            None if self.epoch.is_none() && !self.quiet => Event::None,
            None if status.contains(Status::MOVED) => Event::Moved { epoch },
            None if status.contains(Status::QUIESCE) => Event::Quiesced { epoch },
            None if self.logging || (self.quiet && !stopped) => Event::Other { epoch },
            None => Event::LoggingStopped { epoch },
        };
        if !status.contains(Status::QUIESCE) {
            // What was closed when the machine was enumerated may have been opened before this,
            // the first poll. Where STATUS has never changed, nothing ever was.
            let may_have_been_closed = self.epoch.is_none() && epoch != 1;
            self.release |= core::mem::take(&mut self.quiet)
                || may_have_been_closed
                || matches!(event, Event::Moved { .. });
        }
        self.epoch = Some(epoch);
        self.was_logging = self.logging;
        self.registers.write32(ACK, epoch);
        event
    }

    /// Whether the log of `epoch` is the one of the EPOCH acknowledged last. It is if a single
    /// change lies between them: to go off and on takes two.
    fn is_same_log(&self, epoch: u32) -> bool {
        let next = |epoch: u32| epoch.wrapping_add(1).max(1);
        self.was_logging && self.epoch.is_some_and(|last| next(last) == epoch)
    }

    /// One slice of catching up; `true` with the last. Also for a log that went off and on again
    /// between two polls. Marking was on all the while then, and nothing can be missing from the
    /// new log; catching up all the same keeps the meaning of ACK a single one.
    fn catch_up(&mut self, epoch: u32, marker: &mut impl Marker) -> bool {
        if self.caught_up.is_some_and(|(done, _)| done == epoch) {
            return true;
        }
        self.logging = true;
        // Looked at anew: the destination's devices may be others.
        self.features = Features::from_bits_truncate(self.registers.read8(FEATURES));
        if self.features.contains(Features::DMA_LOGGED) {
            self.stop_marking(marker);
            self.caught_up = Some((epoch, 0));
            return true;
        }
        if !self.marking {
            marker.start();
            self.marking = true;
        }
        let mut at = match self.catch_up.take() {
            Some(at) if at.epoch == epoch => at,
            _ => {
                self.marked_before = marker.marked();
                CatchUp { epoch, from: 0, pages: 0 }
            }
        };
        let slice = marker.catch_up(at.from);
        at.pages += slice.pages;
        if let Some(from) = slice.next {
            self.catch_up = Some(CatchUp { from, ..at });
            return false;
        }
        self.report(marker);
        self.caught_up = Some((epoch, at.pages));
        true
    }

    fn stop(&mut self, marker: &mut impl Marker) {
        self.stop_marking(marker);
        self.logging = false;
        self.caught_up = None;
    }

    fn stop_marking(&mut self, marker: &mut impl Marker) {
        if self.marking {
            self.report(marker);
            marker.stop();
            self.marking = false;
        }
        self.catch_up = None;
    }

    fn report(&mut self, marker: &impl Marker) {
        let since = marker.marked().saturating_sub(self.marked_before);
        let marked = u32::try_from(since).unwrap_or(u32::MAX);
        if marked != self.marked {
            self.registers.write32(MARKED, marked);
            self.marked = marked;
        }
    }
}

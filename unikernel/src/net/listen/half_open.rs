//! Handshakes that were answered and not completed yet: a SYN cache (RFC 4987, section 3.5).
//!
//! A few bytes for each instead of a socket with its buffers, in a table that is allocated once and
//! never grows. Where it is full the oldest goes.

use alloc::vec::Vec;

use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{EthernetAddress, IpEndpoint, TcpSeqNumber};

use crate::net::error::Error;
use crate::net::memory::filled;

/// Entries among which one has its place, and with whom it competes for it. Who shares a set is
/// chosen by a secret, so nobody can aim at another's.
const WAYS: usize = 8;
const SETS: usize = 256;
/// How often the table is looked through.
const SWEEP: Duration = Duration::from_secs(1);
/// How long a handshake may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// Answers to one SYN, the first included: at once, and after 1, 3 and 7 seconds.
const ANSWERS: u8 = 4;

/// A handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::net) struct HalfOpen {
    pub(in crate::net) local: IpEndpoint,
    pub(in crate::net) peer: IpEndpoint,
    /// Where its SYN came from.
    pub(in crate::net) station: EthernetAddress,
    pub(in crate::net) syn: Syn,
    /// Our sequence number.
    pub(in crate::net) number: TcpSeqNumber,
    /// Our window, and how later ones are scaled if the peer knows of that.
    pub(in crate::net) window: u16,
    pub(in crate::net) shift: u8,
    pub(in crate::net) since: Instant,
    pub(in crate::net) answers: u8,
}

/// What a SYN offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::net) struct Syn {
    pub(in crate::net) number: TcpSeqNumber,
    pub(in crate::net) window: u16,
    pub(in crate::net) max_segment: Option<u16>,
    pub(in crate::net) scale: Option<u8>,
    pub(in crate::net) sack: bool,
}

#[derive(Default)]
pub(super) struct Table {
    /// Empty until [`reserve`](Self::reserve).
    entries: Vec<Option<HalfOpen>>,
    len: usize,
    evicted: u64,
    sweep_at: Option<Instant>,
}

impl Table {
    /// Has memory from here on.
    pub(super) fn reserve(&mut self) -> Result<(), Error> {
        if self.entries.is_empty() {
            self.entries = filled(WAYS * SETS, None)?;
        }
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Handshakes that had to make room for others.
    pub(super) fn evicted(&self) -> u64 {
        self.evicted
    }

    fn set(&mut self, hash: u64) -> &mut [Option<HalfOpen>] {
        let first = hash as usize % SETS * WAYS;
        self.entries.get_mut(first..first + WAYS).unwrap_or_default()
    }

    /// The handshake between these two.
    pub(super) fn find(
        &mut self,
        hash: u64,
        local: IpEndpoint,
        peer: IpEndpoint,
    ) -> Option<&mut Option<HalfOpen>> {
        let is_it = |entry: &HalfOpen| entry.local == local && entry.peer == peer;
        self.set(hash).iter_mut().find(|entry| entry.as_ref().is_some_and(is_it))
    }

    /// Takes up a handshake. There is none yet between these two.
    pub(super) fn insert(&mut self, hash: u64, entry: HalfOpen) {
        self.sweep_at.get_or_insert(entry.since + SWEEP);
        // `None` is less than any time.
        let since = |place: &&mut Option<HalfOpen>| place.as_ref().map(|entry| entry.since);
        let Some(place) = self.set(hash).iter_mut().min_by_key(since) else { return };
        match place.replace(entry) {
            Some(_) => self.evicted += 1,
            None => self.len += 1,
        }
    }

    /// Forgets the handshake between these two.
    pub(super) fn remove(&mut self, hash: u64, local: IpEndpoint, peer: IpEndpoint) {
        if self.find(hash, local, peer).is_some_and(|place| place.take().is_some()) {
            self.len -= 1;
        }
    }

    /// When [`sweep`](Self::sweep) has something to do.
    pub(super) fn sweep_at(&self) -> Option<Instant> {
        self.sweep_at
    }

    /// Forgets handshakes that took too long, and repeats answers that may have been lost, as long
    /// as `answer` has room for them.
    pub(super) fn sweep(&mut self, now: Instant, mut answer: impl FnMut(&HalfOpen) -> bool) {
        if self.sweep_at.is_none_or(|at| now < at) {
            return;
        }
        for place in &mut self.entries {
            let Some(entry) = place else { continue };
            let waits = Duration::from_secs((1 << entry.answers) - 1);
            if now >= entry.since + PATIENCE {
                *place = None;
                self.len -= 1;
            } else if entry.answers < ANSWERS && now >= entry.since + waits && answer(entry) {
                entry.answers += 1;
            }
        }
        self.sweep_at = (self.len != 0).then_some(now + SWEEP);
    }
}

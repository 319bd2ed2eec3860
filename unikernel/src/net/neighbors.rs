//! The neighbours on the link: which station has which address, and what waits to be sent to those
//! of whom that is not known yet.
//!
//! smoltcp has such a table as well. It is not used: it asks once a second at most, whoever is to
//! be found, keeps nothing of what it cannot send yet, and believes what it has for a minute,
//! whatever a neighbour says meanwhile.
//!
//! A neighbour goes through the states of neighbour unreachability detection (RFC 4861, section
//! 7.3.2), for IPv4 as well, as RFC 1122 (section 2.3.2.1) wishes:
//!
//! ```text
//!   asked for first ──▶ reachable ──▶ stale ──▶ asked for again
//!      │ no answer          ▲           │ used        │ no answer
//!      ▼                    └───────────┴─────────────┴──▶ gone
//! ```
//!
//! What a neighbour is sent goes to the station it was last known to have, until it is gone. The
//! table is bounded and made at once; in a full one the entry goes that was not used for longest.

use alloc::boxed::Box;
use core::num::NonZeroU16;

use heapless::index_map::FnvIndexMap;
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{EthernetAddress, IpAddress};

use crate::dma::TxBuffer;

/// Entries of the table.
const MOST: usize = 512;
/// How many of them can be asked for the first time at once, each with a packet in the DMA memory:
/// whoever sends from forged addresses makes such entries.
const MOST_ASKED_FOR: usize = 64;
/// How long a neighbour is believed to be where it was, without a packet from there. Shorter than
/// REACHABLE_TIME of RFC 4861 (section 10): one that failed over without a word is found after
/// that, and a connection has not waited for long by then.
const REACHABLE: Duration = Duration::from_secs(3);
/// RETRANS_TIMER of RFC 4861, and what RFC 1122 (section 2.3.2.1) has as the highest rate.
const RETRANSMIT: Duration = Duration::from_secs(1);
/// Questions without an answer until a neighbour is gone: MAX_MULTICAST_SOLICIT of RFC 4861.
const MOST_QUESTIONS: u8 = 3;

/// A packet that waits for its neighbour's station: a frame without a destination.
pub(super) struct Kept {
    pub(super) frame: TxBuffer,
    pub(super) len: usize,
    /// Payload of each segment, if the device is to cut it.
    pub(super) segment: Option<NonZeroU16>,
}

/// A neighbour to be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) address: IpAddress,
    /// The station that is asked whether it still has the address; none: all of them are.
    pub(super) station: Option<EthernetAddress>,
}

struct Neighbor {
    station: Option<EthernetAddress>,
    /// When it last was known to be there.
    confirmed: Instant,
    /// When something was last to be sent to it.
    used: Instant,
    /// When it is to be asked for.
    ask_at: Option<Instant>,
    /// When it was last asked for.
    asked_at: Option<Instant>,
    /// Questions since it last was known to be there.
    questions: u8,
    kept: Option<Kept>,
}

impl Neighbor {
    fn new(now: Instant) -> Self {
        Self {
            station: None,
            confirmed: now,
            used: now,
            ask_at: None,
            asked_at: None,
            questions: 0,
            kept: None,
        }
    }

    /// It has to be asked for, now unless that was done a moment ago. Returns when.
    fn ask(&mut self, now: Instant) -> Instant {
        let at = self.asked_at.map_or(now, |asked| (asked + RETRANSMIT).max(now));
        *self.ask_at.get_or_insert(at)
    }

    fn confirm(&mut self, now: Instant) {
        (self.confirmed, self.ask_at, self.questions) = (now, None, 0);
    }
}

/// The table.
pub(super) struct Neighbors {
    table: Box<FnvIndexMap<IpAddress, Neighbor, MOST>>,
    /// Where in the table the last one was: packets to one neighbour come many in a row.
    last: usize,
    /// When the next one is to be asked for, or earlier.
    due_at: Option<Instant>,
    /// Some kept packet can be sent now.
    has_ready: bool,
    /// Kept packets that were given up.
    dropped: u64,
}

impl Default for Neighbors {
    fn default() -> Self {
        Self {
            table: Box::new(FnvIndexMap::new()),
            last: 0,
            due_at: None,
            has_ready: false,
            dropped: 0,
        }
    }
}

impl Neighbors {
    #[inline]
    fn find(&mut self, address: IpAddress) -> Option<&mut Neighbor> {
        if self.table.get_index(self.last).is_none_or(|(known, _)| *known != address) {
            self.last = self.table.get_index_of(&address)?;
        }
        self.table.get_index_mut(self.last).map(|(_, neighbor)| neighbor)
    }

    /// The station that something is to be sent to now, if it is known.
    #[inline]
    pub(super) fn station(&mut self, address: IpAddress, now: Instant) -> Option<EthernetAddress> {
        let neighbor = self.find(address)?;
        neighbor.used = now;
        let station = neighbor.station?;
        if now >= neighbor.confirmed + REACHABLE && neighbor.ask_at.is_none() {
            let at = neighbor.ask(now);
            self.is_due(at);
        }
        Some(station)
    }

    /// Keeps a packet until the station is known, instead of the one that is kept already, and asks
    /// for it.
    pub(super) fn keep(&mut self, address: IpAddress, packet: Kept, now: Instant) {
        let Some(neighbor) = self.entry(address, now) else {
            self.dropped += 1;
            return;
        };
        neighbor.used = now;
        let (at, before) = (neighbor.ask(now), neighbor.kept.replace(packet));
        self.dropped += u64::from(before.is_some());
        self.is_due(at);
    }

    /// Asks for the station, with nothing to send to it yet.
    pub(super) fn ask(&mut self, address: IpAddress, now: Instant) {
        let Some(neighbor) = self.entry(address, now) else { return };
        neighbor.used = now;
        let at = neighbor.ask(now);
        self.is_due(at);
    }

    /// The entry of an address, a new one if there is none.
    fn entry(&mut self, address: IpAddress, now: Instant) -> Option<&mut Neighbor> {
        if !self.table.contains_key(&address) {
            self.make_room();
            self.table.insert(address, Neighbor::new(now)).ok()?;
        }
        self.find(address)
    }

    fn make_room(&mut self) {
        let asked_for = || self.table.iter().filter(|(_, neighbor)| neighbor.station.is_none());
        let oldest = if asked_for().count() >= MOST_ASKED_FOR {
            asked_for().min_by_key(|(_, neighbor)| neighbor.used)
        } else if self.table.len() == MOST {
            self.table.iter().min_by_key(|(_, neighbor)| neighbor.used)
        } else {
            None
        };
        if let Some((&address, _)) = oldest {
            self.forget(address);
        }
    }

    fn forget(&mut self, address: IpAddress) {
        let gone = self.table.swap_remove(&address);
        self.dropped += u64::from(gone.is_some_and(|gone| gone.kept.is_some()));
    }

    fn is_due(&mut self, at: Instant) {
        self.due_at = Some(self.due_at.map_or(at, |due| due.min(at)));
    }

    /// A neighbour has said where it is, to us: an answer, or a question that shows it will talk to
    /// us.
    pub(super) fn learn(&mut self, address: IpAddress, station: EthernetAddress, now: Instant) {
        if self.entry(address, now).is_some() {
            self.update(address, station, now);
        }
    }

    /// A neighbour has said where it is, to everybody. Of those that nobody here talks to, nothing
    /// is kept (RFC 826, "packet reception"; RFC 4861, section 7.2.5).
    pub(super) fn update(&mut self, address: IpAddress, station: EthernetAddress, now: Instant) {
        let Some(neighbor) = self.find(address) else { return };
        neighbor.station = Some(station);
        neighbor.confirm(now);
        self.has_ready |= neighbor.kept.is_some();
    }

    /// A neighbour has advertised itself without the wish to override what is known of it.
    pub(super) fn update_if_unknown(
        &mut self,
        address: IpAddress,
        station: EthernetAddress,
        now: Instant,
    ) {
        match self.find(address).map(|neighbor| neighbor.station) {
            Some(Some(known)) if known != station => self.saw(address, station, now),
            _ => self.update(address, station, now),
        }
    }

    /// A packet from an address came from a station. If the neighbour was at another, it is asked
    /// for: what is in a packet anybody on the way may have forged, who cannot answer then.
    #[inline]
    pub(super) fn saw(&mut self, address: IpAddress, station: EthernetAddress, now: Instant) {
        let Some(neighbor) = self.find(address) else { return };
        match neighbor.station {
            Some(known) if known == station => neighbor.confirm(now),
            Some(_) => {
                // All stations are asked.
                neighbor.questions = neighbor.questions.max(1);
                let at = neighbor.ask(now);
                self.is_due(at);
            }
            None => {}
        }
    }

    /// A packet came by way of a neighbour, perhaps: from a station that may be its.
    #[inline]
    pub(super) fn heard(&mut self, address: IpAddress, station: EthernetAddress, now: Instant) {
        if let Some(neighbor) = self.find(address).filter(|known| known.station == Some(station)) {
            neighbor.confirm(now);
        }
    }

    /// When [`next_question`](Self::next_question) has one, or earlier.
    pub(super) fn due_at(&self) -> Option<Instant> {
        self.due_at
    }

    /// A neighbour that has to be asked for now. Forgets those that were asked for in vain.
    pub(super) fn next_question(&mut self, now: Instant) -> Option<Question> {
        if self.due_at.is_none_or(|at| now < at) {
            return None;
        }
        loop {
            let is_due = |neighbor: &Neighbor| neighbor.ask_at.is_some_and(|at| now >= at);
            let due = self.table.iter().find(|(_, neighbor)| is_due(neighbor));
            let Some((&address, neighbor)) = due else { break };
            if neighbor.questions < MOST_QUESTIONS {
                let station = neighbor.station.filter(|_| neighbor.questions == 0);
                return Some(Question { address, station });
            }
            self.forget(address);
        }
        self.due_at = self.table.values().filter_map(|neighbor| neighbor.ask_at).min();
        None
    }

    /// The question was sent.
    pub(super) fn asked(&mut self, address: IpAddress, now: Instant) {
        if let Some(neighbor) = self.find(address) {
            neighbor.questions += 1;
            (neighbor.asked_at, neighbor.ask_at) = (Some(now), Some(now + RETRANSMIT));
        }
    }

    /// A packet whose station is known now, with that.
    pub(super) fn next_ready(&mut self) -> Option<(Kept, EthernetAddress)> {
        if !self.has_ready {
            return None;
        }
        let ready = self.table.values_mut().find_map(|neighbor| {
            let station = neighbor.station?;
            Some((neighbor.kept.take()?, station))
        });
        self.has_ready = ready.is_some();
        ready
    }

    /// Gives up every kept packet.
    pub(super) fn drop_kept(&mut self) {
        for neighbor in self.table.values_mut() {
            self.dropped += u64::from(neighbor.kept.take().is_some());
        }
    }

    /// Everybody may be at another station, or gone: each is looked for when it is next used.
    pub(super) fn doubt(&mut self) {
        for neighbor in self.table.values_mut() {
            // All stations are asked.
            (neighbor.confirmed, neighbor.questions) = (Instant::ZERO, 1);
        }
    }

    /// Kept packets that were given up so far.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }
}

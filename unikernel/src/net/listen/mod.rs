//! Handshakes of TCP servers, answered in front of smoltcp.
//!
//! smoltcp needs a socket with buffers for each connection that may come. Here a listener costs
//! nothing until somebody comes: a SYN is answered from a small table ([`half_open`]), and only
//! who has shown that he is where he says gets a socket ([`establish`]). A flood of SYNs with made
//! up addresses so takes no memory, and keeps nobody out who answers before the table has gone
//! round.

mod establish;
mod half_open;
mod segment;

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::Cell;

use smoltcp::iface::Interface;
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, TcpControl};

use super::buffers::Buffers;
use super::connections::ConnectionId;
use super::error::Error;
use super::frame::{Header, TCP_ACK, TCP_SYN, has_valid_checksums};
use super::memory::{SOCKETS, is_left};
use super::path_mtu::Paths;
use super::queue::Queue;
use super::sequence::Sequence;
use super::sockets::Sockets;

/// A connection's transmit buffer is at most so small a part of the memory that is left …
const SHARE: usize = 64;
/// … unless it is no larger than this anyway.
const LEAST_TRANSMIT: usize = 16 * 1024;

pub(super) use establish::connect;
pub(super) use half_open::HalfOpen;
use half_open::Table;
use segment::Segment;

/// A port that is listened on.
pub(super) struct Port {
    pub(super) number: u16,
    /// What each connection gets.
    pub(super) buffers: Cell<Buffers>,
    /// Connections to be accepted.
    pub(super) ready: Queue<ConnectionId>,
}

/// What becomes of a segment.
pub(super) enum Verdict {
    /// It is smoltcp's.
    Pass,
    /// Nobody's.
    Drop,
    /// A SYN that was taken up, and is to be answered.
    Answer(HalfOpen),
}

/// What is known where a segment arrives.
pub(super) struct Arrival<'a> {
    pub(super) now: Instant,
    /// The interface's.
    pub(super) mac: EthernetAddress,
    /// The longest IP packet of the interface.
    pub(super) mtu: usize,
    /// The NIC has verified its checksums.
    pub(super) verified: bool,
    /// The paths that are narrower than that.
    pub(super) paths: &'a Paths,
}

#[derive(Default)]
pub(super) struct Listeners {
    ports: Vec<Rc<Port>>,
    handshakes: Table,
    pub(super) sequence: Sequence,
    /// Completed handshakes that found no room or no memory. Their peers try again.
    deferred: u64,
    /// Memory was short since this was last asked.
    starved: bool,
}

impl Listeners {
    pub(super) fn new(sequence: Sequence) -> Self {
        Self { sequence, ..Self::default() }
    }

    /// Listens on a port.
    pub(super) fn add(&mut self, port: Rc<Port>) -> Result<(), Error> {
        self.handshakes.reserve()?;
        self.ports.push(port);
        Ok(())
    }

    /// Listens on it no longer.
    pub(super) fn remove(&mut self, port: &Rc<Port>) {
        self.ports.retain(|other| !Rc::ptr_eq(other, port));
    }

    /// Handshakes that had to make room for others.
    pub(super) fn evicted(&self) -> u64 {
        self.handshakes.evicted()
    }

    /// Completed handshakes that found no room or no memory.
    pub(super) fn deferred(&self) -> u64 {
        self.deferred
    }

    /// Whether memory was short since this was last called.
    pub(super) fn take_starved(&mut self) -> bool {
        core::mem::take(&mut self.starved)
    }

    /// Whether a segment with these flags may be part of a handshake. For each one, so quick.
    #[inline]
    pub(super) fn concerns(&self, flags: u8) -> bool {
        match flags & (TCP_SYN | TCP_ACK) {
            TCP_SYN => !self.ports.is_empty(),
            _ => !self.handshakes.is_empty(),
        }
    }

    /// Takes in a segment that may be part of a handshake.
    pub(super) fn receive(
        &mut self,
        frame: &[u8],
        header: Header,
        arrival: &Arrival<'_>,
        interface: &Interface,
        sockets: &mut Sockets,
    ) -> Verdict {
        let Some(segment) = Segment::parse(frame, header) else { return Verdict::Pass };
        let is_here = segment.to == arrival.mac && interface.has_ip_addr(segment.local.addr);
        let is_valid = is_here
            && segment.peer.addr.is_unicast()
            && segment.peer.port != 0
            && (arrival.verified || has_valid_checksums(frame));
        if !is_valid {
            // smoltcp finds the same.
            return Verdict::Pass;
        }
        match (segment.tcp.control, segment.tcp.ack_number) {
            (TcpControl::Syn, None) => self.begin(&segment, arrival.now, sockets),
            _ => self.go_on(&segment, arrival, sockets),
        }
    }

    fn port(&self, number: u16) -> Option<&Rc<Port>> {
        self.ports.iter().find(|port| port.number == number)
    }

    /// Takes up a handshake.
    fn begin(&mut self, segment: &Segment<'_>, now: Instant, sockets: &Sockets) -> Verdict {
        let (local, peer) = (segment.local, segment.peer);
        let Some(port) = self.port(local.port) else { return Verdict::Pass };
        if sockets.connections.has(local, peer) {
            return Verdict::Pass;
        }
        let (window, shift) = port.buffers.get().window();
        let hash = self.sequence.hash(local, peer);
        let known = self.handshakes.find(hash, local, peer).and_then(|place| *place);
        if let Some(known) = known {
            if known.syn == segment.syn() {
                return Verdict::Answer(known);
            }
            self.handshakes.remove(hash, local, peer);
        }
        let handshake = HalfOpen {
            local,
            peer,
            station: segment.from,
            syn: segment.syn(),
            number: self.sequence.first(local, peer, now),
            window,
            shift,
            since: now,
            answers: 1,
        };
        self.handshakes.insert(hash, handshake);
        Verdict::Answer(handshake)
    }

    /// Goes on with a handshake, if the segment is part of one.
    fn go_on(
        &mut self,
        segment: &Segment<'_>,
        arrival: &Arrival<'_>,
        sockets: &mut Sockets,
    ) -> Verdict {
        let (local, peer, tcp) = (segment.local, segment.peer, &segment.tcp);
        let hash = self.sequence.hash(local, peer);
        let known = self.handshakes.find(hash, local, peer).and_then(|place| *place);
        let Some(handshake) = known else { return Verdict::Pass };
        let is_next = tcp.seq_number == handshake.syn.number + 1;
        if tcp.control == TcpControl::Rst {
            if is_next {
                self.handshakes.remove(hash, local, peer);
            }
            return Verdict::Drop;
        }
        if tcp.ack_number != Some(handshake.number + 1) || tcp.control == TcpControl::Syn {
            // smoltcp knows of no such connection, and resets it (RFC 9293, section 3.10.7.4).
            return Verdict::Pass;
        }
        if !is_next {
            // What comes before it was lost, and will be repeated.
            return Verdict::Drop;
        }
        let Some(port) = self.port(local.port).cloned() else {
            // Nobody listens any more.
            self.handshakes.remove(hash, local, peer);
            return Verdict::Pass;
        };
        if !port.ready.has_room() || sockets.count() >= SOCKETS {
            self.deferred += 1;
            self.starved |= port.ready.has_room();
            return Verdict::Drop;
        }
        let mtu = arrival.paths.to(peer.addr).map_or(arrival.mtu, |path| path.mtu.into());
        let handshake = handshake.within(mtu);
        let buffers = affordable(port.buffers.get());
        let made = establish::socket(&handshake, buffers, arrival.mtu, arrival.now)
            .and_then(|socket| sockets.connections.add(socket, (local, peer)));
        let Ok(connection) = made else {
            self.deferred += 1;
            self.starved = true;
            return Verdict::Drop;
        };
        self.handshakes.remove(hash, local, peer);
        port.ready.push(connection);
        Verdict::Pass
    }

    /// When [`tend`](Self::tend) has something to do.
    pub(super) fn tend_at(&self) -> Option<Instant> {
        self.handshakes.sweep_at()
    }

    /// Forgets handshakes that took too long, and has answers repeated that may have been lost.
    pub(super) fn tend(&mut self, now: Instant, answer: impl FnMut(&HalfOpen) -> bool) {
        self.handshakes.sweep(now, answer);
    }
}

/// What a connection gets of what its listener wants for it: less to send from while memory is
/// short, so that there is some for others. The window was told already.
fn affordable(mut buffers: Buffers) -> Buffers {
    while buffers.transmit > LEAST_TRANSMIT && !is_left(buffers.transmit.saturating_mul(SHARE)) {
        buffers.transmit /= 2;
    }
    buffers
}

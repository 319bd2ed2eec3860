//! TCP connections, each in a set of its own.
//!
//! smoltcp looks at every socket of a set for each segment that it is given, and each time that it
//! may send. So a segment is given to the connection alone that it belongs to, and only those have
//! a turn to send that are awake: that have received something, were used by a task, or have a
//! timer that has run out. What the others cost is their memory, and a look at each when something
//! asks of all: for a free port, or when addresses, groups or the NIC change, which wakes all of
//! them.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use smoltcp::iface::{Interface, PollResult, SocketHandle, SocketSet};
use smoltcp::phy;
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{IpAddress, IpEndpoint};

use super::error::Error;
use super::frame;
use super::memory::SOCKETS;

/// Tells connections apart, until it is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ConnectionId(usize);

/// Who is connected.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Ends {
    /// Those that differ come first: comparing mostly ends with them.
    ports: (u16, u16),
    peer: IpAddress,
    local: IpAddress,
}

impl Ends {
    fn new(local: IpEndpoint, peer: IpEndpoint) -> Self {
        Self { ports: (peer.port, local.port), peer: peer.addr, local: local.addr }
    }

    /// Of the connection that an IP packet of TCP is for.
    #[inline]
    fn of(packet: &[u8]) -> Option<Self> {
        let [a, b, c, d, ..] = *frame::tcp(packet)? else { return None };
        let ports = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        Some(Self { ports, peer: frame::source(packet)?, local: frame::destination(packet)? })
    }
}

struct Slot {
    ends: Ends,
    /// Has that one socket.
    set: SocketSet<'static>,
    socket: SocketHandle,
    is_awake: bool,
    /// What is in `timers`: when it is to be woken, or earlier.
    timer: Option<Instant>,
}

impl Slot {
    fn socket(&self) -> &tcp::Socket<'static> {
        self.set.get(self.socket)
    }

    fn socket_mut(&mut self) -> &mut tcp::Socket<'static> {
        self.set.get_mut(self.socket)
    }
}

/// All of them.
pub(super) struct Connections {
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    by_ends: BTreeMap<Ends, ConnectionId>,
    awake: Vec<ConnectionId>,
    timers: BTreeSet<(Instant, ConnectionId)>,
}

impl Connections {
    /// None, and room for as many as others may decide to make.
    pub(super) fn new() -> Self {
        Self {
            slots: Vec::with_capacity(SOCKETS),
            free: Vec::with_capacity(SOCKETS),
            by_ends: BTreeMap::new(),
            awake: Vec::with_capacity(SOCKETS),
            timers: BTreeSet::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Adds a connection between these two.
    pub(super) fn add(
        &mut self,
        socket: tcp::Socket<'static>,
        (local, peer): (IpEndpoint, IpEndpoint),
    ) -> Result<ConnectionId, Error> {
        let mut storage = Vec::new();
        storage.try_reserve_exact(1).map_err(|_| Error::NoMemory)?;
        let (mut set, ends) = (SocketSet::new(storage), Ends::new(local, peer));
        let socket = set.add(socket);
        let slot = Some(Slot { ends, set, socket, is_awake: false, timer: None });
        let index = match self.free.pop() {
            Some(index) => {
                self.slots[index] = slot;
                index
            }
            None => {
                self.slots.push(slot);
                self.slots.len() - 1
            }
        };
        let id = ConnectionId(index);
        // One that is over may have had the same ends. No segment is for that any more.
        self.by_ends.insert(ends, id);
        self.wake(id);
        Ok(id)
    }

    pub(super) fn remove(&mut self, id: ConnectionId) {
        let Some(slot) = self.slots[id.0].take() else { return };
        self.free.push(id.0);
        if self.by_ends.get(&slot.ends) == Some(&id) {
            self.by_ends.remove(&slot.ends);
        }
        if let Some(at) = slot.timer {
            self.timers.remove(&(at, id));
        }
        if slot.is_awake {
            self.awake.retain(|other| *other != id);
        }
    }

    fn slot(&self, id: ConnectionId) -> &Slot {
        self.slots[id.0].as_ref().expect("who has the number has the connection")
    }

    /// A connection, to be looked at.
    pub(super) fn look(&self, id: ConnectionId) -> &tcp::Socket<'static> {
        self.slot(id).socket()
    }

    /// A connection, to be used. It has a turn to send then.
    pub(super) fn get(&mut self, id: ConnectionId) -> &mut tcp::Socket<'static> {
        self.wake(id);
        self.slots[id.0].as_mut().expect("who has the number has the connection").socket_mut()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ConnectionId, &tcp::Socket<'static>)> {
        let slots = self.slots.iter().enumerate();
        slots.filter_map(|(index, slot)| Some((ConnectionId(index), slot.as_ref()?.socket())))
    }

    /// All of them, to be used.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut tcp::Socket<'static>> {
        self.wake_all();
        self.slots.iter_mut().flatten().map(Slot::socket_mut)
    }

    /// Whether there is a connection between the two, though it may be over.
    pub(super) fn has(&self, local: IpEndpoint, peer: IpEndpoint) -> bool {
        let known = self.by_ends.get(&Ends::new(local, peer));
        // One that was reset has no ends any more.
        known.is_some_and(|&id| self.look(id).remote_endpoint().is_some())
    }

    /// The connection that an IP packet is for.
    #[inline]
    pub(super) fn id_for(&self, packet: &[u8]) -> Option<ConnectionId> {
        self.by_ends.get(&Ends::of(packet)?).copied()
    }

    /// The set of a connection, which is awake then.
    #[inline]
    pub(super) fn set_of(&mut self, id: ConnectionId) -> Option<&mut SocketSet<'static>> {
        self.wake(id);
        self.slots[id.0].as_mut().map(|slot| &mut slot.set)
    }

    /// Bytes that a connection has to be read: what came in the order that it was sent in.
    #[inline]
    pub(super) fn unread(&self, id: ConnectionId) -> usize {
        let slot = self.slots[id.0].as_ref();
        slot.map_or(0, |slot| slot.socket().recv_queue())
    }

    #[inline]
    fn wake(&mut self, id: ConnectionId) {
        let Some(slot) = &mut self.slots[id.0] else { return };
        if !slot.is_awake {
            slot.is_awake = true;
            self.awake.push(id);
        }
    }

    /// What all of them depend on has changed.
    pub(super) fn wake_all(&mut self) {
        for index in 0..self.slots.len() {
            self.wake(ConnectionId(index));
        }
    }

    /// Wakes those whose timers have run out.
    pub(super) fn heed_timers(&mut self, now: Instant) {
        while let Some(&(at, id)) = self.timers.first()
            && at <= now
        {
            self.timers.pop_first();
            if let Some(slot) = &mut self.slots[id.0] {
                slot.timer = None;
            }
            self.wake(id);
        }
    }

    /// Has each that is awake send a packet. Those that have none sleep from then on, until their
    /// timer; those that have no room for it stay awake, and the first of them is the first next
    /// time. Returns whether one was sent.
    pub(super) fn send(
        &mut self,
        interface: &mut Interface,
        device: &mut impl phy::Device,
        now: Instant,
    ) -> bool {
        let (slots, timers) = (&mut self.slots, &mut self.timers);
        let mut has_sent = false;
        let (mut stay, mut without_room) = (0, None);
        self.awake.retain(|&id| {
            let Some(slot) = &mut slots[id.0] else { return false };
            if interface.poll_egress(now, device, &mut slot.set) == PollResult::SocketStateChanged {
                has_sent = true;
                stay += 1;
                return true;
            }
            let at = interface.poll_at(now, &slot.set);
            if at.is_some_and(|at| at <= now) {
                without_room.get_or_insert(stay);
                stay += 1;
                return true;
            }
            slot.is_awake = false;
            // A timer that runs out too early costs a look. Most are put off for ever.
            if let Some(at) = at
                && slot.timer.is_none_or(|before| at < before)
            {
                if let Some(before) = slot.timer.replace(at) {
                    timers.remove(&(before, id));
                }
                timers.insert((at, id));
            }
            false
        });
        if let Some(first) = without_room {
            self.awake.rotate_left(first);
        }
        has_sent
    }

    /// When the next one has something to do, or earlier.
    pub(super) fn due_at(&self) -> Option<Instant> {
        let timer = self.timers.first().map(|&(at, _)| at);
        if self.awake.is_empty() { timer } else { Some(Instant::ZERO) }
    }

    /// How many would have a turn to send.
    #[cfg(test)]
    pub(super) fn awake(&self) -> usize {
        self.awake.len()
    }
}

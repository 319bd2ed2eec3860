//! The sockets of a stack, those included whose owner has gone, and the ports they have.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::{AnySocket, Socket, dns, tcp};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::IpAddress;

use super::connections::{ConnectionId, Connections};
use super::error::Error;
use super::ports::Ports;

/// How long the peer of a closing connection may be silent, take nothing of what is still to be
/// sent, or not close its side, before the connection is given up …
const FAREWELL: Duration = Duration::from_secs(60);
/// … and how long if others find no memory.
const SHORT_FAREWELL: Duration = Duration::from_secs(10);
/// Connections that are over and only remembered, so that late segments of theirs are known
/// (TIME-WAIT). Beyond that the oldest are forgotten.
const REMEMBERED: usize = 128;

/// A connection whose owner has dropped it.
struct Closing {
    id: ConnectionId,
    /// Bytes that the peer has not acknowledged, and since when they are so many.
    unsent: usize,
    since: Instant,
}

/// All sockets.
pub(super) struct Sockets {
    pub(super) connections: Connections,
    /// All others.
    set: SocketSet<'static>,
    /// Always empty; see `Engine::finish_fragments`.
    none: SocketSet<'static>,
    /// The time of the last turn.
    now: Instant,
    /// Connections that still have to say goodbye.
    closing: Vec<Closing>,
    /// Those that have, and are remembered, the oldest first, which alone is looked at in each
    /// turn. smoltcp forgets them in about that order: a peer that repeats its last word has its
    /// own kept for longer, and those behind it, of which there are never more than
    /// [`REMEMBERED`].
    over: VecDeque<ConnectionId>,
    /// Connections that ended with a reset by the peer, which smoltcp does not tell from a
    /// timeout.
    reset: Vec<ConnectionId>,
    /// Asks for names.
    dns: SocketHandle,
    /// Ports that are listened on.
    tcp_ports: Ports,
    udp_ports: Ports,
}

impl Sockets {
    pub(super) fn new(seed: u64) -> Self {
        let mut set = SocketSet::new(Vec::new());
        let none = SocketSet::new(Vec::new());
        let dns = set.add(dns::Socket::new(&[], Vec::new()));
        let [tcp_ports, udp_ports] = core::array::from_fn(|_| Ports::new(seed));
        Self {
            connections: Connections::new(),
            set,
            none,
            now: Instant::ZERO,
            closing: Vec::new(),
            over: VecDeque::new(),
            reset: Vec::new(),
            dns,
            tcp_ports,
            udp_ports,
        }
    }

    /// Those that are no connections.
    pub(super) fn set(&mut self) -> &mut SocketSet<'static> {
        &mut self.set
    }

    /// The sockets that an IP packet may be for.
    #[inline]
    pub(super) fn set_for(&mut self, packet: &[u8]) -> &mut SocketSet<'static> {
        let id = self.connections.id_for(packet);
        self.set_of(id)
    }

    /// The set of a connection, or else of the sockets that are none.
    #[inline]
    pub(super) fn set_of(&mut self, id: Option<ConnectionId>) -> &mut SocketSet<'static> {
        id.and_then(|id| self.connections.set_of(id)).unwrap_or(&mut self.set)
    }

    /// Whether a port is one of datagrams.
    pub(super) fn has_udp(&self, port: u16) -> bool {
        self.set.iter().any(|(_, socket)| match socket {
            Socket::Udp(socket) => socket.endpoint().port == port,
            _ => false,
        })
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.set.iter().count() + self.connections.len()
    }

    /// A set without sockets.
    pub(super) fn none(&mut self) -> &mut SocketSet<'static> {
        &mut self.none
    }

    /// The socket that asks for names.
    pub(super) fn dns(&self) -> SocketHandle {
        self.dns
    }

    /// Names are asked of these servers from now on.
    pub(super) fn set_name_servers(&mut self, servers: &[IpAddress]) {
        self.set.get_mut::<dns::Socket<'_>>(self.dns).update_servers(servers);
    }

    pub(super) fn add<S: AnySocket<'static>>(&mut self, socket: S) -> SocketHandle {
        self.set.add(socket)
    }

    pub(super) fn get<S: AnySocket<'static>>(&mut self, handle: SocketHandle) -> &mut S {
        self.set.get_mut(handle)
    }

    /// Gives up a connection.
    pub(super) fn remove(&mut self, id: ConnectionId) {
        self.connections.remove(id);
        self.forget_reset(id);
    }

    /// Gives up a socket that is no connection.
    pub(super) fn remove_other(&mut self, handle: SocketHandle) {
        self.set.remove(handle);
    }

    /// Takes a port to listen on, a free one for 0.
    pub(super) fn bind_tcp(&mut self, port: u16) -> Result<u16, Error> {
        self.tcp_ports.bind(port, |port| has_connection(&self.connections, port))
    }

    /// A port to connect from.
    pub(super) fn free_tcp_port(&mut self) -> Result<u16, Error> {
        self.tcp_ports.choose(|port| has_connection(&self.connections, port))
    }

    /// The port is listened on no longer.
    pub(super) fn free_tcp(&mut self, port: u16) {
        self.tcp_ports.free(port);
    }

    /// Takes a port for datagrams, a free one for 0.
    pub(super) fn bind_udp(&mut self, port: u16) -> Result<u16, Error> {
        self.udp_ports.bind(port, |_| false)
    }

    /// No socket is bound to the port any longer.
    pub(super) fn free_udp(&mut self, port: u16) {
        self.udp_ports.free(port);
    }

    /// To be called when a connection was sent a reset, before anything else happens to it. One
    /// that had timed out earlier, unnoticed by its owner, counts as reset as well.
    pub(super) fn note_reset(&mut self, id: ConnectionId) {
        let is_closed = self.connections.look(id).state() == tcp::State::Closed;
        if is_closed && !self.reset.contains(&id) {
            self.reset.push(id);
        }
    }

    /// Whether the peer has reset a connection that is closed.
    pub(super) fn was_reset(&self, id: ConnectionId) -> bool {
        self.reset.contains(&id)
    }

    /// The socket begins another connection.
    pub(super) fn forget_reset(&mut self, id: ConnectionId) {
        self.reset.retain(|&reset| reset != id);
    }

    /// Closes a connection whose owner has dropped it. What was written is still sent.
    pub(super) fn close(&mut self, id: ConnectionId) {
        self.connections.get(id).close();
        self.say_goodbye(id);
    }

    /// Resets a connection that nobody owns.
    pub(super) fn abort(&mut self, id: ConnectionId) {
        self.connections.get(id).abort();
        self.say_goodbye(id);
    }

    fn say_goodbye(&mut self, id: ConnectionId) {
        self.connections.get(id).set_timeout(Some(FAREWELL));
        self.closing.push(Closing { id, unsent: usize::MAX, since: self.now });
    }

    /// Gives up the connections that are over, and those that may be, for their memory.
    pub(super) fn free_memory(&mut self, now: Instant) {
        self.reap(now);
        self.forget_all_but(0);
        let stalled = |closing: &&Closing| now >= closing.since + SHORT_FAREWELL;
        for closing in self.closing.iter().filter(stalled) {
            self.connections.get(closing.id).abort();
        }
    }

    /// Forgets those that are over, beyond so many, and those that smoltcp has forgotten, as far as
    /// they are the oldest.
    fn forget_all_but(&mut self, most: usize) {
        while let Some(&id) = self.over.front()
            && (self.over.len() > most || has_ended(self.connections.look(id)))
        {
            self.over.pop_front();
            self.remove(id);
        }
    }

    /// Forgets the connections that have said goodbye. What one has still to send is nobody's to
    /// drop, as long as the peer takes it.
    pub(super) fn reap(&mut self, now: Instant) {
        self.now = now;
        let (all, reset, over) = (&mut self.connections, &mut self.reset, &mut self.over);
        self.closing.retain_mut(|closing| {
            let id = closing.id;
            let socket = all.look(id);
            if socket.send_queue() < closing.unsent {
                (closing.unsent, closing.since) = (socket.send_queue(), now);
            }
            if socket.state() == tcp::State::TimeWait && !socket.can_recv() {
                over.push_back(id);
                return false;
            }
            // Data for nobody: the peer has to know (RFC 9293, section 3.6.1), and would otherwise
            // keep it alive. So would one that says that it has no room, again and again.
            if socket.can_recv() || now >= closing.since + FAREWELL {
                all.get(id).abort();
            }
            let done = has_ended(all.look(id));
            if done {
                all.remove(id);
                reset.retain(|&reset| reset != id);
            }
            !done
        });
        self.forget_all_but(REMEMBERED);
    }
}

/// Whether there is nothing more to say. An aborted connection is closed at once but keeps its
/// endpoints until the reset is sent.
fn has_ended(socket: &tcp::Socket<'_>) -> bool {
    socket.state() == tcp::State::Closed && socket.remote_endpoint().is_none()
}

/// Whether a connection has that port on this side.
fn has_connection(connections: &Connections, port: u16) -> bool {
    let mut locals = connections.iter().map(|(_, socket)| socket.local_endpoint());
    locals.any(|local| local.is_some_and(|local| local.port == port))
}

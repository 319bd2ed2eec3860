//! The sockets of a stack, those included whose owner has gone, and the ports they have.

use alloc::vec::Vec;

use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::{AnySocket, Socket, dns, tcp};
use smoltcp::time::Duration;
use smoltcp::wire::IpAddress;

use super::error::Error;
use super::ports::Ports;

/// How long a closing connection may be silent before it is given up.
const FAREWELL: Duration = Duration::from_secs(10);
/// Connections that are closing at the same time, which all clients of a server may do at once.
/// Beyond that, one of them is ended early, for its memory.
const CLOSING: usize = 128;

/// All sockets.
pub(super) struct Sockets {
    set: SocketSet<'static>,
    /// Always empty; see `Engine::finish_fragments`.
    none: SocketSet<'static>,
    /// Connections whose owner has dropped them and that still have to say goodbye.
    closing: Vec<SocketHandle>,
    /// Connections that ended with a reset by the peer, which smoltcp does not tell from a
    /// timeout.
    reset: Vec<SocketHandle>,
    /// Asks for names.
    dns: SocketHandle,
    /// Ports that are listened on.
    tcp_ports: Ports,
    udp_ports: Ports,
}

impl Sockets {
    pub(super) fn new(seed: u64) -> Self {
        let [mut set, none] = core::array::from_fn(|_| SocketSet::new(Vec::new()));
        let dns = set.add(dns::Socket::new(&[], Vec::new()));
        let [tcp_ports, udp_ports] = core::array::from_fn(|_| Ports::new(seed));
        Self { set, none, closing: Vec::new(), reset: Vec::new(), dns, tcp_ports, udp_ports }
    }

    /// What smoltcp polls.
    pub(super) fn set(&mut self) -> &mut SocketSet<'static> {
        &mut self.set
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

    pub(super) fn remove(&mut self, handle: SocketHandle) {
        self.set.remove(handle);
        self.forget_reset(handle);
    }

    /// Takes a port to listen on, a free one for 0.
    pub(super) fn bind_tcp(&mut self, port: u16) -> Result<u16, Error> {
        self.tcp_ports.bind(port, |port| has_connection(&self.set, port))
    }

    /// A port to connect from.
    pub(super) fn free_tcp_port(&mut self) -> Result<u16, Error> {
        self.tcp_ports.choose(|port| has_connection(&self.set, port))
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

    /// To be called when resets were received, before anything is sent: that is when connections
    /// time out. One that had timed out earlier, unnoticed by its owner, counts as reset as well.
    pub(super) fn note_resets(&mut self) {
        for (handle, socket) in self.set.iter() {
            if let Socket::Tcp(socket) = socket
                && socket.state() == tcp::State::Closed
                && !self.reset.contains(&handle)
            {
                self.reset.push(handle);
            }
        }
    }

    /// Whether the peer has reset a connection that is closed.
    pub(super) fn was_reset(&self, handle: SocketHandle) -> bool {
        self.reset.contains(&handle)
    }

    /// The socket begins another connection.
    pub(super) fn forget_reset(&mut self, handle: SocketHandle) {
        self.reset.retain(|&reset| reset != handle);
    }

    /// Closes a connection whose owner has dropped it. What was written is still sent.
    pub(super) fn close(&mut self, handle: SocketHandle) {
        let socket = self.get::<tcp::Socket<'_>>(handle);
        socket.close();
        socket.set_timeout(Some(FAREWELL));
        self.closing.push(handle);
        if self.closing.len() > CLOSING {
            self.end_one();
        }
    }

    /// Ends a closing connection early. Its peer has to know: one that is forgotten before it has
    /// said goodbye would be waited for by the peer, for ever perhaps.
    fn end_one(&mut self) {
        let set = &mut self.set;
        let state = |handle| set.get::<tcp::Socket<'_>>(handle).state();
        let is_over = |&handle: &SocketHandle| state(handle) == tcp::State::TimeWait;
        if let Some(index) = self.closing.iter().position(is_over) {
            let handle = self.closing.remove(index);
            self.remove(handle);
            return;
        }
        let mut open = self.closing.iter().filter(|&&handle| state(handle) != tcp::State::Closed);
        if let Some(&oldest) = open.next() {
            set.get_mut::<tcp::Socket<'_>>(oldest).abort();
        }
    }

    /// Forgets the connections that have said goodbye.
    pub(super) fn reap(&mut self) {
        let (set, reset) = (&mut self.set, &mut self.reset);
        self.closing.retain(|&handle| {
            let socket = set.get_mut::<tcp::Socket<'_>>(handle);
            if socket.can_recv() {
                // Data for nobody: the peer has to know (RFC 9293, section 3.6.1), and would
                // otherwise keep it alive.
                socket.abort();
            }
            // An aborted connection is closed at once but keeps its endpoints until the reset is
            // sent.
            let done = socket.state() == tcp::State::Closed && socket.remote_endpoint().is_none();
            if done {
                set.remove(handle);
                reset.retain(|&reset| reset != handle);
            }
            !done
        });
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.set.iter().count()
    }
}

/// Whether a connection has that port on this side.
fn has_connection(set: &SocketSet<'static>, port: u16) -> bool {
    set.iter().any(|(_, socket)| match socket {
        Socket::Tcp(socket) => socket.local_endpoint().is_some_and(|local| local.port == port),
        _ => false,
    })
}

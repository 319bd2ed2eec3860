//! The device's side towards the wire: the link, and the frames on their way out.

use std::os::unix::net::UnixStream;

use crate::{link::Link, wire::Wire};

/// The one port.
#[derive(Default)]
pub(crate) struct Port {
    pub(crate) link: Link,
    pub(crate) wire: Wire,
}

impl Port {
    /// Connects a peer, by a non-blocking socket, or disconnects it. Returns whether that changes
    /// the link.
    pub(crate) fn connect(&mut self, peer: Option<UnixStream>) -> bool {
        let present = peer.is_some();
        self.wire.connect(peer);
        self.link.peer(present)
    }
}

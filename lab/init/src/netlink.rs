//! The kernel's interfaces, by netlink.

use std::{io, path::Path};

use anyhow::{Result, bail};
use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkFlags, LinkMessage},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use crate::host::attribute;

/// Where the interfaces are.
pub(crate) const INTERFACES: &str = "/sys/class/net";

/// The index of an interface, by its directory.
pub(crate) fn index(interface: &Path) -> Result<u32> {
    Ok(attribute(interface, "ifindex")?.parse()?)
}

pub(crate) struct Netlink(Socket);

impl Netlink {
    pub(crate) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self(socket))
    }

    /// Turns an interface on.
    pub(crate) fn turn_on(&self, index: u32) -> Result<()> {
        let mut up = LinkMessage::default();
        up.header.index = index;
        up.header.flags = LinkFlags::Up;
        up.header.change_mask = LinkFlags::Up;
        self.request(RouteNetlinkMessage::SetLink(up), 0)
    }

    pub(crate) fn request(&self, message: RouteNetlinkMessage, flags: u16) -> Result<()> {
        let mut message = NetlinkMessage::from(message);
        message.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.0.send(&bytes, 0)?;
        let (answer, _) = self.0.recv_from_full()?;
        let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer)?;
        let NetlinkPayload::Error(acknowledgement) = answer.payload else {
            bail!("the kernel answered {:?}", answer.payload);
        };
        // An acknowledgement is an error message without an error (rfc3549, 2.3.2.2).
        match acknowledgement.code {
            None => Ok(()),
            Some(_) => Err(acknowledgement.to_io().into()),
        }
    }
}

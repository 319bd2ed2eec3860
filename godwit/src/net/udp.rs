//! UDP on an interface.

use core::net::IpAddr;

use unikernel::net::{Error, Stack, UdpFrames, UdpSocket};

/// UDP on an interface; see [`Interface::udp`](crate::Interface::udp). A handle, cheap to clone.
#[derive(Clone)]
pub struct Udp(pub(crate) Stack);

/// How a UDP socket is set up: what it has room for in each direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpOptions {
    /// Datagrams.
    pub datagrams: usize,
    /// Bytes of payload.
    pub bytes: usize,
}

impl Default for UdpOptions {
    fn default() -> Self {
        Self { datagrams: 64, bytes: 64 * 1024 }
    }
}

impl Udp {
    /// Binds a port, or a free one if that is 0, with [`UdpOptions::default`].
    ///
    /// # Errors
    /// [`Error::PortInUse`], [`Error::NoMemory`].
    pub fn bind(&self, port: u16) -> Result<UdpSocket, Error> {
        self.bind_with(port, UdpOptions::default())
    }

    /// Binds a port, or a free one if that is 0.
    ///
    /// # Errors
    /// [`Error::PortInUse`], [`Error::NoMemory`].
    pub fn bind_with(&self, port: u16, options: UdpOptions) -> Result<UdpSocket, Error> {
        UdpSocket::bind(&self.0, port, options.datagrams, options.bytes)
    }

    /// Binds a port, or a free one if that is 0, for datagrams that are received in the memory they
    /// arrived in, and may be kept. Up to `depth` of them wait to be received.
    ///
    /// # Errors
    /// [`Error::PortInUse`], [`Error::NoMemory`].
    pub fn bind_in_place(&self, port: u16, depth: usize) -> Result<UdpFrames, Error> {
        UdpFrames::bind(&self.0, port, depth)
    }

    /// Becomes a member of a multicast group: what is sent to it arrives at the sockets bound to
    /// its port.
    ///
    /// # Errors
    /// [`Error::InvalidAddress`], [`Error::NoMemory`] if there are too many groups.
    pub fn join_multicast(&self, group: IpAddr) -> Result<(), Error> {
        self.0.join_multicast(group)
    }

    /// Is a member of a multicast group no longer.
    pub fn leave_multicast(&self, group: IpAddr) {
        self.0.leave_multicast(group);
    }
}

//! TCP on an interface.

use core::net::SocketAddr;

use unikernel::net::{Buffers, Error, Stack, TcpListener, TcpStream};

/// TCP on an interface; see [`Interface::tcp`](crate::Interface::tcp). A handle, cheap to clone.
///
/// ```
/// use godwit::io::Write;
/// use godwit::net::{Error, Tcp};
///
/// /// Greets one client after another.
/// async fn greet(tcp: Tcp) -> Result<(), Error> {
///     let listener = tcp.bind(7777)?;
///     loop {
///         let mut client = listener.accept().await;
///         if let Err(error) = client.write_all(b"hello\n").await {
///             godwit::log::debug!("{}: {error}", client.peer());
///         }
///     }
/// }
/// ```
#[derive(Clone)]
pub struct Tcp(pub(crate) Stack);

/// How a listener is set up.
///
/// ```
/// use godwit::net::{Buffers, Error, Tcp, TcpListener, TcpOptions};
///
/// /// For one client, with large windows.
/// fn bind(tcp: &Tcp) -> Result<TcpListener, Error> {
///     tcp.bind_with(5001, TcpOptions { backlog: 1, buffers: Buffers::BULK })
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpOptions {
    /// Connections that may wait to be accepted, each with its buffers. Of more than that the peers
    /// try again for some seconds.
    pub backlog: usize,
    /// Socket buffers of each connection.
    pub buffers: Buffers,
}

impl Default for TcpOptions {
    fn default() -> Self {
        Self { backlog: 128, buffers: Buffers::SMALL }
    }
}

impl Tcp {
    /// Listens on a port, with [`TcpOptions::default`].
    ///
    /// # Errors
    /// [`Error::PortInUse`], [`Error::NoMemory`].
    pub fn bind(&self, port: u16) -> Result<TcpListener, Error> {
        self.bind_with(port, TcpOptions::default())
    }

    /// Listens on a port.
    ///
    /// # Errors
    /// [`Error::PortInUse`], [`Error::NoMemory`].
    pub fn bind_with(&self, port: u16, options: TcpOptions) -> Result<TcpListener, Error> {
        TcpListener::bind(&self.0, port, options.backlog, options.buffers)
    }

    /// Connects to a peer, from a port that is free.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::TimedOut`], [`Error::Unreachable`], [`Error::NoMemory`].
    pub async fn connect(&self, peer: impl Into<SocketAddr>) -> Result<TcpStream, Error> {
        TcpStream::connect(&self.0, peer.into(), Buffers::SMALL).await
    }
}

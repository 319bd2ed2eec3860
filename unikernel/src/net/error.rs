//! What can go wrong with a socket.

use core::fmt;

use embedded_io_async::ErrorKind;

/// Why a socket could not do what it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// Another socket has the port, or there is no free port left.
    PortInUse,
    /// The peer does not listen on that port.
    Refused,
    /// The peer did not answer in time.
    TimedOut,
    /// The peer has reset the connection.
    Reset,
    /// This side has closed the connection.
    Closed,
    /// There is no memory for it.
    NoMemory,
    /// The interface has no address, or no route to that destination.
    Unreachable,
    /// Such an address cannot be used for that.
    InvalidAddress,
    /// It is longer than the socket has room for.
    TooLong,
    /// There is no such name, or no address of that family for it.
    NoSuchName,
    /// No DNS server is known.
    NoNameServer,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PortInUse => "the port is in use: choose another, or drop the socket that has it",
            Self::Refused => "connection refused: nobody listens on that port",
            Self::TimedOut => "timed out: the peer does not answer",
            Self::Reset => "connection reset by the peer",
            Self::Closed => "the connection was closed on this side",
            Self::NoMemory => "no memory for it: use smaller buffers, or give the machine more",
            Self::Unreachable => {
                "no route to that destination: the interface has no address yet, or needs a gateway"
            }
            Self::InvalidAddress => "such an address cannot be used for that",
            Self::TooLong => "it is longer than the socket has room for",
            Self::NoSuchName => "there is no such name, or it has no address of that family",
            Self::NoNameServer => "no DNS server is known: name one with dns=ADDR, or use DHCP",
        })
    }
}

impl core::error::Error for Error {}

impl embedded_io_async::Error for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::PortInUse => ErrorKind::AddrInUse,
            Self::Refused => ErrorKind::ConnectionRefused,
            Self::TimedOut => ErrorKind::TimedOut,
            Self::Reset => ErrorKind::ConnectionReset,
            Self::Closed => ErrorKind::BrokenPipe,
            Self::NoMemory => ErrorKind::OutOfMemory,
            Self::Unreachable => ErrorKind::AddrNotAvailable,
            Self::InvalidAddress | Self::TooLong => ErrorKind::InvalidInput,
            Self::NoSuchName => ErrorKind::NotFound,
            Self::NoNameServer => ErrorKind::NotConnected,
        }
    }
}

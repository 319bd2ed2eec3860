//! Sockets of an interface.
//!
//! [`Tcp`], [`Udp`] and [`Dns`] also implement the traits of edge-nal and embedded-nal-async, and
//! the sockets those of embedded-io-async, so that what is written on these runs on them.

mod dns;
mod edge;
mod embedded;
mod tcp;
mod udp;

pub use dns::Dns;
pub use tcp::{Tcp, TcpOptions};
pub use udp::{Udp, UdpOptions};
pub use unikernel::net::{
    Buffers, Datagram, Error, Family, FrameSocket, Observation, Observer, OwnedTcpReader,
    OwnedTcpWriter, Payload, Reflection, TcpListener, TcpReader, TcpStream, TcpWriter, Traffic,
    UdpFrames, UdpSocket,
};

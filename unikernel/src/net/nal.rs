//! The sockets as edge-nal has them, so that what is written on its traits runs on them.

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use edge_nal::{
    Close, MulticastV4, MulticastV6, Readable, TcpAccept, TcpShutdown, TcpSplit, UdpReceive,
    UdpSend, UdpSplit, UdpSplitMulticast,
};
use embedded_io_async::ErrorType;

use super::error::Error;
use super::tcp::{OwnedTcpReader, TcpListener, TcpReader, TcpStream, TcpWriter};
use super::udp::UdpSocket;

impl TcpAccept for TcpListener {
    type Error = Error;
    type Socket<'a> = TcpStream;

    async fn accept(&self) -> Result<(SocketAddr, TcpStream), Error> {
        let stream = TcpListener::accept(self).await;
        Ok((stream.peer(), stream))
    }
}

impl TcpSplit for TcpStream {
    type Read<'a> = TcpReader<'a>;
    type Write<'a> = TcpWriter<'a>;

    fn split(&mut self) -> (TcpReader<'_>, TcpWriter<'_>) {
        TcpStream::split(self)
    }
}

impl TcpShutdown for TcpStream {
    async fn close(&mut self, what: Close) -> Result<(), Error> {
        if what != Close::Read {
            self.shutdown().await?;
        }
        if what != Close::Write {
            while self.read_with(|data| (data.len(), ())).await?.is_some() {}
        }
        Ok(())
    }

    async fn abort(&mut self) -> Result<(), Error> {
        TcpStream::abort(self);
        Ok(())
    }
}

macro_rules! readable {
    ($reader:ty) => {
        impl Readable for $reader {
            async fn readable(&mut self) -> Result<(), Error> {
                <$reader>::readable(self).await;
                Ok(())
            }
        }
    };
}

readable!(TcpStream);
readable!(TcpReader<'_>);
readable!(OwnedTcpReader);

/// A socket, or a reference to one: both directions can be used at the same time.
macro_rules! datagrams {
    ($socket:ty) => {
        impl ErrorType for $socket {
            type Error = Error;
        }

        impl UdpReceive for $socket {
            async fn receive(&mut self, buffer: &mut [u8]) -> Result<(usize, SocketAddr), Error> {
                let receive = self.receive_with(|from, payload| {
                    let len = payload.len().min(buffer.len());
                    buffer[..len].copy_from_slice(&payload[..len]);
                    (payload.len(), from)
                });
                Ok(receive.await)
            }
        }

        impl UdpSend for $socket {
            async fn send(&mut self, remote: SocketAddr, data: &[u8]) -> Result<(), Error> {
                self.send_to(data, remote).await
            }
        }

        impl Readable for $socket {
            async fn readable(&mut self) -> Result<(), Error> {
                UdpSocket::readable(self).await;
                Ok(())
            }
        }

        impl MulticastV4 for $socket {
            async fn join_v4(&mut self, group: Ipv4Addr, _: Ipv4Addr) -> Result<(), Error> {
                self.join_multicast(group.into())
            }

            async fn leave_v4(&mut self, group: Ipv4Addr, _: Ipv4Addr) -> Result<(), Error> {
                self.leave_multicast(group.into());
                Ok(())
            }
        }

        impl MulticastV6 for $socket {
            async fn join_v6(&mut self, group: Ipv6Addr, _: u32) -> Result<(), Error> {
                self.join_multicast(group.into())
            }

            async fn leave_v6(&mut self, group: Ipv6Addr, _: u32) -> Result<(), Error> {
                self.leave_multicast(group.into());
                Ok(())
            }
        }
    };
}

datagrams!(UdpSocket);
datagrams!(&UdpSocket);

impl UdpSplit for UdpSocket {
    type Receive<'a> = &'a Self;
    type Send<'a> = &'a Self;

    fn split(&mut self) -> (&Self, &Self) {
        (self, self)
    }
}

impl UdpSplitMulticast for UdpSocket {
    type MulticastV4<'a> = &'a Self;
    type MulticastV6<'a> = &'a Self;

    fn split_multicast(&mut self) -> (&Self, &Self, &Self, &Self) {
        (self, self, self, self)
    }
}

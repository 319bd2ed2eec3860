//! embedded-nal-async's traits of a network stack.

use core::net::{IpAddr, SocketAddr};

use embedded_nal_async::{AddrType, TcpConnect};
use unikernel::net::{Error, Family, TcpStream};

use super::dns::Dns;
use super::tcp::Tcp;

impl TcpConnect for Tcp {
    type Error = Error;
    type Connection<'a> = TcpStream;

    async fn connect(&self, remote: SocketAddr) -> Result<TcpStream, Error> {
        Tcp::connect(self, remote).await
    }
}

impl embedded_nal_async::Dns for Dns {
    type Error = Error;

    async fn get_host_by_name(&self, host: &str, kind: AddrType) -> Result<IpAddr, Error> {
        let family = match kind {
            AddrType::IPv4 => Family::Ipv4,
            AddrType::IPv6 => Family::Ipv6,
            AddrType::Either => Family::Any,
        };
        self.resolve_to(host, family).await
    }

    /// Fails: names of addresses are not asked for.
    async fn get_host_by_address(&self, _: IpAddr, _: &mut [u8]) -> Result<usize, Error> {
        Err(Error::NoSuchName)
    }
}

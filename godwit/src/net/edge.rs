//! edge-nal's traits of a network stack. What they bind is bound on the whole interface: of a local
//! address only the port counts.

use core::net::{IpAddr, SocketAddr};

use edge_nal::{AddrType, TcpBind, TcpConnect, UdpBind};
use unikernel::net::{Error, Family, TcpListener, TcpStream, UdpSocket};

use super::dns::Dns;
use super::tcp::Tcp;
use super::udp::Udp;

impl TcpBind for Tcp {
    type Error = Error;
    type Accept<'a> = TcpListener;

    async fn bind(&self, local: SocketAddr) -> Result<TcpListener, Error> {
        Tcp::bind(self, local.port())
    }
}

impl TcpConnect for Tcp {
    type Error = Error;
    type Socket<'a> = TcpStream;

    async fn connect(&self, remote: SocketAddr) -> Result<TcpStream, Error> {
        Tcp::connect(self, remote).await
    }
}

impl UdpBind for Udp {
    type Error = Error;
    type Socket<'a> = UdpSocket;

    async fn bind(&self, local: SocketAddr) -> Result<UdpSocket, Error> {
        Udp::bind(self, local.port())
    }
}

impl edge_nal::Dns for Dns {
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

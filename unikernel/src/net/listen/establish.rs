//! The socket of a handshake that the table has answered.
//!
//! smoltcp makes connections of listening sockets only. So one is shown the SYN again, on an
//! interface of its own that draws the sequence number which was answered with; the answer it gives
//! goes nowhere. What completes the handshake it gets on the interface that all sockets have.

use alloc::vec::Vec;

use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::phy::{self, ChecksumCapabilities, DeviceCapabilities, Medium};
use smoltcp::socket::{Socket, tcp};
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr, TcpSeqNumber};

use super::half_open::HalfOpen;
use crate::net::buffers::{Buffers, new_socket};
use crate::net::error::Error;
use crate::net::sequence::seed_for;

/// The longest headers there are without payload: IPv6's, and TCP's with all its options.
const LONGEST: usize = 40 + 60;

/// The socket of this handshake. It waits for the segment that completes it.
pub(super) fn socket(
    handshake: &HalfOpen,
    buffers: Buffers,
    mtu: usize,
    now: Instant,
) -> Result<tcp::Socket<'static>, Error> {
    let mut socket = new_socket(buffers)?;
    socket.listen(handshake.local).map_err(|_| Error::InvalidAddress)?;
    let mut sockets = SocketSet::new(Vec::with_capacity(1));
    let handle = sockets.add(socket);
    let mut syn = [0; LONGEST];
    let len = handshake.write_syn(&mut syn);
    let mut device = Stage { mtu, syn: Some(&syn[..len]) };
    let mut interface = interface(handshake.number, handshake.local.addr, &mut device, now);
    interface.poll_ingress_single(now, &mut device, &mut sockets);
    interface.poll_egress(now, &mut device, &mut sockets);
    match sockets.remove(handle) {
        Socket::Tcp(socket) if socket.state() == tcp::State::SynReceived => Ok(socket),
        _ => Err(Error::InvalidAddress),
    }
}

/// Connects a socket, beginning with this number.
pub(in crate::net) fn connect(
    socket: &mut tcp::Socket<'static>,
    (local, peer): (smoltcp::wire::IpEndpoint, smoltcp::wire::IpEndpoint),
    number: TcpSeqNumber,
    now: Instant,
) -> Result<(), Error> {
    let mut device = Stage { mtu: 1500, syn: None };
    let mut interface = interface(number, local.addr, &mut device, now);
    socket.connect(interface.context(), peer, local).map_err(|_| Error::Unreachable)
}

/// An interface that draws this number first.
fn interface(
    number: TcpSeqNumber,
    address: IpAddress,
    device: &mut Stage<'_>,
    now: Instant,
) -> Interface {
    let mut config = Config::new(HardwareAddress::Ip);
    config.random_seed = seed_for(number);
    let mut interface = Interface::new(config, device, now);
    interface.update_ip_addrs(|addresses| {
        let len = match address {
            IpAddress::Ipv4(_) => 32,
            IpAddress::Ipv6(_) => 128,
        };
        let _ = addresses.push(IpCidr::new(address, len));
    });
    interface
}

/// Where a SYN comes from and its answer goes to: nowhere.
struct Stage<'a> {
    mtu: usize,
    syn: Option<&'a [u8]>,
}

impl phy::Device for Stage<'_> {
    type RxToken<'b>
        = Rx<'b>
    where
        Self: 'b;
    type TxToken<'b>
        = Tx
    where
        Self: 'b;

    fn receive(&mut self, _: Instant) -> Option<(Rx<'_>, Tx)> {
        Some((Rx(self.syn.take()?), Tx))
    }

    fn transmit(&mut self, _: Instant) -> Option<Tx> {
        Some(Tx)
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.mtu;
        capabilities.checksum = ChecksumCapabilities::ignored();
        capabilities
    }
}

struct Rx<'a>(&'a [u8]);

impl phy::RxToken for Rx<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

struct Tx;

impl phy::TxToken for Tx {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        f(&mut [0; LONGEST][..len])
    }
}

//! The network stack: smoltcp over a [`Nic`](crate::nic::Nic) that may come and go.
//!
//! One [`Stack`] is one network interface, with a NIC or a pair of them. Tasks of one executor
//! share it by cloning the handle; [`Stack::run`] is the task that moves the packets. Sockets,
//! addresses and the DHCP lease belong to the stack and not to the NIC, so they outlive a
//! [`Stack::detach`] and go on with the next [`Stack::attach`].
//!
//! ```text
//!   NIC ── RxBuffer ──▶ smoltcp parses in place ──▶ socket buffers ──▶ tasks
//!                              │
//!                              └─▶ the Observer becomes the owner of the RxBuffer
//! ```
//!
//! The run loop polls the NIC with its interrupt disarmed for as long as there is anything to do, a
//! bounded batch at a time, and lets every other ready task run between two batches. A flood thus
//! costs throughput of the flooded socket and never the progress of the rest, which is what
//! interrupt-per-packet designs lose first.
//!
//! smoltcp is given IP packets. Ethernet is dealt with in front of it: who is where on the link, by
//! which router packets go, and which addresses the interface has. So are the handshakes of
//! listeners, fragments, and paths that are narrower than the link: what strangers send costs
//! memory that was reserved beforehand, until they have shown that they are where they say.
//!
//! The parts, each using only what stands to its right:
//!
//! ```text
//!   tcp ┐                    ┌ pair ───────────────┐
//!   udp ┴─▶ stack ─▶ engine ▶┼ announcer ─▶ emit ──┴─▶ device ─▶ discovery ─▶ neighbors, routes
//!                            ├ addresses ─▶ ipv4 ─▶ dhcp             ├▶ listen ─▶ sequence
//!                            │           └▶ ipv6 ─▶ ndisc            ├▶ reassembly
//!                            ├ groups                                └▶ pieces ─▶ path_mtu
//!                            └ sockets
//! ```

mod addresses;
mod announcer;
mod buffers;
mod config;
mod connections;
mod datagrams;
mod device;
mod dhcp;
mod discovery;
mod dns;
mod emit;
mod engine;
mod error;
mod farewell;
mod flow;
mod fragments6;
mod frame;
mod frames;
mod gro;
mod groups;
mod inbox;
mod intake;
mod ipv4;
mod ipv6;
mod listen;
mod memory;
mod nal;
mod ndisc;
mod neighbors;
mod pair;
mod path_mtu;
mod pieces;
mod ports;
mod queue;
mod reassembly;
mod routes;
mod sequence;
mod sockets;
mod spares;
mod stack;
mod tcp;
mod tokens;
mod traffic;
mod udp;

#[cfg(test)]
mod tests;

pub use buffers::Buffers;
pub use config::{Config, NameServers};
pub use datagrams::{Datagram, Payload, UdpFrames};
pub use dns::Family;
pub use error::Error;
pub use frames::{FrameSocket, Observation, Reflection};
pub use intake::{FrameEdit, FrameFilter, Observer};
pub use ipv4::{Addressing, Lease};
pub use ipv6::Addressing6;
pub use pair::Role;
pub use smoltcp::wire::{EthernetAddress, Ipv4Address, Ipv4Cidr, Ipv6Address, Ipv6Cidr};
pub use stack::Stack;
pub use tcp::{OwnedTcpReader, OwnedTcpWriter, TcpListener, TcpReader, TcpStream, TcpWriter};
pub use traffic::Traffic;
pub use udp::UdpSocket;

//! Who is where in the lab: addresses and ports that several parts have to agree on.

use std::net::Ipv4Addr;

use crate::source::Station;

/// The MAC address of both NICs: the guest takes the second for the first.
pub const MAC: &str = "52:54:00:67:6f:01";

/// The guest.
pub const GUEST: Station =
    Station { mac: [0x52, 0x54, 0x00, 0x67, 0x6f, 0x01], ip: Ipv4Addr::new(10, 0, 2, 15) };
/// The traffic source: a locally administered address.
pub const SOURCE: Station =
    Station { mac: [0x02, 0x67, 0x6f, 0x00, 0x00, 0x64], ip: Ipv4Addr::new(10, 0, 2, 100) };
/// The way out, as QEMU's own network has it.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);

/// Where the guest serves iperf3.
pub const IPERF3_PORT: u16 = 5201;
/// Where it has its status page.
pub const HTTP_PORT: u16 = 80;
/// Where what it is sent comes back.
pub const ECHO_PORT: u16 = 7;

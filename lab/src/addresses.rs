//! Who is where in the lab: names, addresses and ports that several parts have to agree on.

use std::{borrow::Cow, net::Ipv4Addr};

use crate::source::Station;

/// How many interfaces a guest can have, each a NIC of its own on either machine.
pub const INTERFACES: usize = 2;

/// What the guest calls one of its interfaces.
#[must_use]
pub fn interface_name(index: usize) -> Cow<'static, str> {
    match index {
        0 => "nic".into(),
        index => format!("nic{index}").into(),
    }
}

/// MAC addresses of a machine's NICs, and of the other's: the guest takes those for these.
pub const MACS: [&str; INTERFACES] = ["52:54:00:67:6f:01", "52:54:00:67:6f:02"];
/// Those of the destination's NICs, where they are of another model: the guest keeps its own.
pub const OTHER_MACS: [&str; INTERFACES] = ["52:54:00:67:6f:91", "52:54:00:67:6f:92"];
/// The guest, at each of its interfaces.
pub const GUESTS: [Station; INTERFACES] = [
    Station { mac: [0x52, 0x54, 0x00, 0x67, 0x6f, 0x01], ip: Ipv4Addr::new(10, 0, 2, 15) },
    Station { mac: [0x52, 0x54, 0x00, 0x67, 0x6f, 0x02], ip: Ipv4Addr::new(10, 0, 2, 16) },
];
/// What drives traffic at each of them: locally administered addresses.
pub const SOURCES: [Station; INTERFACES] = [
    Station { mac: [0x02, 0x67, 0x6f, 0x00, 0x00, 0x64], ip: Ipv4Addr::new(10, 0, 2, 100) },
    Station { mac: [0x02, 0x67, 0x6f, 0x00, 0x00, 0x65], ip: Ipv4Addr::new(10, 0, 2, 101) },
];

/// The MAC address of a guest with one interface.
pub const MAC: &str = MACS[0];
/// The guest at its first interface, the only one of most.
pub const GUEST: Station = GUESTS[0];
/// What drives traffic at that.
pub const SOURCE: Station = SOURCES[0];

/// The way out, as QEMU's own network has it.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);

/// Where the guest serves iperf3.
pub const IPERF3_PORT: u16 = 5201;
/// Where it has its status page.
pub const HTTP_PORT: u16 = 80;
/// Where what it is sent comes back.
pub const ECHO_PORT: u16 = 7;

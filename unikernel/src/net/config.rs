//! How an interface is set up.

use super::ipv4::Addressing;
use super::ipv6::Addressing6;
use smoltcp::wire::Ipv4Address;

/// How a [`Stack`](super::Stack) is set up.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Where the address comes from.
    pub addressing: Addressing,
    /// Default gateway of a static address. DHCP brings its own.
    pub gateway: Option<Ipv4Address>,
    /// Where the IPv6 addresses come from.
    pub addressing6: Addressing6,
    /// For TCP initial sequence numbers and DHCP transaction ids; another one at each boot.
    pub seed: u64,
}

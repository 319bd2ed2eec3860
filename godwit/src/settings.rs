//! How an interface is set up, by its keys of the command line.

use unikernel::cmdline::InterfaceKeys;
use unikernel::net::{Addressing, Addressing6, Config, Ipv4Address, NameServers};

/// What an interface's stack is made with.
pub(crate) fn config(keys: &InterfaceKeys<'_, '_>) -> Config {
    let gateway = keys.value("gw", Ipv4Address::UNSPECIFIED);
    Config {
        addressing: keys.value("ip", Addressing::Dhcp),
        gateway: (!gateway.is_unspecified()).then_some(gateway),
        addressing6: keys.value("ip6", Addressing6::Auto),
        name_servers: keys.value("dns", NameServers::default()),
        seed: unikernel::random::seed(),
    }
}

//! How an interface is set up, by its keys of the command line.

use alloc::borrow::Cow;

use unikernel::cmdline::InterfaceKeys;
use unikernel::net::{Addressing, Addressing6, Config, Ipv4Address, NameServers};

/// What the stack of the interface of this name is made with.
pub(crate) fn config(name: Cow<'static, str>, keys: &InterfaceKeys<'_, '_>) -> Config {
    let gateway = keys.value("gw", Ipv4Address::UNSPECIFIED);
    Config {
        name,
        addressing: keys.value("ip", Addressing::Dhcp),
        gateway: (!gateway.is_unspecified()).then_some(gateway),
        addressing6: keys.value("ip6", Addressing6::Auto),
        name_servers: keys.value("dns", NameServers::default()),
        seed: unikernel::random::seed(),
        secret: [(); 2].map(|()| unikernel::random::seed()),
    }
}

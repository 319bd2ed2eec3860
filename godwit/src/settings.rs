//! How an interface is set up, by its keys of the command line.

use alloc::borrow::Cow;
use alloc::string::{String, ToString};

use unikernel::cmdline::{CommandLine, InterfaceKeys};
use unikernel::net::{Addressing, Addressing6, Config, Ipv4Address, NameServers};

/// Whether every address on the command line is one: a machine with another address than it was
/// given does harm, to others as well.
///
/// # Errors
/// What is wrong with the first that is none.
pub(crate) fn check(line: &CommandLine<'_>) -> Result<(), String> {
    line.check::<Addressing>("ip").map_err(|bad| bad.to_string())?;
    line.check::<Addressing6>("ip6").map_err(|bad| bad.to_string())?;
    line.check::<Ipv4Address>("gw").map_err(|bad| bad.to_string())?;
    line.check::<NameServers>("dns").map_err(|bad| bad.to_string())
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_without_an_address_where_one_belongs_is_not_booted() {
        for good in ["", "ip=off", "ip=none nic1.ip=dhcp", "ip=10.0.2.15/24 gw=10.0.2.2 ip6=off"] {
            assert_eq!(check(&CommandLine::new(good)), Ok(()));
        }
        for bad in ["ip=10.0.2.15", "nic3.ip=on", "gw=router", "ip6=fd00::1", "dns=1"] {
            let error = check(&CommandLine::new(bad)).unwrap_err();
            assert!(error.starts_with(bad), "{error}");
        }
        let error = check(&CommandLine::new("ip=10.0.2.15")).unwrap_err();
        assert_eq!(
            error,
            "ip=10.0.2.15: expected dhcp, off or a unicast ADDR/LEN such as 10.0.2.15/24"
        );
    }
}

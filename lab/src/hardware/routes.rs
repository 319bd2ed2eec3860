//! Which network interfaces carry the machine's own traffic.
//!
//! An interface does if a route of the machine goes by it, since whoever is connected to the
//! machine, by ssh say, is reached by a route; if it has an IPv6 address that others can reach; or
//! if it is a part of another interface, such as a bridge, a bond or a VLAN, since that one's
//! traffic is its own. Linux' files name the interface of IPv4 routes in the main table only, and
//! of no IPv4 address.

use super::Hardware;

/// Flags of a route in `/proc/net` (Linux, `include/uapi/linux/route.h`): it is in use, and it is
/// one that refuses.
const UP: u32 = 0x1;
const REJECT: u32 = 0x200;

impl Hardware {
    /// Why an interface is not to be taken from the machine, if so. The reason that matters most to
    /// people comes first.
    pub(crate) fn carries(&self, interface: &str) -> Option<String> {
        let routes = self.routes(interface);
        if routes.iter().any(|route| route == DEFAULT) {
            return Some(format!("the default route goes by {interface}"));
        }
        let parts = self.names(&format!("/sys/class/net/{interface}"));
        let upper = parts.iter().find_map(|name| name.strip_prefix("upper_"));
        if let Some(upper) = upper {
            return Some(format!("{interface} is a part of {upper}"));
        }
        if let Some(route) = routes.first() {
            return Some(format!("{route} is reached by {interface}"));
        }
        let addresses = self.text("/proc/net/if_inet6").unwrap_or_default();
        let address = addresses.lines().find_map(|line| ipv6_address(line, interface))?;
        Some(format!("{interface} has the address {address}"))
    }

    /// Where the machine's routes by an interface lead to.
    fn routes(&self, interface: &str) -> Vec<String> {
        let ipv4 = self.text("/proc/net/route").unwrap_or_default();
        let ipv6 = self.text("/proc/net/ipv6_route").unwrap_or_default();
        let routes = ipv4.lines().skip(1).filter_map(|line| ipv4_route(line, interface));
        routes.chain(ipv6.lines().filter_map(|line| ipv6_route(line, interface))).collect()
    }
}

/// Where a default route leads to.
const DEFAULT: &str = "everything else";

/// A line of `/proc/net/route`: interface, destination, gateway, flags, three counts, mask, and
/// more; addresses in hexadecimal, their bytes in the machine's order.
fn ipv4_route(line: &str, interface: &str) -> Option<String> {
    let fields: Vec<_> = line.split_ascii_whitespace().collect();
    let &[name, destination, _, flags, _, _, _, mask, ..] = &fields[..] else { return None };
    let number = |text: &str| u32::from_str_radix(text, 16).ok();
    if name != interface || number(flags)? & (UP | REJECT) != UP {
        return None;
    }
    let [a, b, c, d] = number(destination)?.to_le_bytes();
    match number(mask)?.count_ones() {
        0 => Some(DEFAULT.into()),
        length => Some(format!("{a}.{b}.{c}.{d}/{length}")),
    }
}

/// A line of `/proc/net/ipv6_route`: destination, its length, source, its length, next hop, metric,
/// two counts, flags, interface; all in hexadecimal.
fn ipv6_route(line: &str, interface: &str) -> Option<String> {
    let fields: Vec<_> = line.split_ascii_whitespace().collect();
    let &[destination, length, _, _, _, _, _, _, flags, name] = &fields[..] else { return None };
    let flags = u32::from_str_radix(flags, 16).ok()?;
    if name != interface || flags & (UP | REJECT) != UP {
        return None;
    }
    let address = std::net::Ipv6Addr::from(u128::from_str_radix(destination, 16).ok()?);
    // Every interface that is up has these.
    if address.is_unicast_link_local() || address.is_multicast() {
        return None;
    }
    match u8::from_str_radix(length, 16).ok()? {
        0 => Some(DEFAULT.into()),
        length => Some(format!("{address}/{length}")),
    }
}

/// A line of `/proc/net/if_inet6`: address, number of the interface, length of the prefix, scope,
/// flags, interface; all in hexadecimal. Only one of global scope.
fn ipv6_address(line: &str, interface: &str) -> Option<std::net::Ipv6Addr> {
    let fields: Vec<_> = line.split_ascii_whitespace().collect();
    let &[address, _, _, "00", _, name] = &fields[..] else { return None };
    let address = u128::from_str_radix(address, 16).ok()?;
    (name == interface).then_some(address.into())
}

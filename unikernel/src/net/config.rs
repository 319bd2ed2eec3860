//! How an interface is set up.

use alloc::borrow::Cow;
use core::fmt;
use core::net::IpAddr;
use core::str::FromStr;

use smoltcp::wire::Ipv4Address;

use super::ipv4::Addressing;
use super::ipv6::Addressing6;

/// How a [`Stack`](super::Stack) is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// What its lines on the console begin with.
    pub name: Cow<'static, str>,
    /// Where the address comes from.
    pub addressing: Addressing,
    /// Default gateway of a static address. DHCP brings its own.
    pub gateway: Option<Ipv4Address>,
    /// Where the IPv6 addresses come from.
    pub addressing6: Addressing6,
    /// DNS servers. DHCP adds its own.
    pub name_servers: NameServers,
    /// For ports and DHCP transaction ids; another one at each boot.
    pub seed: u64,
    /// What TCP's sequence numbers cannot be told without (RFC 6528). Nothing else comes from it.
    pub secret: [u64; 2],
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: "nic".into(),
            addressing: Addressing::default(),
            gateway: None,
            addressing6: Addressing6::default(),
            name_servers: NameServers::default(),
            seed: 0,
            secret: [0; 2],
        }
    }
}

/// `dns=` of the command line: addresses of DNS servers, separated by commas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NameServers([Option<IpAddr>; NameServers::MOST]);

impl NameServers {
    /// How many there can be.
    pub const MOST: usize = 3;

    /// Their addresses.
    pub fn iter(&self) -> impl Iterator<Item = IpAddr> {
        self.0.into_iter().flatten()
    }
}

impl FromStr for NameServers {
    type Err = BadNameServers;

    fn from_str(text: &str) -> Result<Self, BadNameServers> {
        let mut servers = Self::default();
        for (index, word) in text.split(',').enumerate() {
            let address: IpAddr = word.parse().map_err(|_| BadNameServers)?;
            if address.is_unspecified() || address.is_multicast() {
                return Err(BadNameServers);
            }
            *servers.0.get_mut(index).ok_or(BadNameServers)? = Some(address);
        }
        Ok(servers)
    }
}

/// Not one to three addresses of hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadNameServers;

impl fmt::Display for BadNameServers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected up to three addresses such as 10.0.2.3 or 10.0.2.3,fd00::53")
    }
}

impl core::error::Error for BadNameServers {}

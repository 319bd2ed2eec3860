//! What the owner of the machine decides about its NIC.

use core::fmt;
use core::str::FromStr;

use crate::cmdline::{InterfaceKeys, Switch};

/// How a driver sets its NIC up. What the hardware cannot do is an error of the driver's, never
/// ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Longest IP packet.
    pub mtu: Mtu,
    /// The interface is a member of this VLAN and of no other: the NIC adds and removes the tag,
    /// and frames without it do not arrive. `None`: frames are untagged.
    pub vlan: Option<VlanId>,
    /// Receive every frame on the wire.
    pub promiscuous: bool,
    /// Receive queues to spread flows over, where the hardware has as many.
    pub queues: Queues,
    /// Station address in place of the NIC's own.
    pub mac: Option<[u8; 6]>,
}

impl Settings {
    /// Takes `mtu=`, `vlan=`, `promiscuous=` and `queues=` from an interface's keys.
    pub fn from_keys(keys: &InterfaceKeys<'_, '_>) -> Self {
        let default = Self::default();
        Self {
            mtu: keys.value("mtu", default.mtu),
            vlan: keys.value("vlan", Membership(default.vlan)).0,
            promiscuous: keys.value("promiscuous", Switch(default.promiscuous)).0,
            queues: keys.value("queues", default.queues),
            mac: default.mac,
        }
    }

    /// Longest frame as the stack sees it: Ethernet header included, VLAN tag and frame check
    /// sequence not.
    pub fn max_frame(&self) -> usize {
        ETHERNET_HEADER + self.mtu.get()
    }
}

/// Two addresses and a type.
const ETHERNET_HEADER: usize = 14;

/// A maximum transmission unit in bytes, IP header included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mtu(u16);

impl Mtu {
    /// What every IPv4 host takes in one piece (RFC 791, 3.1).
    pub const MIN: Self = Self(576);
    /// What Ethernet carries without jumbo frames.
    pub const ETHERNET: Self = Self(1500);
    /// The longest that all the hardware has in common, and the stack.
    pub const MAX: Self = Self(9216);

    /// An MTU of that many bytes, if it lies between [`MIN`](Self::MIN) and [`MAX`](Self::MAX).
    pub fn new(bytes: u16) -> Option<Self> {
        (Self::MIN.0..=Self::MAX.0).contains(&bytes).then_some(Self(bytes))
    }

    /// In bytes.
    pub fn get(self) -> usize {
        self.0.into()
    }
}

impl Default for Mtu {
    fn default() -> Self {
        Self::ETHERNET
    }
}

impl FromStr for Mtu {
    type Err = BadMtu;

    fn from_str(text: &str) -> Result<Self, BadMtu> {
        number(text).and_then(Self::new).ok_or(BadMtu)
    }
}

/// The text was no [`Mtu`].
#[derive(Debug, PartialEq, Eq)]
pub struct BadMtu;

impl fmt::Display for BadMtu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an MTU is a number of bytes from {} to {}, as in 1500", Mtu::MIN.0, Mtu::MAX.0)
    }
}

/// The number of a VLAN (IEEE 802.1Q, 9.6): 1 to 4094.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VlanId(u16);

impl VlanId {
    /// The VLAN of that number. 0 stands for none in a tag, and 4095 is reserved.
    pub fn new(number: u16) -> Option<Self> {
        (1..=4094).contains(&number).then_some(Self(number))
    }

    /// Its number.
    pub fn get(self) -> u16 {
        self.0
    }
}

/// `vlan=`.
struct Membership(Option<VlanId>);

impl FromStr for Membership {
    type Err = BadVlan;

    fn from_str(text: &str) -> Result<Self, BadVlan> {
        if text == "none" {
            return Ok(Self(None));
        }
        number(text).and_then(VlanId::new).map(|id| Self(Some(id))).ok_or(BadVlan)
    }
}

/// Neither `none` nor a [`VlanId`].
#[derive(Debug, PartialEq, Eq)]
struct BadVlan;

impl fmt::Display for BadVlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected the number of a VLAN, 1 to 4094, or none")
    }
}

/// A number of queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queues(u8);

impl Queues {
    /// More than this many no driver uses.
    pub const MAX: usize = 8;

    /// That many queues, from 1 to [`MAX`](Self::MAX).
    pub fn new(count: u16) -> Option<Self> {
        (1..=Self::MAX as u16).contains(&count).then_some(Self(count as u8))
    }

    /// How many.
    pub fn get(self) -> usize {
        self.0.into()
    }
}

impl Default for Queues {
    /// One processor serves them all, and one queue costs it least.
    fn default() -> Self {
        Self(1)
    }
}

impl FromStr for Queues {
    type Err = BadQueues;

    fn from_str(text: &str) -> Result<Self, BadQueues> {
        number(text).and_then(Self::new).ok_or(BadQueues)
    }
}

/// The text was no [`Queues`].
#[derive(Debug, PartialEq, Eq)]
pub struct BadQueues;

impl fmt::Display for BadQueues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected a number of receive queues from 1 to {}", Queues::MAX)
    }
}

/// Digits only: `u16::from_str` would take a sign.
fn number(text: &str) -> Option<u16> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmdline::CommandLine;
    use std::string::ToString;

    #[test]
    fn a_line_without_these_keys_is_plain_ethernet() {
        let settings = Settings::from_keys(&CommandLine::new("ip=dhcp").interface(0));
        assert_eq!(settings, Settings::default());
        assert_eq!((settings.max_frame(), settings.queues.get()), (1514, 1));
    }

    #[test]
    fn every_key_is_taken_and_known() {
        let line = CommandLine::new("mtu=9000 vlan=100 promiscuous=on queues=4");
        let settings = Settings::from_keys(&line.interface(0));
        assert_eq!(settings.mtu.get(), 9000);
        assert_eq!(settings.vlan.map(VlanId::get), Some(100));
        assert!(settings.promiscuous);
        assert_eq!(settings.queues.get(), 4);
        assert_eq!(line.unknown().count(), 0);
    }

    #[test]
    fn bad_values_are_named_with_what_would_be_good() {
        for bad in ["", "0", "575", "9217", "+1500", "-1", "1500B", "65536", "jumbo"] {
            assert_eq!(bad.parse::<Mtu>(), Err(BadMtu), "{bad}");
        }
        assert!(BadMtu.to_string().contains("576 to 9216"));
        for bad in ["", "0", "4095", "+1", "a"] {
            assert!(bad.parse::<Membership>().is_err(), "{bad}");
        }
        for bad in ["", "0", "9", "two"] {
            assert!(bad.parse::<Queues>().is_err(), "{bad}");
        }
        let line = CommandLine::new("mtu=1 vlan=4095 promiscuous=maybe queues=0");
        assert_eq!(Settings::from_keys(&line.interface(0)), Settings::default());
    }
}

//! Values of options that are more than a word or a number.

use std::{fmt, str::FromStr};

/// A NIC of `run`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RunNic {
    E1000,
    E1000e,
    Igb,
    Ixgbe,
    Virtio,
    /// A PCI function of this machine, as `DDDD:BB:DD.F`.
    Vfio(String),
}

impl FromStr for RunNic {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "e1000" => Self::E1000,
            "e1000e" => Self::E1000e,
            "igb" => Self::Igb,
            "ixgbe" => Self::Ixgbe,
            "virtio" => Self::Virtio,
            _ => match text.strip_prefix("vfio:") {
                Some(bdf) => Self::Vfio(parse_bdf(bdf)?),
                None => {
                    return Err("possible values: e1000, e1000e, igb, ixgbe, virtio, vfio:BDF \
                                (such as vfio:0000:03:00.0)"
                        .into());
                }
            },
        })
    }
}

impl fmt::Display for RunNic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::E1000 => f.write_str("e1000"),
            Self::E1000e => f.write_str("e1000e"),
            Self::Igb => f.write_str("igb"),
            Self::Ixgbe => f.write_str("ixgbe"),
            Self::Virtio => f.write_str("virtio"),
            Self::Vfio(bdf) => write!(f, "vfio:{bdf}"),
        }
    }
}

/// Brings `BB:DD.F` or `DDDD:BB:DD.F` into the long form sysfs uses.
pub(super) fn parse_bdf(text: &str) -> Result<String, String> {
    let wrong = || {
        format!("`{text}` is not a PCI address; the form is [domain:]bus:device.function, 03:00.0")
    };
    let long = if text.matches(':').count() == 1 { format!("0000:{text}") } else { text.into() };
    let (domain_bus, device_function) = long.rsplit_once(':').ok_or_else(wrong)?;
    let (domain, bus) = domain_bus.split_once(':').ok_or_else(wrong)?;
    let (device, function) = device_function.split_once('.').ok_or_else(wrong)?;
    let number = |text: &str, digits: usize, limit: u32| {
        hex(text, digits).filter(|&n| n < limit).ok_or_else(wrong)
    };
    Ok(format!(
        "{:04x}:{:02x}:{:02x}.{:x}",
        number(domain, 4, 0x1_0000)?,
        number(bus, 2, 0x100)?,
        number(device, 2, 32)?,
        number(function, 1, 8)?
    ))
}

/// A number of exactly so many hexadecimal digits, without a sign.
fn hex(text: &str, digits: usize) -> Option<u32> {
    let digits_only = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    u32::from_str_radix(text, 16).ok().filter(|_| digits_only)
}

/// Checks the address of one station.
pub(super) fn parse_mac(text: &str) -> Result<String, String> {
    let octets: Option<Vec<u32>> = text.split(':').map(|octet| hex(octet, 2)).collect();
    match octets.as_deref() {
        // IEEE 802: the first octet's lowest bit says that a group is meant.
        Some([first, _, _, _, _, _]) if first & 1 == 0 => Ok(text.into()),
        _ => Err(format!("`{text}` is not a station's MAC address; the form is 52:54:00:12:34:56")),
    }
}

/// What the NIC of `run` is connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Net {
    User,
    Tap(String),
}

impl FromStr for Net {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "user" => Ok(Self::User),
            // IFNAMSIZ is 16 with its terminator; a comma would end the option in QEMU's syntax.
            Some(("tap", name))
                if !name.is_empty() && name.len() < 16 && !name.contains([',', '/', ' ']) =>
            {
                Ok(Self::Tap(name.into()))
            }
            _ => Err("possible values: user, tap:INTERFACE".into()),
        }
    }
}

/// One `--forward`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Forward {
    pub(crate) host: u16,
    pub(crate) guest: u16,
}

impl FromStr for Forward {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let port = |text: &str| text.parse().ok().filter(|&port: &u16| port != 0);
        text.split_once(':')
            .and_then(|(host, guest)| Some(Self { host: port(host)?, guest: port(guest)? }))
            .ok_or_else(|| "the form is HOST:GUEST, two ports, such as 5201:5201".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pci_addresses_come_out_in_the_form_of_sysfs() {
        assert_eq!("vfio:3:00.0".parse::<RunNic>().ok(), None);
        assert_eq!("vfio:03:00.8".parse::<RunNic>().ok(), None);
        assert_eq!("vfio:03:20.0".parse::<RunNic>().ok(), None);
        assert_eq!("vfio:+3:00.0".parse::<RunNic>().ok(), None);
        assert_eq!("vfio:0A:1f.7".parse(), Ok(RunNic::Vfio("0000:0a:1f.7".into())));
        assert_eq!("vfio:0001:0a:00.0".parse(), Ok(RunNic::Vfio("0001:0a:00.0".into())));
    }

    #[test]
    fn mac_addresses_are_those_of_stations() {
        assert_eq!(parse_mac("52:54:00:aB:00:01").as_deref(), Ok("52:54:00:aB:00:01"));
        for wrong in
            ["", "52:54:00:ab:00", "52:54:00:ab:00:01:02", "53:54:00:ab:00:01", "+2:00:00:00:00:00"]
        {
            assert!(parse_mac(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn forwards_need_two_ports() {
        assert_eq!("5201:80".parse(), Ok(Forward { host: 5201, guest: 80 }));
        for wrong in ["5201", "5201:", ":1", "0:1", "70000:1", "1:2:3"] {
            assert!(wrong.parse::<Forward>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn taps_cannot_smuggle_options_into_qemu() {
        assert_eq!("tap:tap0".parse(), Ok(Net::Tap("tap0".into())));
        for wrong in ["tap", "tap:", "tap:a,script=x", "tap:sixteen_letters__", "bridge"] {
            assert!(wrong.parse::<Net>().is_err(), "{wrong}");
        }
    }
}

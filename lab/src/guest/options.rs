//! What can be chosen about a guest's NIC, as people write it.

use std::{fmt, str::FromStr};

use clap::ValueEnum;

use crate::parts::NicModel;

/// The NIC of a guest on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Nic {
    /// One that is emulated.
    Emulated(NicModel),
    /// A PCI function of this machine, as `DDDD:BB:DD.F`.
    Vfio(String),
}

impl FromStr for Nic {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(bdf) = text.strip_prefix("vfio:") {
            return parse_bdf(bdf).map(Self::Vfio);
        }
        NicModel::from_str(text, false).map(Self::Emulated).map_err(|_| {
            let models = NicModel::value_variants().iter().map(|model| model.name());
            let models = models.collect::<Vec<_>>().join(", ");
            format!("possible values: {models}, vfio:BDF (such as vfio:0000:03:00.0)")
        })
    }
}

impl fmt::Display for Nic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Emulated(model) => model.fmt(f),
            Self::Vfio(bdf) => write!(f, "vfio:{bdf}"),
        }
    }
}

/// The NICs of a migration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MigrationNic {
    /// A model that a lab passes through.
    Model(NicModel),
    /// A PCI function of a machine for either side: the one that the guest comes from, and the one
    /// it goes to.
    Functions([String; 2]),
}

impl FromStr for MigrationNic {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(pair) = text.strip_prefix("vfio:") {
            let pair =
                pair.split_once(',').ok_or("two NICs are needed: vfio:SOURCE,DESTINATION")?;
            return Ok(Self::Functions([parse_bdf(pair.0)?, parse_bdf(pair.1)?]));
        }
        let models = NicModel::OF_LABS;
        let model = models.into_iter().find(|model| model.name() == text).map(Self::Model);
        let names = models.map(NicModel::name).join(", ");
        model.ok_or_else(|| format!("possible values: {names}, vfio:SOURCE,DESTINATION"))
    }
}

/// Brings `BB:DD.F` or `DDDD:BB:DD.F` into the long form sysfs uses.
///
/// # Errors
/// It is neither.
pub fn parse_bdf(text: &str) -> Result<String, String> {
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
///
/// # Errors
/// It is none.
pub fn parse_mac(text: &str) -> Result<String, String> {
    let octets: Option<Vec<u32>> = text.split(':').map(|octet| hex(octet, 2)).collect();
    match octets.as_deref() {
        // IEEE 802: the first octet's lowest bit says that a group is meant.
        Some([first, _, _, _, _, _]) if first & 1 == 0 => Ok(text.into()),
        _ => Err(format!("`{text}` is not a station's MAC address; the form is 52:54:00:12:34:56")),
    }
}

/// What a NIC is connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Net {
    /// QEMU's own network.
    User,
    /// A tap of this machine, by its name.
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

/// A port that is forwarded to the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forward {
    /// Of this machine.
    pub host: u16,
    /// Of the guest.
    pub guest: u16,
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
        assert_eq!("vfio:3:00.0".parse::<Nic>().ok(), None);
        assert_eq!("vfio:03:00.8".parse::<Nic>().ok(), None);
        assert_eq!("vfio:03:20.0".parse::<Nic>().ok(), None);
        assert_eq!("vfio:+3:00.0".parse::<Nic>().ok(), None);
        assert_eq!("vfio:0A:1f.7".parse(), Ok(Nic::Vfio("0000:0a:1f.7".into())));
        assert_eq!("vfio:0001:0a:00.0".parse(), Ok(Nic::Vfio("0001:0a:00.0".into())));
    }

    #[test]
    fn a_migration_takes_a_model_or_two_functions() {
        let functions = ["0000:03:00.0".to_owned(), "0001:04:00.1".to_owned()];
        let text = "vfio:03:00.0,0001:04:00.1";
        assert_eq!(text.parse(), Ok(MigrationNic::Functions(functions)));
        assert_eq!("igb".parse(), Ok(MigrationNic::Model(NicModel::Igb)));
        for wrong in ["virtio", "vfio:03:00.0", "vfio:03:00.0,", "vfio:", ""] {
            assert!(wrong.parse::<MigrationNic>().is_err(), "{wrong}");
        }
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

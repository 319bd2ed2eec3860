//! A function that is taken from the machine for a guest, and given back.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

use super::{
    Hardware, Nic,
    nics::{FUNCTIONS, VFIO},
};
use crate::system::{command, signals};

/// Whether a NIC may be taken that the machine needs for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    /// No: that may end the connection over which it was asked for.
    Spare,
    /// Yes.
    Even,
}

/// A function bound to vfio-pci. Dropped, or when a signal ends this process, it is what it was
/// before.
pub struct Claim {
    _given_back: Option<signals::Finally>,
}

impl Hardware {
    /// Checks that a function can be given to a guest.
    ///
    /// # Errors
    /// What keeps it from being given, and what to do about it.
    pub fn check(&self, address: &str, take: Take) -> Result<Nic> {
        let nic = self.nic(address).with_context(|| {
            format!("this machine has no PCI function {address}; `lspci -D` lists them")
        })?;
        // A mistyped address may be a disk's.
        ensure!(
            self.is_nic(address),
            "{address} is no Ethernet controller, but of class {}; `cargo xtask doctor` lists this \
             machine's",
            self.attribute(address, "class").as_deref().unwrap_or("unknown")
        );
        let Some(group) = &nic.group else {
            bail!(
                "{address} is in no IOMMU group: turn the IOMMU on in the firmware, and in Linux \
                 with intel_iommu=on or amd_iommu=on on its command line"
            );
        };
        ensure!(
            nic.companions.is_empty(),
            "{address} shares its IOMMU group, {group}, with {}: all of it would go to the guest. \
             Unbind that from its driver, or put the NIC below a port that has ACS",
            nic.companions.join(", ")
        );
        ensure!(
            !nic.is_held,
            "a program has {address} already: /dev/vfio/{group} is open, as `fuser -v \
             /dev/vfio/{group}` tells"
        );
        if let (Some(why), Take::Spare) = (&nic.carries, take) {
            bail!(
                "{address} is this machine's own: {why}. It stays, unless you name it with --take \
                 {address} as well"
            );
        }
        Ok(nic)
    }

    /// Binds a function to vfio-pci, unless it is already.
    ///
    /// # Errors
    /// As those of [`Hardware::check`]; or Linux does not let this user, or vfio-pci not this
    /// function.
    pub fn claim(&self, address: &str, take: Take) -> Result<Claim> {
        let nic = self.check(address, take)?;
        let mut given_back = None;
        if !nic.is_given() {
            if !self.has(&format!("/sys/bus/pci/drivers/{VFIO}")) {
                command::run(Command::new("modprobe").arg(VFIO))?;
            }
            let (before, hardware) = (self.binding(address), self.clone());
            let given = Binding { driver: Some(VFIO.into()), only: VFIO.into(), ..before.clone() };
            let (bound, finally) = signals::Finally::doing(
                || self.bind(&given),
                move || {
                    if let Err(error) = hardware.restore(&before) {
                        eprintln!("{} cannot be given back: {error:#}", before.address);
                    }
                },
            );
            // What is half done is undone too.
            given_back = Some(finally);
            bound.with_context(|| format!("cannot bind {address} to {VFIO}, as root only"))?;
        }
        let group = nic.group.unwrap_or_default();
        let device = self.path("/dev/vfio").join(group);
        fs::File::options().read(true).write(true).open(&device).with_context(|| {
            format!("{} cannot be opened; give yourself the file, or run as root", device.display())
        })?;
        Ok(Claim { _given_back: given_back })
    }

    /// What a function is bound to now.
    fn binding(&self, address: &str) -> Binding {
        let only = self.attribute(address, "driver_override");
        Binding {
            address: address.into(),
            driver: self.driver(address),
            // How Linux shows none.
            only: only.filter(|name| name != "(null)").unwrap_or_default(),
        }
    }

    /// Binds a function to what it was bound to before, if it is not.
    fn restore(&self, before: &Binding) -> Result<()> {
        // Who may not take it may not give it back either, and has taken nothing.
        if self.binding(&before.address) == *before { Ok(()) } else { self.bind(before) }
    }

    /// Binds a function to a driver, or to none.
    fn bind(&self, binding: &Binding) -> Result<()> {
        for (path, text) in self.writes(binding) {
            write(&path, &text).with_context(|| path.display().to_string())?;
        }
        let bound = self.driver(&binding.address);
        ensure!(
            bound == binding.driver,
            "{} is bound to {} instead of {}",
            binding.address,
            bound.as_deref().unwrap_or("no driver"),
            binding.driver.as_deref().unwrap_or("none")
        );
        Ok(())
    }

    /// What has to be written where for that, in this order.
    fn writes(&self, binding: &Binding) -> Vec<(PathBuf, String)> {
        let Binding { address, driver, only } = binding;
        let function = format!("{FUNCTIONS}/{address}");
        // Linux takes an empty line for none, and no empty text.
        let mut writes =
            vec![(self.path(&format!("{function}/driver_override")), format!("{only}\n"))];
        if self.driver(address).is_some() {
            writes.push((self.path(&format!("{function}/driver/unbind")), address.clone()));
        }
        if driver.is_some() {
            writes.push((self.path("/sys/bus/pci/drivers_probe"), address.clone()));
        }
        writes
    }
}

/// What a function is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Binding {
    address: String,
    driver: Option<String>,
    /// The one driver it may have; empty for any that knows it.
    only: String,
}

/// To an attribute that is there: a file that is not must not come to be.
fn write(path: &Path, text: &str) -> io::Result<()> {
    io::Write::write_all(&mut fs::File::options().write(true).open(path)?, text.as_bytes())
}

/// How to give a function back by hand, to the driver that knows it.
#[must_use]
pub fn give_back(address: &str) -> String {
    let function = format!("{FUNCTIONS}/{address}");
    format!(
        "echo > {function}/driver_override\necho {address} > {function}/driver/unbind\n\
         echo {address} > /sys/bus/pci/drivers_probe"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::tests::Fake;

    #[test]
    fn a_function_goes_to_vfio_by_its_override_and_comes_back_to_its_driver() {
        let fake = Fake::new();
        fake.nic("0000:03:00.0", "e1000e", 4, "eth0");
        let hardware = fake.hardware();
        let before = hardware.binding("0000:03:00.0");
        assert_eq!((before.driver.as_deref(), &*before.only), (Some("e1000e"), ""));
        let names = |binding: &Binding| {
            let writes = hardware.writes(binding).into_iter();
            let name = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
            writes.map(|(path, text)| name(path) + " " + &text).collect::<Vec<_>>()
        };
        let to = Binding { driver: Some(VFIO.into()), only: VFIO.into(), ..before.clone() };
        let probe = "drivers_probe 0000:03:00.0";
        let unbind = "unbind 0000:03:00.0";
        assert_eq!(names(&to), ["driver_override vfio-pci\n", unbind, probe]);
        assert_eq!(names(&before), ["driver_override \n", unbind, probe]);
        // One that had no driver is left without.
        let none = Binding { driver: None, ..before };
        assert_eq!(names(&none), ["driver_override \n", unbind]);
    }

    #[test]
    fn what_the_machine_needs_is_not_taken_unless_told() {
        let fake = Fake::new();
        fake.nic("0000:03:00.0", "e1000e", 4, "eth0");
        fake.route("eth0", "00000000", "00000000");
        let hardware = fake.hardware();
        let error = hardware.check("0000:03:00.0", Take::Spare).unwrap_err().to_string();
        assert!(
            error.contains("default route goes by eth0") && error.contains("--take"),
            "{error}"
        );
        assert!(hardware.claim("0000:03:00.0", Take::Spare).is_err());
        assert_eq!(hardware.driver("0000:03:00.0").as_deref(), Some("e1000e"));
        assert!(hardware.check("0000:03:00.0", Take::Even).is_ok());
    }

    #[test]
    fn what_was_not_taken_is_not_given_back() {
        let fake = Fake::new();
        fake.nic("0000:03:00.0", "e1000e", 4, "eth0");
        let hardware = fake.hardware();
        let before = hardware.binding("0000:03:00.0");
        // There is nothing to be written to, as for a user who may not.
        assert!(hardware.bind(&before).is_err());
        hardware.restore(&before).unwrap();
        fake.write("/sys/bus/pci/devices/0000:03:00.0/driver_override", "vfio-pci\n");
        assert!(hardware.restore(&before).is_err());
    }

    #[test]
    fn what_is_no_nic_is_never_taken() {
        let fake = Fake::new();
        fake.function("0000:04:00.0", "0x010802", Some("nvme"), Some(5));
        for take in [Take::Spare, Take::Even] {
            let error = fake.hardware().check("0000:04:00.0", take).unwrap_err().to_string();
            assert!(error.contains("no Ethernet controller") && error.contains("0x010802"));
        }
    }

    #[test]
    fn what_is_not_there_or_shared_or_without_an_iommu_is_named() {
        let fake = Fake::new();
        fake.nic("0000:03:00.0", "e1000e", 4, "eth0");
        fake.nic("0000:03:00.1", "e1000e", 4, "eth1");
        fake.function("0000:04:00.0", "0x020000", None, None);
        let error = |address| {
            let error = fake.hardware().check(address, Take::Even).unwrap_err();
            format!("{error:#}")
        };
        assert!(error("ffff:ff:1f.7").contains("no PCI function ffff:ff:1f.7"));
        assert!(error("0000:03:00.0").contains("0000:03:00.1"));
        assert!(error("0000:04:00.0").contains("intel_iommu=on"));
    }
}

//! The NICs of a machine.

use std::{fs, io};

use serde::Serialize;

use super::Hardware;

/// Where Linux lists PCI functions.
pub(super) const FUNCTIONS: &str = "/sys/bus/pci/devices";
/// The driver that gives a function to a guest.
pub(super) const VFIO: &str = "vfio-pci";

/// An Ethernet controller of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Nic {
    /// Its PCI address, as `DDDD:BB:DD.F`.
    pub address: String,
    /// Vendor and device, as `8086:10d3`.
    pub id: String,
    /// The driver it is bound to.
    pub driver: Option<String>,
    /// Its IOMMU group.
    pub group: Option<String>,
    /// Other functions of the group that have a driver of the machine's, and would have to go to
    /// the guest as well: that is so where a bridge above lacks ACS.
    pub companions: Vec<String>,
    /// The network interfaces it is.
    pub interfaces: Vec<String>,
    /// Why the machine needs it for itself, if it does.
    pub carries: Option<String>,
    /// It is bound to vfio-pci, and a program has its group open: a guest's QEMU, for one.
    pub is_held: bool,
    /// It is a virtual function.
    pub is_virtual: bool,
    /// How many virtual functions it has, and may have; none where it cannot.
    pub virtual_functions: Option<(u32, u32)>,
}

impl Nic {
    /// Whether it could be given to a guest at once: it is in a group of its own, nothing of the
    /// machine's needs it, and no guest has it. Whether Godwit has a driver for it, this does not
    /// tell.
    #[must_use]
    pub fn is_candidate(&self) -> bool {
        let is_alone = self.group.is_some() && self.companions.is_empty();
        is_alone && self.carries.is_none() && !self.is_held
    }

    /// Whether it is bound to vfio-pci.
    #[must_use]
    pub fn is_given(&self) -> bool {
        self.driver.as_deref() == Some(VFIO)
    }
}

impl Hardware {
    /// All of them, in the order of their addresses.
    #[must_use]
    pub fn nics(&self) -> Vec<Nic> {
        let functions = self.names(FUNCTIONS);
        functions.iter().filter(|one| self.is_nic(one)).filter_map(|one| self.nic(one)).collect()
    }

    /// Whether the function at an address is an Ethernet controller.
    pub(super) fn is_nic(&self, address: &str) -> bool {
        // PCI Code and ID Assignment 1.3: 02 00 is one.
        self.attribute(address, "class").is_some_and(|class| class.starts_with("0x0200"))
    }

    /// The function at an address, whatever it is.
    #[must_use]
    pub fn nic(&self, address: &str) -> Option<Nic> {
        let function = format!("{FUNCTIONS}/{address}");
        let id = |name| Some(self.attribute(address, name)?.trim_start_matches("0x").to_owned());
        let group = self.link(&format!("{function}/iommu_group"));
        let members = self.names(&format!("{function}/iommu_group/devices"));
        let is_companion = |other: &String| other != address && self.is_needed(other);
        let interfaces = self.interfaces(address);
        let count = |name| self.attribute(address, name)?.parse().ok();
        let virtual_functions: Option<(u32, u32)> =
            count("sriov_numvfs").zip(count("sriov_totalvfs"));
        // They go with the driver that made them.
        let in_use = virtual_functions.filter(|(there, _)| *there > 0);
        let in_use = in_use.map(|(there, _)| format!("{there} of its virtual functions are there"));
        let driver = self.driver(address);
        let is_given = driver.as_deref() == Some(VFIO);
        let elsewhere = driver.as_ref().filter(|_| !is_given && interfaces.is_empty());
        let elsewhere = elsewhere.map(|driver| {
            format!(
                "{driver} has it and shows no interface here: it may be in another network \
                 namespace, or a program's (DPDK)"
            )
        });
        let by_interface = interfaces.iter().find_map(|interface| self.carries(interface));
        Some(Nic {
            address: address.into(),
            id: format!("{}:{}", id("vendor")?, id("device")?),
            companions: members.into_iter().filter(is_companion).collect(),
            carries: by_interface.or(in_use).or(elsewhere),
            is_held: is_given && group.as_deref().is_some_and(|group| self.is_held(group)),
            driver,
            group,
            interfaces,
            is_virtual: self.has(&format!("{function}/physfn")),
            virtual_functions,
        })
    }

    /// What an attribute of a PCI function says.
    pub(super) fn attribute(&self, address: &str, name: &str) -> Option<String> {
        self.text(&format!("{FUNCTIONS}/{address}/{name}"))
    }

    /// The driver of a PCI function.
    pub(super) fn driver(&self, address: &str) -> Option<String> {
        self.link(&format!("{FUNCTIONS}/{address}/driver"))
    }

    /// Whether a program has an IOMMU group open, which VFIO allows to one at a time.
    fn is_held(&self, group: &str) -> bool {
        let device = self.path("/dev/vfio").join(group);
        is_busy(&fs::File::options().read(true).write(true).open(device).map(drop))
    }

    /// Whether a function keeps others of its group from a guest.
    fn is_needed(&self, address: &str) -> bool {
        // PCI Code and ID Assignment 1.3: 06 04 is a PCI-to-PCI bridge, which VFIO leaves alone.
        let is_bridge =
            self.attribute(address, "class").is_some_and(|class| class.starts_with("0x0604"));
        let driver = self.driver(address);
        !is_bridge && driver.is_some_and(|driver| driver != VFIO)
    }

    /// The network interfaces that are on a function; those of a virtio device are on a device
    /// below it.
    fn interfaces(&self, address: &str) -> Vec<String> {
        let Ok(function) = fs::canonicalize(self.path(&format!("{FUNCTIONS}/{address}"))) else {
            return Vec::new();
        };
        let mut interfaces = self.names("/sys/class/net");
        interfaces.retain(|name| {
            let device = fs::canonicalize(self.path(&format!("/sys/class/net/{name}/device")));
            device.is_ok_and(|device| {
                // Not of a function behind this one, were it a bridge.
                device.parent() == Some(&function) || device == function
            })
        });
        interfaces
    }
}

fn is_busy(opened: &io::Result<()>) -> bool {
    opened.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::ResourceBusy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_that_cannot_be_opened_is_held_only_if_it_is_busy() {
        let busy = io::Error::from(rustix::io::Errno::BUSY);
        let forbidden = io::Error::from(rustix::io::Errno::ACCESS);
        assert!(is_busy(&Err(busy)));
        assert!(!is_busy(&Err(forbidden)) && !is_busy(&Ok(())));
    }
}

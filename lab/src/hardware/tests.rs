//! A machine's files, made up.

use std::{fs, os::unix::fs::symlink, path::PathBuf};

use tempfile::TempDir;

use super::*;

/// A root with nothing in it but what a test adds.
pub(crate) struct Fake(TempDir);

impl Fake {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn hardware(&self) -> Hardware {
        Hardware::below(self.0.path())
    }

    fn make(&self, path: &str) -> PathBuf {
        let path = self.hardware().path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        fs::write(self.make(path), text).unwrap();
    }

    fn link(&self, path: &str, target: &str) {
        let target = self.hardware().path(target);
        fs::create_dir_all(&target).unwrap();
        symlink(target, self.make(path)).unwrap();
    }

    /// A PCI function of this class, with a driver, in a group.
    pub(crate) fn function(
        &self,
        address: &str,
        class: &str,
        driver: Option<&str>,
        group: Option<u32>,
    ) {
        let function = format!("/sys/bus/pci/devices/{address}");
        for (name, text) in
            [("class", class), ("vendor", "0x8086"), ("device", "0x10d3"), ("driver_override", "")]
        {
            self.write(&format!("{function}/{name}"), &format!("{text}\n"));
        }
        if let Some(driver) = driver {
            self.link(&format!("{function}/driver"), &format!("/sys/bus/pci/drivers/{driver}"));
        }
        if let Some(group) = group {
            let group = format!("/sys/kernel/iommu_groups/{group}");
            self.link(&format!("{function}/iommu_group"), &group);
            self.link(&format!("{group}/devices/{address}"), &function);
        }
    }

    /// A NIC that is an interface.
    pub(crate) fn nic(&self, address: &str, driver: &str, group: u32, interface: &str) {
        self.function(address, "0x020000", Some(driver), Some(group));
        let device = format!("/sys/class/net/{interface}/device");
        self.link(&device, &format!("/sys/bus/pci/devices/{address}"));
    }

    /// An IPv4 route, as Linux writes it.
    pub(crate) fn route(&self, interface: &str, destination: &str, mask: &str) {
        let path = "/proc/net/route";
        let head = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT";
        let before = self.hardware().text(path).unwrap_or(head.into());
        let line = format!("{interface}\t{destination}\t00000000\t0003\t0\t0\t0\t{mask}\t0\t0\t0");
        self.write(path, &format!("{before}\n{line}\n"));
    }
}

#[test]
fn what_carries_the_machines_traffic_is_told_with_the_reason() {
    let fake = Fake::new();
    for (number, name) in ["spare", "uplink", "office", "port", "six", "alone"].iter().enumerate() {
        fake.nic(&format!("0000:0{number}:00.0"), "e1000e", number as u32, name);
    }
    fake.route("uplink", "00000000", "00000000");
    fake.route("office", "0000A8C0", "00FFFFFF");
    fake.write("/sys/class/net/port/upper_br0/uevent", "");
    let zero = "0".repeat(32);
    let line = |destination: &str, length: &str, name: &str| {
        format!(
            "{destination} {length} {zero} 00 {zero} 00000100 00000001 00000000 00000001 {name}"
        )
    };
    let link_local = format!("fe80{}", "0".repeat(28));
    let global = format!("20010db8{}", "0".repeat(24));
    let lines = [line(&link_local, "40", "spare"), line(&global, "40", "six")];
    fake.write("/proc/net/ipv6_route", &lines.join("\n"));
    let address = format!("20010db8{}1", "0".repeat(23));
    let addresses = [
        format!("fe80{}1 02 40 20 80 spare", "0".repeat(27)),
        format!("{address} 07 40 00 80 alone"),
    ];
    fake.write("/proc/net/if_inet6", &addresses.join("\n"));
    let nics = fake.hardware().nics();
    let why: Vec<_> = nics.iter().map(|nic| nic.carries.as_deref().unwrap_or("spare")).collect();
    let expected = [
        "spare",
        "the default route goes by uplink",
        "192.168.0.0/24 is reached by office",
        "port is a part of br0",
        "2001:db8::/64 is reached by six",
        "alone has the address 2001:db8::1",
    ];
    assert_eq!(why, expected);
    assert_eq!(nics.iter().filter(|nic| nic.is_candidate()).count(), 1);
}

#[test]
fn a_nic_whose_driver_shows_no_interface_is_not_spare() {
    let fake = Fake::new();
    let groups = [("e1000e", 1), ("uio_pci_generic", 2), ("vfio-pci", 3)];
    for (driver, group) in groups {
        fake.function(&format!("0000:0{group}:00.0"), "0x020000", Some(driver), Some(group));
    }
    fake.function("0000:04:00.0", "0x020000", None, Some(4));
    let nics = fake.hardware().nics();
    let spare: Vec<_> = nics.iter().map(Nic::is_candidate).collect();
    assert_eq!(spare, [false, false, true, true]);
    let check = |take| fake.hardware().check("0000:01:00.0", take);
    let error = check(Take::Spare).unwrap_err().to_string();
    assert!(error.contains("network namespace") && error.contains("--take"), "{error}");
    assert!(check(Take::Even).is_ok());
}

#[test]
fn a_nic_that_a_guest_has_is_not_spare() {
    let fake = Fake::new();
    fake.function("0000:03:00.0", "0x020000", Some("vfio-pci"), Some(3));
    let nic = fake.hardware().nic("0000:03:00.0").unwrap();
    assert!(nic.is_candidate());
    assert!(!Nic { is_held: true, ..nic }.is_candidate());
}

#[test]
fn a_group_is_shared_only_with_what_has_a_driver_of_the_machines() {
    let fake = Fake::new();
    fake.nic("0000:03:00.0", "vfio-pci", 4, "eth0");
    fake.function("0000:00:01.0", "0x060400", Some("pcieport"), Some(4));
    fake.function("0000:03:00.1", "0x020000", None, Some(4));
    let companions = || fake.hardware().nic("0000:03:00.0").unwrap().companions;
    assert_eq!(companions(), Vec::<String>::new());
    fake.function("0000:03:00.2", "0x010802", Some("nvme"), Some(4));
    assert_eq!(companions(), ["0000:03:00.2"]);
}

#[test]
fn virtual_functions_are_counted_and_told() {
    let fake = Fake::new();
    fake.nic("0000:03:00.0", "igb", 4, "eth0");
    fake.write("/sys/bus/pci/devices/0000:03:00.0/sriov_totalvfs", "7\n");
    fake.write("/sys/bus/pci/devices/0000:03:00.0/sriov_numvfs", "2\n");
    fake.nic("0000:03:10.0", "igbvf", 5, "eth1");
    fake.write("/sys/bus/pci/devices/0000:03:10.0/physfn/vendor", "0x8086\n");
    let nics = fake.hardware().nics();
    assert_eq!(nics[0].virtual_functions, Some((2, 7)));
    assert!(nics[1].is_virtual && !nics[0].is_virtual);
    assert!(nics[1].is_candidate() && !nics[0].is_candidate());
    assert_eq!(nics[1].interfaces, ["eth1"]);
}

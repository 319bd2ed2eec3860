//! What QEMU is told.

use super::*;

fn profile(pair: Pair) -> Profile {
    Profile::nested([vec!["0000:01:00.0"], vec!["0000:02:00.0"]], pair)
}

/// Of patched QEMUs with Godwit, on q35.
pub(in crate::migration) fn pair(standby: bool, capability: bool) -> Pair {
    Pair {
        standby,
        capability,
        chipset: Chipset::Q35,
        bridge: Bridge::PcieRootPort,
        qemu: QemuKind::Patched,
        guest: GuestKind::Godwit,
        native: !capability,
    }
}

/// What QEMU is given as JSON.
fn objects(arguments: &[String]) -> Vec<Value> {
    let objects = arguments.iter().filter_map(|argument| serde_json::from_str(argument).ok());
    objects.filter(Value::is_object).collect()
}

#[test]
fn each_machine_has_its_own_nic_and_only_one_listens() {
    let profile = profile(pair(false, true));
    let append = "ip=10.0.2.15/24 marking=auto";
    let source = profile.arguments(Machine::Source, Role::Boots, append);
    let destination = profile.arguments(Machine::Destination, Role::Incoming, append);
    let nic = source.iter().find(|a| a.contains("vfio-pci")).unwrap();
    assert!(
        nic.contains("\"host\":\"0000:01:00.0\"") && nic.contains("\"bus\":\"ua-port0\""),
        "{nic}"
    );
    assert!(destination.iter().any(|a| a.contains("\"host\":\"0000:02:00.0\"")));
    assert!(!source.contains(&"-incoming".into()));
    assert_eq!(source.iter().filter(|a| a.contains("x-dirty-log")).count(), 1);
    assert!(source.windows(2).any(|w| w == ["-append", "ip=10.0.2.15/24 marking=auto"]));
    assert!(destination.windows(2).any(|w| w == ["-incoming", "unix:/run/migration"]));
    assert!(!source.iter().any(|a| a.contains("failover")), "{source:?}");
}

#[test]
fn stock_qemu_is_given_a_pair_of_nothing_and_the_other_nic_comes_later() {
    let profile = profile(Pair { qemu: QemuKind::Stock, ..pair(false, false) });
    let source = profile.arguments(Machine::Source, Role::Boots, "");
    let nic = source.iter().find(|a| a.contains("vfio-pci")).unwrap();
    assert!(nic.contains("\"failover_pair_id\":\"none\""), "{nic}");
    assert!(!source.iter().any(|a| a.contains("x-dirty-log")), "{source:?}");
    let destination = profile.arguments(Machine::Destination, Role::Incoming, "");
    assert!(!destination.iter().any(|a| a.contains("vfio-pci")), "{destination:?}");
    assert!(destination.iter().any(|a| a.contains("pcie-root-port")));
}

#[test]
fn a_pair_is_what_libvirt_makes_of_a_teaming_pair() {
    let profile = profile(pair(true, true));
    let source = profile.arguments(Machine::Source, Role::Boots, "");
    let objects = objects(&source);
    // libvirt 9.0's `domxml-to-native qemu-argv` of what `xtask libvirt-xml` prints, but for
    // the tap. Order counts: QEMU must know the standby before the NIC.
    let expected = [
        r#"{"driver":"pcie-root-port","port":8,"chassis":1,"id":"ua-port0","bus":"pcie.0",
            "multifunction":true,"addr":"0x1","x-dirty-log":true}"#,
        r#"{"driver":"pcie-root-port","port":9,"chassis":2,"id":"pci.2","bus":"pcie.0",
            "addr":"0x1.0x1"}"#,
        r#"{"type":"tap","fd":"10","id":"hostua-standby0"}"#,
        r#"{"driver":"virtio-net-pci","failover":true,"netdev":"hostua-standby0",
            "id":"ua-standby0","mac":"52:54:00:67:6f:01","bus":"pci.2","addr":"0x0",
            "romfile":""}"#,
        r#"{"driver":"vfio-pci","host":"0000:01:00.0","id":"ua-nic0",
            "failover_pair_id":"ua-standby0","bus":"ua-port0","addr":"0x0","romfile":""}"#,
    ];
    let expected: Vec<Value> =
        expected.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
    assert_eq!(objects, expected);
}

#[test]
fn each_of_two_nics_has_a_port_of_its_own() {
    let nics = [vec!["0000:01:00.0", "0000:02:00.0"], vec!["0000:03:00.0", "0000:04:00.0"]];
    let profile = Profile::nested(nics, pair(false, true));
    assert_eq!(profile.interfaces(), 2);
    let objects = objects(&profile.arguments(Machine::Destination, Role::Incoming, ""));
    let [ports @ .., first, second] = &objects[..] else { panic!("{objects:?}") };
    assert_eq!((&first["host"], &first["bus"]), (&"0000:03:00.0".into(), &PORTS[0].into()));
    assert_eq!((&second["host"], &second["bus"]), (&"0000:04:00.0".into(), &PORTS[1].into()));
    assert_ne!(first["id"], second["id"]);
    assert_eq!(ports.len(), 2);
    assert!(ports.iter().all(|port| port["x-dirty-log"] == true), "{ports:?}");
    for number in ["id", "port", "chassis", "addr"] {
        assert_ne!(ports[0][number], ports[1][number], "{number}");
    }
}

#[test]
fn a_conventional_machine_has_the_bridge_on_its_own_root_bus() {
    let pair = Pair { chipset: Chipset::Pc, bridge: Bridge::PciBridge, ..pair(false, true) };
    let arguments = profile(pair).arguments(Machine::Source, Role::Boots, "");
    assert!(arguments.windows(2).any(|w| w == ["-M", "pc"]), "{arguments:?}");
    let objects = objects(&arguments);
    let [bridge, nic] = &objects[..] else { panic!("{objects:?}") };
    assert_eq!((&bridge["driver"], &bridge["bus"]), (&"pci-bridge".into(), &"pci.0".into()));
    // The chipset's own devices are in the first two.
    assert_eq!((&bridge["addr"], &nic["addr"]), (&"0x2".into(), &"0x1".into()));
}

#[test]
fn linux_has_what_it_starts_with_and_its_nic_is_given_by_hand() {
    let profile = profile(Pair { guest: GuestKind::Linux, ..pair(false, false) });
    let source = profile.arguments(Machine::Source, Role::Boots, "");
    assert!(source.windows(2).any(|w| w == ["-initrd", GUEST_INITRAMFS]), "{source:?}");
    assert!(source.windows(2).any(|w| w == ["-m", "128"]), "{source:?}");
    let destination = profile.arguments(Machine::Destination, Role::Incoming, "");
    assert!(!destination.iter().any(|a| a.contains("vfio-pci")), "{destination:?}");
}

#[test]
fn failover_is_stock_qemus() {
    let profile = profile(pair(true, false));
    let source = profile.arguments(Machine::Source, Role::Boots, "");
    assert!(!source.iter().any(|a| a.contains("x-dirty-log")), "{source:?}");
}

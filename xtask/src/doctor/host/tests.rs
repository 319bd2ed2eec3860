use std::{fs, os::unix::fs::symlink, time::Duration};

use lab::hardware::Hardware;

use super::*;

const ROOT: Me = Me { is_root: true, lockable: Some(8 << 20) };

/// A directory with these files, and links to directories.
fn machine(files: &[(&str, &str)], links: &[(&str, &str)]) -> (tempfile::TempDir, Hardware) {
    let root = tempfile::tempdir().unwrap();
    let hardware = Hardware::below(root.path());
    for (path, text) in files {
        let path = hardware.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    for (path, target) in links {
        let (path, target) = (hardware.path(path), hardware.path(target));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::create_dir_all(&target).unwrap();
        symlink(target, path).unwrap();
    }
    (root, hardware)
}

/// Two spare NICs behind an IOMMU, and vfio-pci loaded.
fn good() -> (tempfile::TempDir, Hardware) {
    let files = [1, 2].map(|bus| {
        let function = format!("/sys/bus/pci/devices/0000:0{bus}:00.0");
        let text = |name, value: &str| (format!("{function}/{name}"), value.to_owned());
        [text("class", "0x020000"), text("vendor", "0x8086"), text("device", "0x10d3")]
    });
    let mut files = files.concat();
    files.push(("/sys/bus/pci/drivers/vfio-pci/uevent".into(), String::new()));
    let files: Vec<_> = files.iter().map(|(path, text)| (&**path, &**text)).collect();
    machine(
        &files,
        &[
            ("/sys/bus/pci/devices/0000:01:00.0/iommu_group", "/sys/kernel/iommu_groups/1"),
            ("/sys/bus/pci/devices/0000:02:00.0/iommu_group", "/sys/kernel/iommu_groups/2"),
        ],
    )
}

fn missing(findings: &[Finding]) -> Vec<&'static str> {
    let required = findings.iter().filter(|finding| finding.required && !finding.good);
    required.map(|finding| finding.subject).collect()
}

#[test]
fn a_machine_that_has_all_of_it_lacks_nothing_required() {
    let (_root, hardware) = good();
    assert_eq!(missing(&findings(&hardware, &ROOT)), [""; 0]);
    let listed = nics(&hardware.nics());
    assert_eq!(listed.what, "0000:01:00.0, 0000:02:00.0");
}

#[test]
fn an_empty_machine_lacks_all_of_it_and_each_has_a_remedy() {
    let (_root, hardware) = machine(&[], &[]);
    let user = Me { is_root: false, ..ROOT };
    let findings = findings(&hardware, &user);
    let expected = ["IOMMU", "vfio-pci", "spare NICs", "rights", "locked memory"];
    assert_eq!(missing(&findings), expected);
    let bad = findings.iter().filter(|finding| !finding.good);
    assert!(bad.clone().all(|finding| finding.remedy.as_ref().is_some_and(|r| !r.is_empty())));
}

#[test]
fn a_nic_with_the_default_route_is_no_candidate() {
    let (_root, hardware) = good();
    let function = hardware.path("/sys/bus/pci/devices/0000:01:00.0");
    let interface = hardware.path("/sys/class/net/eth0");
    fs::create_dir_all(&interface).unwrap();
    symlink(function, interface.join("device")).unwrap();
    let route = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n\
                 eth0\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n";
    fs::create_dir_all(hardware.path("/proc/net")).unwrap();
    fs::write(hardware.path("/proc/net/route"), route).unwrap();
    let found = findings(&hardware, &ROOT);
    assert_eq!(missing(&found), ["spare NICs"]);
    let described = describe(&hardware.nics()[0]);
    assert!(described.contains("stays this machine's"), "{described}");
    assert!(!nics(&hardware.nics()).what.contains("0000:01:00.0"));
}

#[test]
fn a_nic_that_has_virtual_functions_is_asked_for_some() {
    let (_root, hardware) = good();
    let function = "/sys/bus/pci/devices/0000:01:00.0";
    fs::write(hardware.path(&format!("{function}/sriov_totalvfs")), "7\n").unwrap();
    fs::write(hardware.path(&format!("{function}/sriov_numvfs")), "0\n").unwrap();
    let all = hardware.nics();
    assert_eq!(virtual_functions(&all).what, "0000:01:00.0: 0 of 7");
    let remedy = nics(&all[..1]).remedy.unwrap();
    assert_eq!(remedy, format!("echo 2 > {function}/sriov_numvfs"));
    // Linux refuses another number where there are some.
    fs::write(hardware.path(&format!("{function}/sriov_numvfs")), "1\n").unwrap();
    let remedy = nics(&hardware.nics()[..1]).remedy.unwrap();
    assert!(!remedy.contains("sriov_numvfs"), "{remedy}");
}

#[test]
fn a_nic_that_a_guest_has_is_told_and_not_spare() {
    let (_root, hardware) = good();
    let mut all = hardware.nics();
    all[0].driver = Some("vfio-pci".into());
    all[0].is_held = true;
    assert!(!nics(&all).what.contains("0000:01:00.0"));
    let described = describe(&all[0]);
    assert!(described.contains("fuser -v /dev/vfio/1"), "{described}");
    assert!(!described.contains("to have it back"), "{described}");
}

#[test]
fn kvm_is_told_with_what_an_exit_costs() {
    let exit = Some(Duration::from_micros(5));
    let good = kvm(&Ok(Trial { exit, trouble: None }));
    assert!(good.good && good.what.contains("5.0 µs"), "{good:?}");
    let stuck = kvm(&Ok(Trial { exit, trouble: Some("a guest ended in: emulation".into()) }));
    assert!(!stuck.good && stuck.required && stuck.what.contains("5.0 µs"), "{stuck:?}");
    let dear = kvm(&Ok(Trial { exit, trouble: Some("an exit takes 5 ms".into()) }));
    assert_eq!(dear.what.matches("exit takes").count(), 1, "{dear:?}");
    assert!(!kvm(&Err("there is no QEMU yet".into())).good);
}

#[test]
fn limits_are_read_as_linux_writes_them() {
    let head = "Limit                     Soft Limit           Hard Limit           Units\n";
    let line =
        |value: &str| format!("{head}Max locked memory         {value}    unlimited   bytes\n");
    assert_eq!(lockable(&line("8388608")), Some(8 << 20));
    assert_eq!(lockable(&line("unlimited")), None);
    assert!(is_root("Name:\tx\nUid:\t1000\t0\t0\t0\n"));
    assert!(!is_root("Name:\tx\nUid:\t0\t1000\t0\t0\n"));
}

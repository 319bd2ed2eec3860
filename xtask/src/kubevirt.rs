//! `cargo xtask kubevirt-vm`: a VirtualMachine for KubeVirt that boots Godwit from a containerDisk.
//!
//! What is set is what Godwit needs and KubeVirt does not do by itself: UEFI without Secure Boot,
//! q35, and no devices that it has no driver for. Field names are those of KubeVirt's API, v1.

use anyhow::Result;
use serde_json::{Value, json};

use crate::{cli::KubevirtVm, ending::Ending};

/// The disk, where the machine has it and where it comes from.
const DISK: &str = "godwit";
/// The NIC and its network.
const NIC: &str = "nic0";

pub(crate) fn main(options: &KubevirtVm) -> Result<Ending> {
    println!("{}", serde_json::to_string_pretty(&machine(options))?);
    Ok(Ending::AsAsked)
}

fn machine(options: &KubevirtVm) -> Value {
    // A virtual function, of the network that the cluster's administrator has defined; or else a
    // virtio-net device, behind the pod's own address.
    let (interface, network) = match &options.sriov {
        Some(name) => (
            json!({ "name": NIC, "sriov": {} }),
            json!({ "name": NIC, "multus": { "networkName": name } }),
        ),
        None => (
            json!({ "name": NIC, "model": "virtio", "masquerade": {} }),
            json!({ "name": NIC, "pod": {} }),
        ),
    };
    let disk = json!({ "name": DISK, "bootOrder": 1, "disk": { "bus": "virtio" } });
    json!({
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": { "name": options.name },
        "spec": {
            "runStrategy": "Always",
            "template": {
                "metadata": { "labels": { "kubevirt.io/domain": options.name } },
                "spec": {
                    "domain": {
                        "machine": { "type": "q35" },
                        "cpu": { "cores": 1, "model": "host-passthrough" },
                        "memory": { "guest": format!("{}Mi", options.mem) },
                        "firmware": { "bootloader": { "efi": { "secureBoot": false } } },
                        "features": { "acpi": { "enabled": true } },
                        "devices": {
                            "autoattachGraphicsDevice": false,
                            "autoattachMemBalloon": false,
                            "autoattachSerialConsole": true,
                            "disks": [disk],
                            "interfaces": [interface],
                        },
                    },
                    "networks": [network],
                    "volumes": [{ "name": DISK, "containerDisk": { "image": options.image } }],
                },
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_and_interfaces_have_their_volumes_and_networks() {
        for sriov in [None, Some("fast".to_owned())] {
            let options = KubevirtVm {
                image: "registry/godwit:1".into(),
                sriov: sriov.clone(),
                mem: 128,
                name: "g".into(),
            };
            let machine = machine(&options);
            let spec = &machine["spec"]["template"]["spec"];
            let devices = &spec["domain"]["devices"];
            assert_eq!(devices["disks"][0]["name"], spec["volumes"][0]["name"]);
            assert_eq!(devices["interfaces"][0]["name"], spec["networks"][0]["name"]);
            assert_eq!(devices["interfaces"][0].get("sriov").is_some(), sriov.is_some());
            assert_eq!(spec["domain"]["memory"]["guest"], "128Mi");
        }
    }
}

//! `cargo xtask proxmox-qm`: the command that makes a machine of a disk on a Proxmox host.
//!
//! Options and their properties are those of qm(1), Proxmox VE 8.

use anyhow::Result;

use crate::{cli::ProxmoxQm, ending::Ending};

pub(crate) fn main(options: &ProxmoxQm) -> Result<Ending> {
    println!("{}", command(options));
    Ok(Ending::AsAsked)
}

fn command(options: &ProxmoxQm) -> String {
    let ProxmoxQm { vmid, storage, disk, bridge, nic, mem, name } = options;
    let mut parts = vec![
        format!("qm create {vmid} --name {name} --memory {mem} --balloon 0 --cores 1 --cpu host"),
        "--machine q35 --bios ovmf --ostype other --serial0 socket --vga serial0".into(),
        // Keys of Microsoft's would have Secure Boot refuse the loader.
        format!("--efidisk0 {storage}:1,efitype=4m,pre-enrolled-keys=0"),
        format!("--virtio0 {storage}:0,import-from={} --boot order=virtio0", quoted(disk)),
    ];
    match nic {
        Some(nic) => parts.push(format!("--hostpci0 {nic},pcie=1,rombar=0")),
        None => parts.push(format!("--net0 virtio,bridge={bridge}")),
    }
    parts.join(" \\\n    ")
}

/// A path as a shell takes it.
fn quoted(path: &std::path::Path) -> String {
    let path = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if path.chars().all(is_plain) { path } else { format!("'{}'", path.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_it_as_it_was_meant() {
        let mut options = ProxmoxQm {
            vmid: 100,
            storage: "local-lvm".into(),
            disk: "/a b/it's.img".into(),
            bridge: "vmbr0".into(),
            nic: Some("0000:03:00.0".into()),
            mem: 256,
            name: "godwit".into(),
        };
        let words = shlex::split(&command(&options)).unwrap();
        assert_eq!(words[..3], ["qm", "create", "100"]);
        assert!(words.contains(&"local-lvm:0,import-from=/a b/it's.img".to_owned()), "{words:?}");
        assert!(words.contains(&"0000:03:00.0,pcie=1,rombar=0".to_owned()), "{words:?}");
        options.nic = None;
        assert!(command(&options).ends_with("--net0 virtio,bridge=vmbr0"));
    }
}

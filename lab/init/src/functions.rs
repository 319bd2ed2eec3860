//! Virtual functions: NICs that the host keeps, and whose driver makes one of each for a machine.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, ensure};
use lab_init::VirtualFunction;
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkMessage, LinkVfInfo, VfInfo, VfInfoMac},
};

use crate::{
    host::attribute,
    netlink::{INTERFACES, Netlink, index},
};

/// Makes a virtual function of each physical one that the kernel's command line names.
pub(crate) fn make() -> Result<()> {
    let line = fs::read_to_string("/proc/cmdline").context("/proc/cmdline")?;
    let wanted = VirtualFunction::all_in(&line)?;
    if wanted.is_empty() {
        return Ok(());
    }
    let netlink = Netlink::open().context("netlink")?;
    for function in wanted {
        make_one(&netlink, &function)
            .with_context(|| format!("a virtual function of the NIC {}", function.physical))?;
    }
    Ok(())
}

fn make_one(netlink: &Netlink, function: &VirtualFunction) -> Result<()> {
    let interface = interface_of(&function.physical)?;
    let count = interface.join("device/sriov_numvfs");
    fs::write(&count, "1").with_context(|| count.display().to_string())?;
    let index = index(&interface)?;
    if let Some(mac) = &function.mac {
        let mut address = LinkMessage::default();
        address.header.index = index;
        let mac = VfInfo::Mac(VfInfoMac::new(0, &bytes(mac)?));
        address.attributes = vec![LinkAttribute::VfInfoList(vec![LinkVfInfo(vec![mac])])];
        netlink.request(RouteNetlinkMessage::SetLink(address), 0).context("its address")?;
    }
    // Its driver looks into mailboxes while it is on.
    netlink.turn_on(index).context("turn on the physical function")
}

/// The interface with this address that is a NIC's.
fn interface_of(mac: &str) -> Result<PathBuf> {
    for entry in fs::read_dir(INTERFACES)? {
        let interface = entry?.path();
        let has_functions = interface.join("device/sriov_numvfs").exists();
        if has_functions && attribute(&interface, "address")? == mac {
            return Ok(interface);
        }
    }
    anyhow::bail!("no NIC that can have virtual functions has that address")
}

fn bytes(mac: &str) -> Result<Vec<u8>> {
    let bytes: Vec<u8> =
        mac.split(':').map(|byte| u8::from_str_radix(byte, 16)).collect::<Result<_, _>>()?;
    ensure!(bytes.len() == 6, "{mac} is no station address");
    Ok(bytes)
}

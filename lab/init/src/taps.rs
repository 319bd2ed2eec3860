//! Taps: each virtio NIC of the host is handed through to a machine's own virtual NIC.
//!
//! A macvtap in passthru mode, and not a bridge: the two machines have the same MAC address, which
//! two ports of one bridge cannot. So each has a NIC of the host to itself, and the lab's switch
//! tells them apart.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{InfoData, InfoKind, InfoMacVtap, LinkAttribute, LinkInfo, LinkMessage, MacVtapMode},
};

use crate::{
    host::{VIRTIO_VENDOR, attribute},
    netlink::{INTERFACES, Netlink, index},
};

/// Makes a tap of every virtio NIC. Returns their names, in the order of the NICs' addresses.
pub(crate) fn create() -> Result<Vec<String>> {
    let mut nics: Vec<(PathBuf, PathBuf)> = fs::read_dir(INTERFACES)?
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<Vec<_>>>()?
        .into_iter()
        // The loopback interface has no device.
        .filter_map(|interface| Some((fs::canonicalize(interface.join("device")).ok()?, interface)))
        // Those of Intel's NICs are the host's own, which has virtual functions of them.
        .filter(|(device, _)| attribute(device, "vendor").is_ok_and(|id| id == VIRTIO_VENDOR))
        .collect();
    nics.sort();
    if nics.is_empty() {
        return Ok(Vec::new());
    }
    let netlink = Netlink::open().context("netlink")?;
    nics.iter()
        .enumerate()
        .map(|(number, (_, nic))| {
            let name = format!("tap{number}");
            pass_through(&netlink, nic, &name).with_context(|| format!("make {name}"))?;
            Ok(name)
        })
        .collect()
}

/// Opens a tap.
pub(crate) fn open(name: &str) -> Result<File> {
    let index = index(&Path::new(INTERFACES).join(name))?;
    let path = format!("/dev/tap{index}");
    OpenOptions::new().read(true).write(true).open(&path).with_context(|| format!("{name}: {path}"))
}

/// Creates the tap `name` on `nic`, and turns on both.
fn pass_through(netlink: &Netlink, nic: &Path, name: &str) -> Result<()> {
    let nic = index(nic)?;
    let mut tap = LinkMessage::default();
    tap.attributes = vec![
        LinkAttribute::IfName(name.into()),
        LinkAttribute::Link(nic),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::MacVtap),
            LinkInfo::Data(InfoData::MacVtap(vec![InfoMacVtap::Mode(MacVtapMode::Passthrough)])),
        ]),
    ];
    netlink.request(RouteNetlinkMessage::NewLink(tap), NLM_F_CREATE | NLM_F_EXCL)?;
    netlink.turn_on(nic)?;
    netlink.turn_on(index(&Path::new(INTERFACES).join(name))?)
}

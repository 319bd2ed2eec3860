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

use anyhow::{Context, Result, bail};
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{
        InfoData, InfoKind, InfoMacVtap, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
        MacVtapMode,
    },
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use crate::host::attribute;

const INTERFACES: &str = "/sys/class/net";

/// Makes a tap of every virtio NIC. Returns their names, in the order of the NICs' addresses.
pub(crate) fn create() -> Result<Vec<String>> {
    let mut nics: Vec<(PathBuf, PathBuf)> = fs::read_dir(INTERFACES)?
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<Vec<_>>>()?
        .into_iter()
        // The loopback interface has no device.
        .filter_map(|interface| Some((fs::canonicalize(interface.join("device")).ok()?, interface)))
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
            netlink.pass_through(nic, &name).with_context(|| format!("make {name}"))?;
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

fn index(interface: &Path) -> Result<u32> {
    Ok(attribute(interface, "ifindex")?.parse()?)
}

struct Netlink(Socket);

impl Netlink {
    fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self(socket))
    }

    /// Creates the tap `name` on `nic`, and turns on both.
    fn pass_through(&self, nic: &Path, name: &str) -> Result<()> {
        let nic = index(nic)?;
        let mut tap = LinkMessage::default();
        tap.attributes = vec![
            LinkAttribute::IfName(name.into()),
            LinkAttribute::Link(nic),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::MacVtap),
                LinkInfo::Data(InfoData::MacVtap(vec![InfoMacVtap::Mode(
                    MacVtapMode::Passthrough,
                )])),
            ]),
        ];
        self.request(RouteNetlinkMessage::NewLink(tap), NLM_F_CREATE | NLM_F_EXCL)?;
        for index in [nic, index(&Path::new(INTERFACES).join(name))?] {
            let mut up = LinkMessage::default();
            up.header.index = index;
            up.header.flags = LinkFlags::Up;
            up.header.change_mask = LinkFlags::Up;
            self.request(RouteNetlinkMessage::SetLink(up), 0)?;
        }
        Ok(())
    }

    fn request(&self, message: RouteNetlinkMessage, flags: u16) -> Result<()> {
        let mut message = NetlinkMessage::from(message);
        message.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.0.send(&bytes, 0)?;
        let (answer, _) = self.0.recv_from_full()?;
        let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer)?;
        let NetlinkPayload::Error(acknowledgement) = answer.payload else {
            bail!("the kernel answered {:?}", answer.payload);
        };
        // An acknowledgement is an error message without an error (rfc3549, 2.3.2.2).
        match acknowledgement.code {
            None => Ok(()),
            Some(_) => Err(acknowledgement.to_io().into()),
        }
    }
}

//! What makes an application and its image, and boots it.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use lab::guest::{
    Forward, Net, Nic,
    accel::Accel,
    options::{parse_bdf, parse_mac},
};

use super::common::App;
use crate::names::parse_name;

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The NIC: e1000, e1000e, igb, ixgbe, ixgbevf, virtio, or vfio:BDF
    #[arg(long, default_value = "e1000e")]
    pub(crate) nic: Nic,
    /// `auto` uses KVM only after having seen it run a guest
    #[arg(long, value_enum, default_value_t = Accel::Auto)]
    pub(crate) accel: Accel,
    /// Memory of the guest
    #[arg(long, value_name = "MiB", default_value_t = 128)]
    pub(crate) mem: u32,
    /// What the NIC is connected to: user, or tap:INTERFACE
    #[arg(long, default_value = "user")]
    pub(crate) net: Net,
    /// Forward a port of this machine, TCP and UDP, to the guest (--net user)
    #[arg(long, value_name = "HOST:GUEST")]
    pub(crate) forward: Vec<Forward>,
    /// The guest's command line
    #[arg(long, value_name = "guest command line", allow_hyphen_values = true)]
    pub(crate) append: Option<String>,
    /// End the machine after so many seconds, with exit status 124
    #[arg(long, value_name = "S")]
    pub(crate) timeout: Option<u64>,
    /// Take this NIC for --nic vfio:BDF although it carries this machine's own traffic, which may
    /// end the connection that you are using. Its driver has it back in the end; addresses, routes
    /// and being up are not restored
    #[arg(long, value_name = "BDF", value_parser = parse_bdf)]
    pub(crate) take: Option<String>,
    /// Have QEMU's monitor (QMP) listen at this unix socket
    #[arg(long, value_name = "SOCKET")]
    pub(crate) qmp: Option<PathBuf>,
    /// The guest's image [default: built now]
    #[arg(long, value_name = "FILE", conflicts_with = "app")]
    pub(crate) image: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) app: App,
}

#[derive(Debug, Args)]
pub(crate) struct New {
    /// What the application, and its folder, is called: in the current directory, or beside the
    /// checkout where that is in it
    #[arg(value_parser = parse_name)]
    pub(crate) name: String,
}

#[derive(Debug, Args)]
pub(crate) struct Image {
    /// elf: a PVH kernel for `-kernel`; disk and iso: a disk and a CD that UEFI boots; oci: that
    /// disk as a containerDisk for KubeVirt, an OCI image in a tar file
    #[arg(long, value_enum, default_value_t = ImageFormat::Elf)]
    pub(crate) format: ImageFormat,
    /// Copy the image here
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Also write here what it is made of, as a bill of materials (CycloneDX, JSON)
    #[arg(long, value_name = "FILE")]
    pub(crate) sbom: Option<PathBuf>,
    /// The guest's command line, on a disk or CD: an ELF file gets its own from the loader
    #[arg(long, value_name = "LINE", default_value = "")]
    pub(crate) append: String,
    #[command(flatten)]
    pub(crate) app: App,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ImageFormat {
    Elf,
    Disk,
    Iso,
    Oci,
}

#[derive(Debug, Args)]
pub(crate) struct KubevirtVm {
    /// Where the image of `image --format oci` was pushed to
    #[arg(long, value_name = "REGISTRY/NAME:TAG")]
    pub(crate) image: String,
    /// The cluster's network that gives virtual functions (NetworkAttachmentDefinition)
    /// [default: virtio-net, behind the pod's address]
    #[arg(long, value_name = "NETWORK")]
    pub(crate) sriov: Option<String>,
    /// Memory of the guest
    #[arg(long, value_name = "MiB", default_value_t = 256)]
    pub(crate) mem: u32,
    /// Name of the machine
    #[arg(long, default_value = "godwit")]
    pub(crate) name: String,
}

#[derive(Debug, Args)]
pub(crate) struct ProxmoxQm {
    /// The disk of `image --format disk`, on the Proxmox host
    #[arg(long, value_name = "FILE")]
    pub(crate) disk: PathBuf,
    /// PCI address of a NIC to pass through [default: virtio-net, on the bridge]
    #[arg(long, value_name = "BDF", value_parser = parse_bdf)]
    pub(crate) nic: Option<String>,
    /// The host's bridge, without --nic
    #[arg(long, value_name = "INTERFACE", default_value = "vmbr0")]
    pub(crate) bridge: String,
    /// Number of the machine
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) vmid: u32,
    /// The host's storage for its disks
    #[arg(long, value_name = "STORAGE", default_value = "local-lvm")]
    pub(crate) storage: String,
    /// Memory of the guest
    #[arg(long, value_name = "MiB", default_value_t = 256)]
    pub(crate) mem: u32,
    /// Name of the machine
    #[arg(long, default_value = "godwit")]
    pub(crate) name: String,
}

#[derive(Debug, Args)]
pub(crate) struct LibvirtXml {
    /// PCI address of the passthrough NIC
    #[arg(long, value_name = "BDF", value_parser = parse_bdf)]
    pub(crate) nic: String,
    /// The bridge that the standby is connected to; the NIC's network has to be behind it
    #[arg(long, value_name = "INTERFACE", default_value = "br0")]
    pub(crate) bridge: String,
    /// MAC address of both [default: the NIC's, if this machine has a driver on it]
    #[arg(long, value_parser = parse_mac)]
    pub(crate) mac: Option<String>,
    /// Memory of the guest
    #[arg(long, value_name = "MiB", default_value_t = 256)]
    pub(crate) mem: u32,
    /// Name of the domain
    #[arg(long, default_value = "godwit")]
    pub(crate) name: String,
    /// The guest's command line
    #[arg(long, value_name = "guest command line", default_value = "", allow_hyphen_values = true)]
    pub(crate) append: String,
    /// The guest's image [default: built now]
    #[arg(long, value_name = "FILE")]
    pub(crate) image: Option<PathBuf>,
}

//! A guest's NIC, and what it is connected to.

use std::{net, path::Path};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::{
    machine::qemu_with,
    options::{Forward, Net, Nic},
};
use crate::{
    addresses::MAC,
    build::crates,
    hardware::{Claim, Hardware, Take},
    local::Model,
    parts::NicModel,
    source::{Listens, cable, stream},
    system::{process::Guard, scratch::Scratch},
};

/// A NIC and what it is connected to.
pub struct AttachedNic {
    /// As QEMU's options.
    pub options: Vec<String>,
    /// What has to run as long as the machine does.
    processes: Option<(Model, Option<Guard>, Scratch)>,
    /// The function of this machine that it is.
    function: Option<(String, Take)>,
}

impl AttachedNic {
    /// The process that is the device, if it is one of its own.
    pub fn model(&self) -> Option<&Model> {
        self.processes.as_ref().map(|(model, ..)| model)
    }

    /// Gets it ready for a machine of so much memory. Whether the guest can drive it, the guest
    /// says. A function of this machine is taken from it by [`AttachedNic::claim`] only; a name in
    /// `taken` says that it is to be, even if this machine needs it.
    pub fn new(
        nic: &Nic,
        net: &Net,
        forwards: &[Forward],
        memory_mib: u32,
        taken: Option<&str>,
    ) -> Result<Self> {
        let model = match nic {
            Nic::Emulated(model) => *model,
            Nic::Vfio(bdf) => {
                ensure!(forwards.is_empty(), "--forward needs an emulated NIC, not {nic}");
                let take = if taken == Some(bdf) { Take::Even } else { Take::Spare };
                Hardware::here().check(bdf, take)?;
                // No option ROM: the guest needs none, and one that the firmware runs may do as it
                // likes with the NIC.
                let function = format!("vfio-pci,host={bdf},bus=rp0,rombar=0");
                let options = ["-device", PORT, "-device", &function].map(str::to_owned).into();
                let function = Some((bdf.clone(), take));
                return Ok(Self { options, processes: None, function });
            }
        };
        Self::emulated(model, &Wire::Netdev(backend(net, forwards)?), memory_mib)
    }

    /// Takes it from this machine, if it is a function of that, for as long as the claim lives.
    pub fn claim(&self) -> Result<Option<Claim>> {
        let claim = |(address, take): &(String, Take)| Hardware::here().claim(address, *take);
        self.function.as_ref().map(claim).transpose()
    }

    /// One that is emulated.
    pub fn emulated(model: NicModel, wire: &Wire<'_>, memory_mib: u32) -> Result<Self> {
        let device = model.device();
        // A conventional PCI function has no place behind a root port.
        let (port, bus) = match model {
            NicModel::E1000 => (&[][..], "pcie.0"),
            _ => (&["-device", PORT][..], "rp0"),
        };
        let mut options: Vec<String> = port.iter().map(|&option| option.into()).collect();
        let mut processes = None;
        if model.is_process() {
            let sockets = Scratch::new()?;
            let vfio = sockets.join("vfio");
            let (model, cable) = start_ixgbe(model, &vfio, wire)?;
            processes = Some((model, cable, sockets));
            let device = json!({
                "driver": device, "bus": bus, "socket": { "type": "unix", "path": vfio }
            });
            options.extend(["-device".into(), device.to_string()]);
            // The NIC maps the machine's memory.
            let memory = format!("memory-backend-memfd,id=ram,size={memory_mib}M,share=on");
            options.extend(["-object".into(), memory]);
            options.extend(["-machine", "memory-backend=ram"].map(str::to_owned));
        } else {
            // No boot ROM: the guest needs none, and not every QEMU has it.
            let device = format!("{device},bus={bus},netdev={NETDEV},mac={MAC},romfile=");
            options.extend(["-device".into(), device]);
            let netdev = match wire {
                Wire::Netdev(netdev) => netdev.clone(),
                Wire::Socket(socket) => stream(NETDEV, socket, Listens::Peer),
            };
            options.extend(["-netdev".into(), netdev]);
        }
        Ok(Self { options, processes, function: None })
    }
}

/// What an emulated NIC is connected to.
pub enum Wire<'a> {
    /// A netdev of QEMU's whose id is [`NETDEV`].
    Netdev(String),
    /// Whoever listens on a unix socket, in the framing of QEMU's stream netdev.
    Socket(&'a Path),
}

/// Starts an 82599 that QEMU finds at `vfio`, and a QEMU for the netdev if its wire leads to one.
fn start_ixgbe(nic: NicModel, vfio: &Path, wire: &Wire<'_>) -> Result<(Model, Option<Guard>)> {
    let program = crates::ixgbe_model()?;
    let (socket, cable) = match wire {
        Wire::Socket(socket) => (socket.to_path_buf(), None),
        Wire::Netdev(netdev) => {
            let qemu = qemu_with(nic)?;
            let socket = vfio.with_extension("wire");
            let end = stream("wire", &socket, Listens::Qemu);
            (socket, Some(cable(&qemu, [NETDEV, "wire"], [netdev, &end])?))
        }
    };
    let model = Model::start(&program, nic, vfio, &socket, MAC, &vfio.with_extension("log"))?;
    Ok((model, cable))
}

/// Where a PCI Express function goes.
const PORT: &str = "pcie-root-port,id=rp0,slot=1";

/// Id of what the NIC is connected to.
pub const NETDEV: &str = "net0";

/// The netdev.
pub fn backend(net: &Net, forwards: &[Forward]) -> Result<String> {
    match net {
        Net::User => {
            let mut text = format!("user,id={NETDEV}");
            for Forward { host, guest } in forwards {
                check_port(*host)?;
                for protocol in ["tcp", "udp"] {
                    text.push_str(&format!(",hostfwd={protocol}:127.0.0.1:{host}-:{guest}"));
                }
            }
            Ok(text)
        }
        Net::Tap(interface) => {
            ensure!(forwards.is_empty(), "--forward needs --net user; a tap has its own addresses");
            ensure!(
                Path::new("/sys/class/net").join(interface).join("tun_flags").exists(),
                "there is no tap interface {interface}; make one with\n    sudo ip tuntap add \
                 {interface} mode tap user $USER && sudo ip link set {interface} up"
            );
            Ok(format!("tap,id={NETDEV},ifname={interface},script=no,downscript=no"))
        }
    }
}

/// QEMU names neither the port nor the reason when it cannot have it.
fn check_port(port: u16) -> Result<()> {
    let address = (net::Ipv4Addr::LOCALHOST, port);
    net::TcpListener::bind(address)
        .map(drop)
        .and_then(|()| net::UdpSocket::bind(address).map(drop))
        .with_context(|| format!("--forward: port {port} of this machine cannot be used"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_port_is_named() {
        let taken = net::TcpListener::bind((net::Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let forward = Forward { host: port, guest: 5201 };
        let error = backend(&Net::User, &[forward]).unwrap_err().to_string();
        assert!(error.contains(&port.to_string()), "{error}");
    }

    #[test]
    fn both_protocols_are_forwarded() {
        let port = net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let text = backend(&Net::User, &[Forward { host: port, guest: 7 }]).unwrap();
        assert!(text.contains(&format!("hostfwd=tcp:127.0.0.1:{port}-:7")), "{text}");
        assert!(text.contains(&format!("hostfwd=udp:127.0.0.1:{port}-:7")), "{text}");
    }

    #[test]
    fn each_emulated_nic_is_where_its_bus_allows() {
        for (nic, device) in [
            (NicModel::E1000, "e1000,bus=pcie.0,"),
            (NicModel::E1000e, "e1000e,bus=rp0,"),
            (NicModel::Igb, "igb,bus=rp0,"),
            (NicModel::Virtio, "virtio-net-pci,bus=rp0,"),
        ] {
            let line =
                AttachedNic::new(&Nic::Emulated(nic), &Net::User, &[], 128, None).unwrap().options;
            assert!(line.iter().any(|option| option.starts_with(device)), "{line:?}");
            let ports = line.iter().filter(|option| option.contains("root-port")).count();
            assert_eq!(ports, usize::from(nic != NicModel::E1000), "{line:?}");
        }
    }

    #[test]
    fn a_missing_tap_is_named() {
        let error = backend(&Net::Tap("no-such-tap".into()), &[]).unwrap_err().to_string();
        assert!(error.contains("no-such-tap") && error.contains("ip tuntap"), "{error}");
    }
}

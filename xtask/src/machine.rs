//! The machine the unikernel runs on outside the lab: QEMU's command line, by parts.

use std::{fs, net, path::Path, process::Command};

use anyhow::{Context, Result, bail, ensure};
use lab::{
    host::MAC,
    local::Model,
    parts::{Accelerator, Qemu},
    source::{Listens, cable, stream},
    system::process::Guard,
};
use serde_json::json;
use tempfile::TempDir;

use crate::{
    build,
    cli::{Forward, Net, RunNic},
    command, tools,
};

/// The distribution's QEMU when there is one, else the patched one.
pub(crate) fn qemu() -> Result<Qemu> {
    distribution_qemu().map_or_else(lab::build::qemu::get, Ok)
}

/// The distribution's QEMU when it has this NIC (igb came with 8.0), else the patched one.
pub(crate) fn qemu_with(nic: &RunNic) -> Result<Qemu> {
    let Some(model) = model(nic) else { return qemu() };
    match distribution_qemu() {
        Some(qemu) if has_model(&qemu, model)? => Ok(qemu),
        _ => lab::build::qemu::get(),
    }
}

fn distribution_qemu() -> Option<Qemu> {
    let binary = tools::find_program("qemu-system-x86_64")?;
    Some(Qemu { binary, data: Vec::new() })
}

fn has_model(qemu: &Qemu, model: &str) -> Result<bool> {
    let output = command::run(Command::new(&qemu.binary).args(["-device", "help"]))?;
    Ok(String::from_utf8_lossy(&output.stdout).contains(&format!("name \"{model}\",")))
}

/// QEMU's device for a NIC; `None` for a function of this machine.
fn model(nic: &RunNic) -> Option<&'static str> {
    match nic {
        RunNic::E1000 => Some("e1000"),
        RunNic::E1000e => Some("e1000e"),
        RunNic::Igb => Some("igb"),
        RunNic::Ixgbe => Some("vfio-user-pci"),
        RunNic::Virtio => Some("virtio-net-pci"),
        RunNic::Vfio(_) => None,
    }
}

/// The machine with a guest, without NIC and serial port.
pub(crate) fn command_line(
    qemu: &Qemu,
    accelerator: Accelerator,
    memory_mib: u32,
    image: &Path,
    append: &str,
) -> Vec<String> {
    let (accelerator, cpu) = match accelerator {
        Accelerator::Kvm => ("kvm", "host"),
        Accelerator::Tcg => ("tcg", "max"),
    };
    let mut line = qemu.command_line();
    let rest = format!(
        "-nodefaults -no-user-config -display none -no-reboot -M q35 -accel {accelerator} \
         -cpu {cpu} -m {memory_mib} -device isa-debug-exit,iobase=0xf4,iosize=4"
    );
    line.extend(rest.split(' ').map(str::to_owned));
    line.extend(["-kernel".into(), image.display().to_string(), "-append".into(), append.into()]);
    line
}

/// A NIC and what it is connected to.
pub(crate) struct Nic {
    /// As QEMU's options.
    pub(crate) options: Vec<String>,
    /// What has to run as long as the machine does.
    processes: Option<(Model, Option<Guard>, TempDir)>,
}

impl Nic {
    /// The process that is the device, if it is one of its own.
    pub(crate) fn model(&self) -> Option<&Model> {
        self.processes.as_ref().map(|(model, ..)| model)
    }

    /// Gets it ready for a machine of so much memory. Whether the guest can drive it, the guest says.
    pub(crate) fn new(
        nic: &RunNic,
        net: &Net,
        forwards: &[Forward],
        memory_mib: u32,
    ) -> Result<Self> {
        if let RunNic::Vfio(bdf) = nic {
            ensure!(forwards.is_empty(), "--forward needs an emulated NIC, not {nic}");
            check_vfio(bdf)?;
            let function = format!("vfio-pci,host={bdf},bus=rp0");
            let options = ["-device", PORT, "-device", &function].map(str::to_owned).into();
            return Ok(Self { options, processes: None });
        }
        Self::emulated(nic, &Wire::Netdev(backend(net, forwards)?), memory_mib)
    }

    /// One that is emulated.
    pub(crate) fn emulated(nic: &RunNic, wire: &Wire<'_>, memory_mib: u32) -> Result<Self> {
        let device = model(nic).with_context(|| format!("{nic} is not emulated"))?;
        // A conventional PCI function has no place behind a root port.
        let (port, bus) = match nic {
            RunNic::E1000 => (&[][..], "pcie.0"),
            _ => (&["-device", PORT][..], "rp0"),
        };
        let mut options: Vec<String> = port.iter().map(|&option| option.into()).collect();
        let mut processes = None;
        if *nic == RunNic::Ixgbe {
            let sockets = tempfile::Builder::new().prefix("godwit-run-").tempdir()?;
            let vfio = sockets.path().join("vfio");
            let (model, cable) = start_ixgbe(&vfio, wire)?;
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
        Ok(Self { options, processes })
    }
}

/// What an emulated NIC is connected to.
pub(crate) enum Wire<'a> {
    /// A netdev of QEMU's whose id is [`NETDEV`].
    Netdev(String),
    /// Whoever listens on a unix socket, in the framing of QEMU's stream netdev.
    Socket(&'a Path),
}

/// Starts an 82599 that QEMU finds at `vfio`, and a QEMU for the netdev if its wire leads to one.
fn start_ixgbe(vfio: &Path, wire: &Wire<'_>) -> Result<(Model, Option<Guard>)> {
    let program = build::ixgbe_model()?;
    let (socket, cable) = match wire {
        Wire::Socket(socket) => (socket.to_path_buf(), None),
        Wire::Netdev(netdev) => {
            let qemu = qemu_with(&RunNic::Ixgbe)?;
            let socket = vfio.with_extension("wire");
            let end = stream("wire", &socket, Listens::Qemu);
            (socket, Some(cable(&qemu, [NETDEV, "wire"], [netdev, &end])?))
        }
    };
    let model = Model::start(&program, vfio, &socket, MAC, &vfio.with_extension("log"))?;
    Ok((model, cable))
}

/// Where a PCI Express function goes.
const PORT: &str = "pcie-root-port,id=rp0,slot=1";

/// Id of what the NIC is connected to.
pub(crate) const NETDEV: &str = "net0";

/// The netdev.
pub(crate) fn backend(net: &Net, forwards: &[Forward]) -> Result<String> {
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

/// Checks that a function, and its whole IOMMU group, are bound to vfio-pci.
fn check_vfio(bdf: &str) -> Result<()> {
    let function = Path::new("/sys/bus/pci/devices").join(bdf);
    ensure!(function.exists(), "this machine has no PCI function {bdf}; `lspci -D` lists them");
    let group = fs::read_link(function.join("iommu_group")).ok();
    let Some(group) = group.as_deref().and_then(Path::file_name) else {
        bail!(
            "{bdf} is in no IOMMU group: turn the IOMMU on in the firmware, and in Linux with \
             intel_iommu=on or amd_iommu=on on its command line"
        );
    };
    for member in fs::read_dir(function.join("iommu_group/devices"))? {
        let member = member?;
        let name = member.file_name().into_string().unwrap_or_default();
        let class = fs::read_to_string(member.path().join("class")).unwrap_or_default();
        // PCI Code and ID Assignment 1.3: 06 04 is a PCI-to-PCI bridge, which VFIO leaves alone.
        if class.starts_with("0x0604") {
            continue;
        }
        let driver = fs::read_link(member.path().join("driver")).ok();
        let driver = driver.as_deref().and_then(Path::file_name);
        ensure!(
            driver.is_some_and(|driver| driver == "vfio-pci"),
            "{name} (IOMMU group {}) is bound to {}, not to vfio-pci; as root:\n{}",
            group.display(),
            driver.map_or("no driver".into(), |driver| driver.display().to_string()),
            remedy(&name)
        );
    }
    let device = Path::new("/dev/vfio").join(group);
    fs::File::options().read(true).write(true).open(&device).with_context(|| {
        format!("{} cannot be opened; give yourself the file, or run as root", device.display())
    })?;
    Ok(())
}

/// How to bind a function to vfio-pci.
pub(crate) fn remedy(bdf: &str) -> String {
    let function = format!("/sys/bus/pci/devices/{bdf}");
    format!(
        "    modprobe vfio-pci\n    echo vfio-pci > {function}/driver_override\n    \
         echo {bdf} > {function}/driver/unbind   # if it has a driver\n    \
         echo {bdf} > /sys/bus/pci/drivers_probe"
    )
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
            (RunNic::E1000, "e1000,bus=pcie.0,"),
            (RunNic::E1000e, "e1000e,bus=rp0,"),
            (RunNic::Igb, "igb,bus=rp0,"),
            (RunNic::Virtio, "virtio-net-pci,bus=rp0,"),
        ] {
            let line = Nic::new(&nic, &Net::User, &[], 128).unwrap().options;
            assert!(line.iter().any(|option| option.starts_with(device)), "{line:?}");
            let ports = line.iter().filter(|option| option.contains("root-port")).count();
            assert_eq!(ports, usize::from(nic != RunNic::E1000), "{line:?}");
        }
    }

    #[test]
    fn a_missing_tap_and_a_missing_function_are_named() {
        let error = backend(&Net::Tap("no-such-tap".into()), &[]).unwrap_err().to_string();
        assert!(error.contains("no-such-tap") && error.contains("ip tuntap"), "{error}");
        let error = check_vfio("ffff:ff:1f.7").unwrap_err().to_string();
        assert!(error.contains("ffff:ff:1f.7"), "{error}");
    }
}

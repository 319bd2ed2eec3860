//! The lab on this machine: both QEMUs run here, in software, and need neither KVM nor an IOMMU nor
//! a NIC.
//!
//! With `ixgbe` each machine has a model of an 82599 in a process of its own ([`Model`]), attached
//! by vfio-user. It writes the machine's memory, which it maps, as a device behind VFIO does:
//! unseen by QEMU's dirty log. And it knows every page it wrote, so that the memory of both
//! machines can be compared at the switchover. QEMU's own `e1000e` is treated like a passthrough
//! device, but its writes are seen.

mod memory;
mod model;

pub use model::Model;

use crate::init::Channel;
use crate::migration::{Comparison, Device, Lab, MEMORY_MIB, Machine, Pair, Profile};
use crate::parts::{NicModel, Qemu};
use crate::source::{Listens, stream};
use crate::system::process::Guard;
use anyhow::{Context, Result, bail};
use memory::Memory;
use rustix::io::{FdFlags, fcntl_setfd};
use serde_json::json;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tempfile::TempDir;

/// What the lab is made of.
#[derive(Debug)]
pub struct Setup<'a> {
    /// Runs both machines.
    pub qemu: &'a Qemu,
    /// The program of [`Model`]; for `ixgbe`.
    pub model: Option<&'a Path>,
    /// The guest's image.
    pub guest: &'a Path,
    /// The model of both NICs.
    pub nic: NicModel,
    /// Their address.
    pub mac: &'a str,
    /// A listening segment port for each NIC.
    pub segment: [&'a Path; 2],
    /// What each NIC is paired with.
    pub pair: Pair,
    /// A listening segment port for each standby, if there are any.
    pub standby: Option<[&'a Path; 2]>,
    /// Where what the programs say is written to.
    pub logs: &'a Path,
}

/// Two machines on this machine. They die with the thread that started them.
#[derive(Debug)]
pub struct LocalLab {
    qemu: Qemu,
    profile: Profile,
    model: Option<PathBuf>,
    mac: String,
    sides: [Side; 2],
    logs: PathBuf,
    _sockets: TempDir,
}

/// One of the machines, running or not.
#[derive(Debug)]
struct Side {
    // Dropped in this order: first the machine, then its NIC.
    qemu: Option<Guard>,
    nic: Option<Model>,
    /// Our end of monitor and console, and QEMU's. Both stay open, so the streams outlive a QEMU.
    monitor: [UnixStream; 2],
    console: [UnixStream; 2],
    segment: PathBuf,
    vfio: PathBuf,
}

impl LocalLab {
    /// A lab with no machine running.
    ///
    /// # Errors
    /// Sockets or logs cannot be made.
    pub fn new(setup: &Setup<'_>) -> Result<Self> {
        // Not in the logs' directory: a socket's path has at most 107 characters.
        let sockets = tempfile::Builder::new().prefix("godwit-local-").tempdir()?;
        fs::create_dir_all(setup.logs)?;
        let side = |machine: Machine| -> Result<Side> {
            Ok(Side {
                qemu: None,
                nic: None,
                monitor: UnixStream::pair()?.into(),
                console: UnixStream::pair()?.into(),
                segment: setup.segment[machine as usize].into(),
                vfio: sockets.path().join(format!("{machine}.vfio")),
            })
        };
        let sides = [side(Machine::Source)?, side(Machine::Destination)?];
        let is_process = setup.nic == NicModel::Ixgbe;
        let model = setup.model.filter(|_| is_process).map(Path::to_path_buf);
        if is_process && model.is_none() {
            bail!("an 82599 is a program, and none was given");
        }
        let nic = |side: &Side| match setup.nic {
            NicModel::Ixgbe => {
                let socket = json!({ "type": "unix", "path": side.vfio });
                Device::new("vfio-user-pci", &[("socket", socket)])
            }
            _ => {
                let properties = [
                    ("netdev", json!("net0")),
                    ("mac", json!(setup.mac)),
                ];
                let backend = stream("net0", &side.segment, Listens::Peer);
                Device::new(setup.nic.device(), &properties).with_backend(&["-netdev", &backend])
            }
        };
        let standby = |machine: Machine| {
            let Some(paths) = setup.standby else { return json!({}) };
            let address = json!({ "type": "unix", "path": paths[machine as usize] });
            json!({ "type": "stream", "server": false, "addr": address })
        };
        let profile = Profile {
            // Where a machine can have one processor only, TCG emulates a locked instruction by
            // several accesses, and marking is no longer atomic against a device in another process
            // (docs/dma.md).
            hardware: format!(
                "-M q35,memory-backend=ram -accel tcg -cpu max -smp 1,maxcpus=2 -m {MEMORY_MIB} \
                 -object memory-backend-memfd,id=ram,size={MEMORY_MIB}M,share=on"
            ),
            kernel: setup.guest.display().to_string(),
            uri: format!("unix:{}", sockets.path().join("migration").display()),
            source_nic: nic(&sides[0]),
            destination_nic: nic(&sides[1]),
            compares: is_process,
            pair: setup.pair,
            standby: [Machine::Source, Machine::Destination].map(standby),
        };
        Ok(Self {
            qemu: setup.qemu.clone(),
            profile,
            model,
            mac: setup.mac.into(),
            sides,
            logs: setup.logs.into(),
            _sockets: sockets,
        })
    }

    fn log(&self, machine: Machine) -> PathBuf {
        self.logs.join(format!("{machine}-qemu.log"))
    }
}

impl Lab for LocalLab {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn start(&mut self, machine: Machine, arguments: &[String]) -> Result<()> {
        self.stop(machine)?;
        let log = self.log(machine);
        let output = File::create(&log).with_context(|| log.display().to_string())?;
        let side = &mut self.sides[machine as usize];
        if let Some(program) = &self.model {
            let log = self.logs.join(format!("{machine}-nic.log"));
            let nic = Model::start(program, &side.vfio, &side.segment, &self.mac, &log)?;
            side.nic = Some(nic);
        }
        let line = self.qemu.command_line();
        let mut command = Guard::command(&line[0]);
        command.args(&line[1..]).args(arguments);
        let ends = [("monitor", &side.monitor[1]), ("console", &side.console[1])];
        // Inherited by whatever is started meanwhile. Nothing is: one thread starts all processes
        // of a lab.
        for (name, end) in ends {
            fcntl_setfd(end, FdFlags::empty())?;
            command.args(["-chardev", &format!("socket,id={name},fd={}", end.as_raw_fd())]);
        }
        command.args(["-object", "monitor-qmp,id=qmp,chardev=monitor"]);
        command.args(["-serial", "chardev:console"]);
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let qemu = Guard::spawn(&mut command).context("cannot start QEMU");
        for (_, end) in ends {
            fcntl_setfd(end, FdFlags::CLOEXEC)?;
        }
        side.qemu = Some(qemu?);
        Ok(())
    }

    fn stop(&mut self, machine: Machine) -> Result<()> {
        let side = &mut self.sides[machine as usize];
        side.qemu = None;
        side.nic = None;
        Ok(())
    }

    fn ended(&mut self, machine: Machine) -> Option<String> {
        let status = self.sides[machine as usize].qemu.as_mut()?.try_wait();
        status.ok()?.map(|status| status.to_string())
    }

    fn channel(&self, machine: Machine, channel: Channel) -> Result<UnixStream> {
        let side = &self.sides[machine as usize];
        let [ours, _] = if channel == Channel::Qmp { &side.monitor } else { &side.console };
        Ok(ours.try_clone()?)
    }

    fn said(&mut self) -> String {
        let last = |machine: Machine| {
            let text = fs::read_to_string(self.log(machine)).unwrap_or_default();
            let lines: Vec<_> = text.lines().map(|line| format!("{machine}: {line}")).collect();
            lines[lines.len().saturating_sub(4)..].join("\n")
        };
        let said = [last(Machine::Source), last(Machine::Destination)];
        said.into_iter().filter(|said| !said.is_empty()).collect::<Vec<_>>().join("\n")
    }

    fn compare(&mut self, from: Machine) -> Result<Comparison> {
        let [a, b] = &self.sides;
        let (source, destination) = if from == Machine::Source { (a, b) } else { (b, a) };
        let nic = source.nic.as_ref().context("only a NIC that is a process knows its writes")?;
        let written = nic.pages_written()?;
        let memory = |side: &Side| {
            let qemu = side.qemu.as_ref().context("both machines must be there")?;
            Memory::of(qemu.id())
        };
        memory::compare(&memory(source)?, &memory(destination)?, written)
    }
}

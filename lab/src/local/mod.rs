//! The lab on this machine: both QEMUs run here, in software, and need neither KVM nor an IOMMU nor
//! a NIC.
//!
//! With `ixgbe` each NIC is a model of an 82599 in a process of its own ([`Model`]), attached by
//! vfio-user. It writes the machine's memory, which it maps, as a device behind VFIO does:
//! unseen by QEMU's dirty log. And it knows every page it wrote, so that the memory of both
//! machines can be compared at the switchover. QEMU's own `e1000e` is treated like a passthrough
//! device, but its writes are seen.

mod memory;
mod model;

pub use model::Model;

use crate::addresses::{MACS, interface_name};
use crate::init::Channel;
use crate::migration::{
    Comparison, Device, Lab, Machine, Pair, Profile, Streams, memory as memory_of,
};
use crate::parts::{NicModel, Qemu};
use crate::qmp::{Qmp, SetLink};
use crate::runner::{self, Destination, Here, Other, Runner, There};
use crate::source::{Listens, stream};
use crate::system::scratch::Scratch;
use anyhow::{Context, Result, bail};
use memory::Memory;
use serde_json::json;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// What the lab is made of.
#[derive(Debug)]
pub struct Setup<'a> {
    /// Runs both machines.
    pub qemu: &'a Qemu,
    /// The program of [`Model`]; for `ixgbe` and `ixgbevf`.
    pub model: Option<&'a Path>,
    /// The guest's image.
    pub guest: &'a Path,
    /// What that starts with, where it is Linux.
    pub initramfs: Option<&'a Path>,
    /// The model of all NICs.
    pub nic: NicModel,
    /// A listening segment port for each NIC of each machine.
    pub segment: &'a [Vec<PathBuf>; 2],
    /// What the first NIC of each is paired with.
    pub pair: Pair,
    /// A listening segment port for each standby, if there are any.
    pub standby: Option<[&'a Path; 2]>,
    /// Where the second machine runs, if not here.
    pub destination: Option<&'a Destination>,
    /// Where what the programs say is written to.
    pub logs: &'a Path,
}

/// Two machines on this machine. They die with the thread that started them.
#[derive(Debug)]
pub struct LocalLab {
    qemu: Qemu,
    profile: Profile,
    /// What [`Model`] is to be, and its program.
    model: Option<(NicModel, PathBuf)>,
    sides: [Side; 2],
    logs: PathBuf,
    /// How the machines were started.
    lines: Vec<(String, Vec<String>)>,
    _sockets: Scratch,
}

/// One of the machines, running or not.
#[derive(Debug)]
struct Side {
    // Dropped in this order: first the machine, then its NICs.
    runner: Runner,
    models: Vec<Model>,
    nics: Vec<Sockets>,
}

/// Where a NIC is connected to.
#[derive(Debug)]
struct Sockets {
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
        let sockets = Scratch::new()?;
        fs::create_dir_all(setup.logs)?;
        let side = |machine: Machine| -> Result<Side> {
            let nic = |(index, segment): (usize, &PathBuf)| Sockets {
                segment: segment.clone(),
                vfio: sockets.join(format!("{machine}-{}.vfio", interface_name(index))),
            };
            Ok(Side {
                runner: Runner::Here(Here::new(machine, setup.logs)?),
                models: Vec::new(),
                nics: setup.segment[machine as usize].iter().enumerate().map(nic).collect(),
            })
        };
        let mut sides = [side(Machine::Source)?, side(Machine::Destination)?];
        let mut streams = Streams::at(format!("unix:{}", sockets.join("migration").display()));
        if let Some(destination) = setup.destination {
            let Setup { qemu, guest, logs, .. } = setup;
            let other = Other::connect(destination, qemu, guest, None, logs)?;
            for (index, nic) in sides[1].nics.iter_mut().enumerate() {
                nic.segment = other.bring(&nic.segment, &interface_name(index))?;
            }
            streams = other.streams()?;
            let there = There::new(Machine::Destination, other, guest, logs)?;
            sides[1].runner = Runner::There(Box::new(there));
        }
        let is_process = setup.nic.is_process();
        let program = setup.model.filter(|_| is_process);
        let model = program.map(|program| (setup.nic, program.to_path_buf()));
        if is_process && model.is_none() {
            bail!("an 82599 is a program, and none was given");
        }
        let nic = |(index, sockets): (usize, &Sockets)| match setup.nic {
            NicModel::Ixgbe | NicModel::Ixgbevf => {
                let socket = json!({ "type": "unix", "path": sockets.vfio });
                Device::new(index, "vfio-user-pci", &[("socket", socket)])
            }
            model => {
                let netdev = format!("net{index}");
                let backend = stream(&netdev, &sockets.segment, Listens::Peer);
                let properties = [("netdev", json!(netdev)), ("mac", json!(MACS[index]))];
                Device::new(index, model.device(), &properties).with_backend(&["-netdev", &backend])
            }
        };
        let nics = |side: &Side| side.nics.iter().enumerate().map(nic).collect();
        let standby = |machine: Machine| {
            let Some(paths) = setup.standby else { return json!({}) };
            let address = json!({ "type": "unix", "path": paths[machine as usize] });
            json!({ "type": "stream", "server": false, "addr": address })
        };
        let memory = memory_of(setup.pair.guest);
        let profile = Profile {
            // Where a machine can have one processor only, TCG emulates a locked instruction by
            // several accesses, and marking is no longer atomic against a device in another process
            // (docs/dma.md).
            machine: ",memory-backend=ram".into(),
            hardware: format!(
                "-accel tcg -cpu max -smp 1,maxcpus=2 -m {memory} \
                 -object memory-backend-memfd,id=ram,size={memory}M,share=on"
            ),
            kernel: setup.guest.display().to_string(),
            initramfs: setup.initramfs.map(|path| path.display().to_string()),
            streams,
            nics: [nics(&sides[0]), nics(&sides[1])],
            compares: is_process,
            pair: setup.pair,
            standby: [Machine::Source, Machine::Destination].map(standby),
        };
        Ok(Self {
            qemu: setup.qemu.clone(),
            profile,
            model,
            sides,
            logs: setup.logs.into(),
            lines: Vec::new(),
            _sockets: sockets,
        })
    }
}

impl Lab for LocalLab {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn start(&mut self, machine: Machine, arguments: &[String]) -> Result<()> {
        self.stop(machine)?;
        let side = &mut self.sides[machine as usize];
        if let Some((nic, program)) = &self.model {
            for (index, Sockets { segment, vfio }) in side.nics.iter().enumerate() {
                let log = self.logs.join(format!("{machine}-{}.log", interface_name(index)));
                side.models.push(Model::start(program, *nic, vfio, segment, MACS[index], &log)?);
            }
        }
        let line = side.runner.start(&self.qemu, arguments)?;
        self.lines.push((machine.name().into(), line));
        Ok(())
    }

    fn command_lines(&self) -> Vec<(String, Vec<String>)> {
        self.lines.clone()
    }

    fn stop(&mut self, machine: Machine) -> Result<()> {
        let side = &mut self.sides[machine as usize];
        side.runner.stop();
        side.models.clear();
        Ok(())
    }

    fn ended(&mut self, machine: Machine) -> Option<String> {
        self.sides[machine as usize].runner.ended()
    }

    fn channel(&self, machine: Machine, channel: Channel) -> Result<UnixStream> {
        self.sides[machine as usize].runner.channel(channel)
    }

    fn said(&mut self) -> String {
        let [source, destination] = &self.sides;
        runner::said(&[&source.runner, &destination.runner])
    }

    fn set_link(&mut self, machine: Machine, monitor: &mut Qmp, up: bool) -> Result<()> {
        match self.sides[machine as usize].models.first() {
            Some(model) => model.set_link(up),
            None => monitor.execute(&SetLink { name: "net0".into(), up }).map(drop),
        }
    }

    fn compare(&mut self, from: Machine) -> Result<Comparison> {
        let [a, b] = &self.sides;
        let (source, destination) = if from == Machine::Source { (a, b) } else { (b, a) };
        if source.models.is_empty() {
            bail!("only a NIC that is a process knows its writes");
        }
        let written = source.models.iter().map(|nic| Ok(nic.pages_written()?.collect()));
        let written = written.collect::<Result<Vec<_>>>()?;
        let memory =
            |side: &Side| Memory::of(side.runner.process().context("both machines must be there")?);
        memory::compare(&memory(source)?, &memory(destination)?, &written)
    }
}

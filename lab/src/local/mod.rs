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
use crate::migration::{Comparison, Device, Lab, MEMORY_MIB, Machine, Pair, Profile};
use crate::parts::{NicModel, Qemu};
use crate::source::{Listens, stream};
use crate::system::process::Guard;
use crate::system::scratch::Scratch;
use anyhow::{Context, Result, bail};
use memory::Memory;
use rustix::io::{FdFlags, fcntl_setfd};
use serde_json::json;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// What the lab is made of.
#[derive(Debug)]
pub struct Setup<'a> {
    /// Runs both machines.
    pub qemu: &'a Qemu,
    /// The program of [`Model`]; for `ixgbe` and `ixgbevf`.
    pub model: Option<&'a Path>,
    /// The guest's image.
    pub guest: &'a Path,
    /// The model of all NICs.
    pub nic: NicModel,
    /// A listening segment port for each NIC of each machine.
    pub segment: &'a [Vec<PathBuf>; 2],
    /// What the first NIC of each is paired with.
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
    qemu: Option<Guard>,
    models: Vec<Model>,
    /// Our end of monitor and console, and QEMU's. Both stay open, so the streams outlive a QEMU.
    monitor: [UnixStream; 2],
    console: [UnixStream; 2],
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
                qemu: None,
                models: Vec::new(),
                monitor: UnixStream::pair()?.into(),
                console: UnixStream::pair()?.into(),
                nics: setup.segment[machine as usize].iter().enumerate().map(nic).collect(),
            })
        };
        let sides = [side(Machine::Source)?, side(Machine::Destination)?];
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
        let profile = Profile {
            // Where a machine can have one processor only, TCG emulates a locked instruction by
            // several accesses, and marking is no longer atomic against a device in another process
            // (docs/dma.md).
            machine: ",memory-backend=ram".into(),
            hardware: format!(
                "-accel tcg -cpu max -smp 1,maxcpus=2 -m {MEMORY_MIB} \
                 -object memory-backend-memfd,id=ram,size={MEMORY_MIB}M,share=on"
            ),
            kernel: setup.guest.display().to_string(),
            uri: format!("unix:{}", sockets.join("migration").display()),
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
        if let Some((nic, program)) = &self.model {
            for (index, Sockets { segment, vfio }) in side.nics.iter().enumerate() {
                let log = self.logs.join(format!("{machine}-{}.log", interface_name(index)));
                side.models.push(Model::start(program, *nic, vfio, segment, MACS[index], &log)?);
            }
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
        command.args(["-mon", "chardev=monitor,mode=control"]);
        command.args(["-serial", "chardev:console"]);
        // Behind what ends it with its owner.
        let told = command.get_args().skip_while(|part| *part != "--").skip(1);
        let line = told.map(|part| part.to_string_lossy().into_owned()).collect();
        self.lines.push((machine.name().into(), line));
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let qemu = Guard::spawn(&mut command).context("cannot start QEMU");
        for (_, end) in ends {
            fcntl_setfd(end, FdFlags::CLOEXEC)?;
        }
        side.qemu = Some(qemu?);
        Ok(())
    }

    fn command_lines(&self) -> Vec<(String, Vec<String>)> {
        self.lines.clone()
    }

    fn stop(&mut self, machine: Machine) -> Result<()> {
        let side = &mut self.sides[machine as usize];
        side.qemu = None;
        side.models.clear();
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
        if source.models.is_empty() {
            bail!("only a NIC that is a process knows its writes");
        }
        let written = source.models.iter().map(|nic| Ok(nic.pages_written()?.collect()));
        let written = written.collect::<Result<Vec<_>>>()?;
        let memory = |side: &Side| {
            let qemu = side.qemu.as_ref().context("both machines must be there")?;
            Memory::of(qemu.id())
        };
        memory::compare(&memory(source)?, &memory(destination)?, &written)
    }
}

//! The lab on machines that are there: two QEMUs under KVM, each with a NIC of its machine on
//! vfio-pci, on one machine or on two, and traffic by an interface of this one.

mod wire;

pub use wire::Wire;

use crate::hardware::{Claim, Hardware, Take};
use crate::init::Channel;
use crate::migration::{Lab, Machine, Pair, Profile, Streams};
use crate::parts::Qemu;
use crate::runner::{self, Destination, Here, Other, Runner, There};
use crate::system::scratch::Scratch;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// What of a machine a migration is given.
#[derive(Debug, Clone)]
pub struct Machines {
    /// The NIC of each of the two, by its PCI address.
    pub nics: [String; 2],
    /// Which of these, and of the interface, are taken even if the machine needs them for itself.
    pub taken: Vec<String>,
    /// The interface that traffic goes by.
    pub source: String,
    /// Where the second machine is, if not here: its NIC is that machine's then.
    pub destination: Option<Destination>,
}

impl Machines {
    /// Checks that all of it is there and can be had.
    ///
    /// # Errors
    /// What is wrong, and what to do about it.
    pub fn check(&self, hardware: &Hardware) -> Result<()> {
        let [source, destination] = &self.nics;
        ensure!(
            source != destination || self.destination.is_some(),
            "{source} cannot be the NIC of both machines: a migration takes two"
        );
        for address in self.here() {
            let nic = hardware.check(address, self.take(address))?;
            ensure!(
                !nic.interfaces.contains(&self.source),
                "{} is {address}, which is to be a guest's: traffic needs another interface, with \
                 a wire to both",
                self.source
            );
        }
        wire::check(hardware, &self.source, self.take(&self.source))
    }

    /// The NICs that are this machine's.
    fn here(&self) -> &[String] {
        if self.destination.is_some() { &self.nics[..1] } else { &self.nics }
    }

    fn take(&self, what: &str) -> Take {
        let is_named = self.taken.iter().any(|named| named == what);
        if is_named { Take::Even } else { Take::Spare }
    }
}

/// What the lab is made of.
#[derive(Debug)]
pub struct Setup<'a> {
    /// Runs both machines.
    pub qemu: &'a Qemu,
    /// The guest's image.
    pub guest: &'a Path,
    /// What it has of the machine.
    pub machines: &'a Machines,
    /// A listening segment port for the interface that traffic goes by.
    pub segment: &'a Path,
    /// What each NIC is paired with.
    pub pair: Pair,
    /// Where what the QEMUs say is written to.
    pub logs: &'a Path,
}

/// Two machines with NICs of this one. They die with the thread that started them, and the NICs
/// are given back when this is dropped, or when a signal ends the process.
pub struct HostLab {
    qemu: Qemu,
    profile: Profile,
    // Dropped in this order: first the machines, then what they have.
    runners: [Runner; 2],
    _claims: Vec<Claim>,
    _wire: Wire,
    /// How the machines were started.
    lines: Vec<(String, Vec<String>)>,
    _sockets: Scratch,
}

impl HostLab {
    /// Takes the NICs. No machine runs yet.
    ///
    /// # Errors
    /// As those of [`Machines::check`], and of taking a NIC.
    pub fn new(setup: &Setup<'_>) -> Result<Self> {
        let Setup { machines, .. } = setup;
        let hardware = Hardware::here();
        machines.check(&hardware)?;
        fs::create_dir_all(setup.logs)?;
        // Not in the logs' directory: a socket's path has at most 107 characters.
        let sockets = Scratch::new()?;
        let nics = machines.nics.each_ref().map(|address| vec![address.as_str()]);
        let kernel = setup.guest.display().to_string();
        let source = Runner::Here(Here::new(Machine::Source, setup.logs)?);
        let (streams, destination) = match &machines.destination {
            None => {
                let uri = format!("unix:{}", sockets.join("migration").display());
                let here = Here::new(Machine::Destination, setup.logs)?;
                (Streams::at(uri), Runner::Here(here))
            }
            Some(destination) => {
                let Setup { qemu, guest, logs, .. } = setup;
                let address = &machines.nics[1];
                let nic = (address.as_str(), machines.take(address) == Take::Even);
                let other = Other::connect(destination, qemu, guest, Some(nic), logs)?;
                let streams = other.streams()?;
                let there = There::new(Machine::Destination, other, guest, logs)?;
                (streams, Runner::There(Box::new(there)))
            }
        };
        let profile = Profile::passthrough(nics, setup.pair, kernel, streams);
        let wire = Wire::connect(&machines.source, setup.segment)
            .with_context(|| format!("--source {}", machines.source))?;
        let claim = |address: &String| hardware.claim(address, machines.take(address));
        let claims = machines.here().iter().map(claim).collect::<Result<_>>()?;
        Ok(Self {
            qemu: setup.qemu.clone(),
            profile,
            runners: [source, destination],
            _claims: claims,
            _wire: wire,
            lines: Vec::new(),
            _sockets: sockets,
        })
    }
}

impl Lab for HostLab {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn start(&mut self, machine: Machine, arguments: &[String]) -> Result<()> {
        self.stop(machine)?;
        let line = self.runners[machine as usize].start(&self.qemu, arguments)?;
        self.lines.push((machine.name().into(), line));
        Ok(())
    }

    fn command_lines(&self) -> Vec<(String, Vec<String>)> {
        self.lines.clone()
    }

    fn stop(&mut self, machine: Machine) -> Result<()> {
        self.runners[machine as usize].stop();
        Ok(())
    }

    fn ended(&mut self, machine: Machine) -> Option<String> {
        self.runners[machine as usize].ended()
    }

    fn channel(&self, machine: Machine, channel: Channel) -> Result<UnixStream> {
        self.runners[machine as usize].channel(channel)
    }

    fn said(&mut self) -> String {
        let [source, destination] = &self.runners;
        runner::said(&[source, destination])
    }
}

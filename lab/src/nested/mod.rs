//! The lab inside the virtual host: real KVM, real vfio-pci.

pub mod host;
mod state;

use crate::clock::Clock;
use crate::init::{Channel, QEMU, Report};
use crate::migration::{Lab, Machine, Pair, Profile};
use crate::qmp::Qmp;
use crate::system::detail;
use anyhow::{Context, Result, bail};
use host::{Ready, VirtualHost};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a QEMU may take to be started, or to be ended.
const PATIENCE: Duration = Duration::from_secs(30);

/// Two machines in a [`VirtualHost`].
pub struct NestedLab {
    host: VirtualHost,
    /// For each machine, if they have standbys.
    taps: Option<[String; 2]>,
    profile: Profile,
    running: HashSet<String>,
    /// How those ended that ran before.
    ended: HashMap<String, String>,
    log: File,
    /// How the QEMUs were started.
    lines: Vec<(String, Vec<String>)>,
    /// What the QEMUs said last.
    said: Vec<String>,
}

impl NestedLab {
    /// Takes a host that is ready, and what it has: the source's NICs first, then as many for the
    /// destination. What the QEMUs say is written to `log`.
    pub fn new(
        host: VirtualHost,
        ready: Ready,
        interfaces: usize,
        pair: Pair,
        log: &Path,
    ) -> Result<Self> {
        let nics: Vec<&str> = ready.nics.iter().map(|nic| nic.address.as_str()).collect();
        if nics.len() != 2 * interfaces {
            bail!(
                "the lab's host has {} NICs bound to vfio-pci; the migration takes {}",
                nics.len(),
                2 * interfaces
            );
        }
        let (source, destination) = nics.split_at(interfaces);
        let log = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let profile = Profile::nested([source.to_vec(), destination.to_vec()], pair);
        let taps = <[String; 2]>::try_from(ready.taps).ok();
        if pair.standby && taps.is_none() {
            bail!("the lab's host has no tap for each machine's standby");
        }
        let lines = vec![("host".to_owned(), host.command_line().to_vec())];
        Ok(Self {
            host,
            taps,
            profile,
            running: HashSet::new(),
            ended: HashMap::new(),
            log,
            lines,
            said: Vec::new(),
        })
    }

    /// Takes in reports until one that `wanted` accepts.
    fn wait(&mut self, what: &str, wanted: impl Fn(&Report) -> bool) -> Result<Report> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let Some(report) =
                self.host.next_report(deadline.saturating_duration_since(Instant::now()))?
            else {
                bail!("the lab's host did not {what} within {} s", PATIENCE.as_secs());
            };
            self.note(&report);
            if wanted(&report) {
                return Ok(report);
            }
        }
    }

    /// Takes in what was reported up to now. That the host is gone, whoever asks it for something
    /// hears.
    fn catch_up(&mut self) {
        while let Ok(Some(report)) = self.host.next_report(Duration::ZERO) {
            self.note(&report);
        }
    }

    fn note(&mut self, report: &Report) {
        let line = match report {
            Report::Output { machine, line } => format!("{machine}: {line}"),
            Report::Exited { machine, status, .. } => {
                self.running.remove(machine);
                self.ended.insert(machine.clone(), status.clone());
                format!("{machine}: ended ({status})")
            }
            Report::Spawned { machine } => {
                self.running.insert(machine.clone());
                self.ended.remove(machine);
                format!("{machine}: started")
            }
            Report::Failed { what, why } => format!("cannot {what}: {why}"),
            Report::Ready { .. } => return,
        };
        // A log that cannot be written must not end the migration it tells about.
        let _ = writeln!(self.log, "{line}");
        self.said.push(line);
    }
}

impl Lab for NestedLab {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn command_lines(&self) -> Vec<(String, Vec<String>)> {
        self.lines.clone()
    }

    fn clock(&self) -> Clock {
        self.host.clock().clone()
    }

    fn start(&mut self, machine: Machine, arguments: &[String]) -> Result<()> {
        let tap = self.taps.as_ref().map(|taps| taps[machine as usize].as_str());
        let line = [&[QEMU.to_owned()], arguments].concat();
        detail::started_in(machine.name(), &line);
        self.lines.push((machine.name().into(), line));
        self.host.spawn(machine.name(), arguments, tap)?;
        let report = self.wait(&format!("start the {machine}'s QEMU"), |report| match report {
            Report::Spawned { machine: name } => name == machine.name(),
            Report::Failed { .. } => true,
            _ => false,
        })?;
        if let Report::Failed { what, why } = report {
            bail!("the lab's host cannot {what}: {why}");
        }
        Ok(())
    }

    fn stop(&mut self, machine: Machine) -> Result<()> {
        self.catch_up();
        if self.running.contains(machine.name()) {
            self.host.kill(machine.name())?;
            let gone = |report: &Report| match report {
                Report::Exited { machine: name, .. } => name == machine.name(),
                _ => false,
            };
            self.wait(&format!("end the {machine}'s QEMU"), gone)?;
        }
        Ok(())
    }

    fn channel(&self, machine: Machine, channel: Channel) -> Result<UnixStream> {
        self.host.channel(machine.name(), channel)
    }

    fn ended(&mut self, machine: Machine) -> Option<String> {
        self.catch_up();
        self.ended.get(machine.name()).cloned()
    }

    fn said(&mut self) -> String {
        self.catch_up();
        let last = self.said.len().saturating_sub(8);
        self.said[last..].join("\n")
    }

    /// Asked for a machine with a tap that is not there, the host has to refuse.
    fn answers(&mut self) -> bool {
        /// It answers in milliseconds.
        const SHORT: Duration = Duration::from_secs(15);
        if self.host.spawn(Machine::Source.name(), &[], Some("none")).is_err() {
            return false;
        }
        let deadline = Instant::now() + SHORT;
        while let Ok(Some(report)) =
            self.host.next_report(deadline.saturating_duration_since(Instant::now()))
        {
            if matches!(report, Report::Failed { .. }) {
                return true;
            }
            self.note(&report);
        }
        false
    }

    fn processors(&self) -> Option<[Duration; 2]> {
        self.host.processors()
    }

    fn set_link(&mut self, machine: Machine, _: &mut Qmp, up: bool) -> Result<()> {
        self.host.set_link(machine as usize * self.profile.interfaces(), up)
    }

    fn last_words(&mut self) -> Option<String> {
        Some(self.host.last_words())
    }
}

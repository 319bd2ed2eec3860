//! A machine's QEMU on this machine, and the streams to its monitor and console, which outlive it.

use super::log::last_lines;
use crate::init::Channel;
use crate::migration::Machine;
use crate::parts::Qemu;
use crate::system::process::Guard;
use anyhow::{Context, Result};
use command_fds::CommandFdExt;
use std::fs::{self, File};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// A machine that runs here, or does not. It dies with the thread that started it.
#[derive(Debug)]
pub struct Here {
    machine: Machine,
    log: PathBuf,
    qemu: Option<Guard>,
    /// Our end of monitor and console, and QEMU's. Both stay open, so the streams outlive a QEMU.
    monitor: [UnixStream; 2],
    console: [UnixStream; 2],
}

impl Here {
    /// One that does not run yet. What its QEMU says goes to a file in `logs`.
    ///
    /// # Errors
    /// The streams cannot be made.
    pub fn new(machine: Machine, logs: &Path) -> Result<Self> {
        Ok(Self {
            machine,
            log: logs.join(format!("{machine}-qemu.log")),
            qemu: None,
            monitor: UnixStream::pair()?.into(),
            console: UnixStream::pair()?.into(),
        })
    }

    /// Starts it, and returns the whole command line.
    ///
    /// # Errors
    /// QEMU cannot be started, or its log not written.
    pub fn start(&mut self, qemu: &Qemu, arguments: &[String]) -> Result<Vec<String>> {
        let output = File::create(&self.log).with_context(|| self.log.display().to_string())?;
        let line = qemu.command_line();
        let mut command = Guard::command(&line[0]);
        command.args(&line[1..]).args(arguments);
        let ends = [("monitor", &self.monitor[1]), ("console", &self.console[1])];
        let mut inherited = Vec::new();
        for (name, end) in ends {
            let end = OwnedFd::from(end.try_clone()?);
            command.args(["-chardev", &format!("socket,id={name},fd={}", end.as_raw_fd())]);
            inherited.push(end);
        }
        // By this process alone: other threads start processes at the same time.
        command.preserved_fds(inherited);
        command.args(["-mon", "chardev=monitor,mode=control"]);
        command.args(["-serial", "chardev:console"]);
        // Behind what ends it with its owner.
        let told = command.get_args().skip_while(|part| *part != "--").skip(1);
        let line = told.map(|part| part.to_string_lossy().into_owned()).collect();
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        self.qemu = Some(Guard::spawn(&mut command).context("cannot start QEMU")?);
        Ok(line)
    }

    /// Ends it, if it runs.
    pub fn stop(&mut self) {
        self.qemu = None;
    }

    /// How it has ended, if it has since it was started.
    pub fn ended(&mut self) -> Option<String> {
        let status = self.qemu.as_mut()?.try_wait();
        status.ok()?.map(|status| status.to_string())
    }

    /// The stream to its monitor or console.
    ///
    /// # Errors
    /// There are too many open files.
    pub fn channel(&self, channel: Channel) -> Result<UnixStream> {
        let [ours, _] = if channel == Channel::Qmp { &self.monitor } else { &self.console };
        Ok(ours.try_clone()?)
    }

    /// The number of the process, if there is one.
    pub fn process(&self) -> Option<u32> {
        Some(self.qemu.as_ref()?.id())
    }

    /// What the QEMU said last, each line with the machine's name in front.
    pub fn said(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        last_lines(&text, self.machine.name())
    }
}

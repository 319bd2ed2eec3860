//! A machine's QEMU on another machine, by ssh.
//!
//! All there is takes one connection, whose sessions are a program each: what holds the machine's
//! NIC, QEMU with its monitor on standard input and output, and what passes its console on. What
//! they need is copied there, with its libraries, so that it depends on nothing of that machine but
//! a shell. When the connection ends, in whatever way, what holds the NIC sees its input end, ends
//! QEMU, gives the NIC back, and removes what was copied.

mod copy;
mod hold;

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    str::FromStr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

pub use hold::{HELD, hold};

use super::log::last_lines;
use crate::{
    init::Channel,
    migration::{Machine, Streams},
    parts::Qemu,
    system::{
        command, detail,
        process::Guard,
        progress::Step,
        scratch::Scratch,
        tools::{self, Tool},
    },
};
use copy::Copied;

/// For a connection, and for what holds the NIC to give it back.
const PATIENCE: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_millis(20);
/// The exit status of ssh(1) when the connection is at fault, not the program at its end.
const OF_SSH: i32 = 255;

/// Another machine, as people name it: `ssh:USER@HOST`, or with `:PORT` behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// What ssh is told: `USER@HOST`, `HOST`, or a name in its configuration.
    name: String,
    port: Option<u16>,
}

impl FromStr for Destination {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "the form is ssh:USER@HOST, or ssh:USER@HOST:PORT".to_owned();
        let rest = text.strip_prefix("ssh:").ok_or_else(wrong)?;
        let (name, port) = match rest.split_once(':') {
            Some((name, port)) => (name, Some(port.parse().map_err(|_| wrong())?)),
            None => (rest, None),
        };
        // It must be no option of ssh's, and one word.
        let is_name =
            !name.is_empty() && !name.starts_with('-') && !name.contains(char::is_whitespace);
        if is_name { Ok(Self { name: name.into(), port }) } else { Err(wrong()) }
    }
}

/// A connection to another machine, with what was copied there.
#[derive(Debug)]
pub struct Other {
    destination: Destination,
    /// The socket by which sessions share the connection.
    control: PathBuf,
    log: PathBuf,
    copied: Copied,
    // Dropped in this order.
    holder: Option<Guard>,
    _master: Guard,
    sockets: Scratch,
}

impl Other {
    /// Connects, copies there what a machine is run by, and has its NIC held, if one is named: with
    /// `take`, even if that machine needs it for itself.
    ///
    /// # Errors
    /// ssh does not get there, as it says itself; the NIC cannot be had; or what there is to copy
    /// is not all there.
    pub fn connect(
        destination: &Destination,
        qemu: &Qemu,
        guest: &Path,
        nic: Option<(&str, bool)>,
        logs: &Path,
    ) -> Result<Self> {
        tools::require("another machine", &[Tool::program("ssh", "openssh-client")])?;
        let name = &destination.name;
        let step = Step::new(format!("Connecting to {name}"));
        let sockets = Scratch::new()?;
        let control = sockets.join("ssh");
        let log = logs.join("ssh.log");
        let mut master = ssh(destination, &control);
        let output = File::create(&log).with_context(|| log.display().to_string())?;
        master.args(["-o", "ControlMaster=yes", "-N", name]);
        master.stdin(Stdio::null()).stdout(Stdio::null()).stderr(output);
        let mut master = Guard::spawn(&mut master).context("cannot start ssh")?;
        let deadline = Instant::now() + PATIENCE;
        while !control.exists() {
            let ended = master.try_wait()?.map(|status| status.to_string());
            let late = (Instant::now() > deadline).then(|| "it does not answer".to_owned());
            if let Some(why) = ended.or(late) {
                let said = fs::read_to_string(&log).unwrap_or_default();
                bail!("ssh does not get to {name} ({why}):\n{}", command::tail(&said, 4));
            }
            thread::sleep(TICK);
        }
        let session = |program: &str| session(destination, &control, program);
        let made = command::run(&mut session(copy::MAKE)).with_context(|| name.clone())?;
        let made = String::from_utf8_lossy(&made.stdout).into_owned();
        let words: Vec<&str> = made.split_ascii_whitespace().collect();
        let &[directory] = &words[..] else {
            bail!("{name} has a shell that says more than it is asked: {made:?}");
        };
        let copied = Copied::new(directory, qemu, guest, session).with_context(|| name.clone())?;
        let mut other = Self {
            destination: destination.clone(),
            control: control.clone(),
            log,
            copied,
            holder: None,
            _master: master,
            sockets,
        };
        other.hold(nic)?;
        step.finish("done");
        Ok(other)
    }

    /// Has the NIC held, or nothing but what was copied.
    fn hold(&mut self, nic: Option<(&str, bool)>) -> Result<()> {
        let mut words = vec!["hold", self.copied.directory()];
        if let Some((address, even)) = nic {
            words.extend(["--nic", address]);
            if even {
                words.push("--take");
            }
        }
        let line = self.copied.tool(&words);
        let mut session = self.session(&line);
        let said = File::options().append(true).open(&self.log)?;
        session.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(said);
        let mut holder = Guard::spawn(&mut session).context("cannot start ssh")?;
        let answer = holder.stdout.take().context("standard output")?;
        let mut answer = BufReader::new(answer);
        let mut first = String::new();
        answer.read_line(&mut first)?;
        if first.trim_end() != HELD {
            let _ = holder.wait();
            let said = fs::read_to_string(&self.log).unwrap_or_default();
            bail!("{}:\n{}", self.destination.name, command::tail(&said, 6));
        }
        self.holder = Some(holder);
        Ok(())
    }

    /// Has what listens here at the unix socket `from` listen there as well. Returns where.
    ///
    /// # Errors
    /// The machine does not allow that (`AllowStreamLocalForwarding` of sshd_config(5)).
    pub fn bring(&self, from: &Path, name: &str) -> Result<PathBuf> {
        let there = self.there(name);
        self.forward("-R", &there, from)?;
        Ok(there)
    }

    /// What guests are sent by: the connection, so that nobody else reads or writes a guest's
    /// memory.
    ///
    /// # Errors
    /// As those of [`Other::bring`].
    pub fn streams(&self) -> Result<Streams> {
        let (here, there) = (self.sockets.join("arrives"), self.there("arrives"));
        let leaves = self.sockets.join("leaves");
        self.forward("-L", &leaves, &there)?;
        let back = self.bring(&here, "leaves")?;
        let uri = |path: PathBuf| format!("unix:{}", path.display());
        Ok(Streams { listens: [here, there].map(uri), reached: [back, leaves].map(uri) })
    }

    /// Has ssh listen at a unix socket, there with `-R` and here with `-L`, for one on the other
    /// machine.
    fn forward(&self, way: &str, listens: &Path, to: &Path) -> Result<()> {
        let mut ssh = ssh(&self.destination, &self.control);
        ssh.args(["-O", "forward", way]);
        ssh.arg(format!("{}:{}", listens.display(), to.display()));
        command::run(ssh.arg(&self.destination.name))?;
        Ok(())
    }

    fn there(&self, name: &str) -> PathBuf {
        Path::new(self.copied.directory()).join(name)
    }

    fn session(&self, program: &str) -> Command {
        session(&self.destination, &self.control, program)
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let Some(mut holder) = self.holder.take() else { return };
        // Its input ends, and it with it.
        drop(holder.stdin.take());
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline && matches!(holder.try_wait(), Ok(None)) {
            thread::sleep(TICK);
        }
    }
}

/// ssh without a program yet, by a connection that is shared.
fn ssh(destination: &Destination, control: &Path) -> Command {
    let mut command = Guard::command("ssh");
    command.args(["-o", "BatchMode=yes", "-o", "ServerAliveInterval=5"]);
    command.args(["-o", "ServerAliveCountMax=3", "-o", "ConnectTimeout=30"]);
    command.arg("-S").arg(control);
    if let Some(port) = destination.port {
        command.args(["-p", &port.to_string()]);
    }
    command
}

/// A program there, as its shell takes it.
fn session(destination: &Destination, control: &Path, program: &str) -> Command {
    let mut command = ssh(destination, control);
    // No connection of its own: without the shared one it would ask for another.
    command.args(["-o", "ControlMaster=no", "-o", "ProxyCommand=false", "-T"]);
    command.args([&destination.name, program]);
    command
}

/// A machine there, running or not.
#[derive(Debug)]
pub struct There {
    machine: Machine,
    other: Other,
    /// How the guest's image is called in arguments, which are for this machine.
    guest: String,
    log: PathBuf,
    /// QEMU's session, and its console's.
    sessions: Option<[Guard; 2]>,
    /// Our ends, and those of the sessions. Both stay open, so the streams outlive a QEMU.
    monitor: [UnixStream; 2],
    console: [UnixStream; 2],
}

impl There {
    /// One that does not run yet.
    ///
    /// # Errors
    /// The streams cannot be made.
    pub fn new(machine: Machine, other: Other, guest: &Path, logs: &Path) -> Result<Self> {
        Ok(Self {
            machine,
            other,
            guest: guest.display().to_string(),
            log: logs.join(format!("{machine}-qemu.log")),
            sessions: None,
            monitor: UnixStream::pair()?.into(),
            console: UnixStream::pair()?.into(),
        })
    }

    /// Starts it, and returns the command line.
    pub(super) fn start(&mut self, arguments: &[String]) -> Result<Vec<String>> {
        let copied = &self.other.copied;
        let mut line = copied.qemu();
        let guest = copied.guest();
        let here =
            |argument: &String| if *argument == self.guest { &guest } else { argument }.clone();
        line.extend(arguments.iter().map(here));
        let console = format!("file,id=console,path={}", copied.console());
        let ends = ["stdio,id=monitor,signal=off", &console];
        line.extend(ends.iter().flat_map(|end| ["-chardev".into(), (*end).to_owned()]));
        let more =
            ["-mon", "chardev=monitor,mode=control", "-serial", "chardev:console", "-pidfile"];
        line.extend(more.map(str::to_owned));
        line.push(copied.process());
        let output = File::create(&self.log).with_context(|| self.log.display().to_string())?;
        let stdio =
            |end: &UnixStream| Ok::<_, anyhow::Error>(Stdio::from(OwnedFd::from(end.try_clone()?)));
        let program = format!("exec {}", detail::quoted(line.iter().map(|word| word.into())));
        let mut qemu = self.other.session(&program);
        qemu.stdin(stdio(&self.monitor[1])?).stdout(stdio(&self.monitor[1])?);
        qemu.stderr(output.try_clone()?);
        let mut console = self.other.session(&format!("exec cat {}", copied.console()));
        console.stdin(Stdio::null()).stdout(stdio(&self.console[1])?).stderr(output);
        let qemu = Guard::spawn(&mut qemu).context("cannot start ssh")?;
        let console = Guard::spawn(&mut console).context("cannot start ssh")?;
        self.sessions = Some([qemu, console]);
        Ok(line)
    }

    pub(super) fn stop(&mut self) {
        let Some([mut qemu, _console]) = self.sessions.take() else { return };
        // Where the connection is gone, what held the NIC has ended it.
        let process = self.other.copied.process();
        let _ = command::run(&mut self.other.session(&format!("kill -9 $(cat {process})")));
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline && matches!(qemu.try_wait(), Ok(None)) {
            thread::sleep(TICK);
        }
    }

    pub(super) fn ended(&mut self) -> Option<String> {
        let [qemu, _] = self.sessions.as_mut()?;
        let status = qemu.try_wait().ok()??;
        let name = &self.other.destination.name;
        Some(match status.code() {
            Some(OF_SSH) => format!("the connection to {name} was lost"),
            _ => format!("{status}, on {name}"),
        })
    }

    pub(super) fn channel(&self, channel: Channel) -> Result<UnixStream> {
        let [ours, _] = if channel == Channel::Qmp { &self.monitor } else { &self.console };
        Ok(ours.try_clone()?)
    }

    pub(super) fn said(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        last_lines(&text, self.machine.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_named_as_ssh_has_them() {
        let one = |name: &str, port| Ok(Destination { name: name.into(), port });
        assert_eq!("ssh:root@b".parse(), one("root@b", None));
        assert_eq!("ssh:root@10.0.0.2:2222".parse(), one("root@10.0.0.2", Some(2222)));
        for wrong in ["root@b", "ssh:", "ssh:-oProxyCommand=x", "ssh:a b", "ssh:a:b", "ssh:a:70000"]
        {
            assert!(wrong.parse::<Destination>().is_err(), "{wrong}");
        }
    }
}

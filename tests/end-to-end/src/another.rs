//! The second machine of a migration on another machine, by ssh: here that is this one again, by an
//! sshd of the test's own.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use lab::{
    migration::Outcome,
    result::{Migration, PhaseName},
    system::{command, debian, process::Guard, scratch::Scratch},
};
use rustix::process::{Pid, Signal, geteuid, kill_process};

use crate::{
    migrations::{completed, fresh, path, read},
    program::xtask,
    suite::{MINUTES, Suite},
};

/// What has sshd.
const PACKAGE: &str = "openssh-server";
const PROGRAM: &str = "usr/sbin/sshd";
const PATIENCE: Duration = Duration::from_secs(120);
const TICK: Duration = Duration::from_millis(50);

/// sshd as root wants a user and a directory that are its own (sshd(8), README.privsep). Here they
/// are in a mount namespace, and nowhere else.
const AS_ROOT: &str = "set -e
    grep -q ^sshd: /etc/passwd || { cp /etc/passwd $1; \
    echo sshd:x:65533:65534::/run/sshd:/bin/false >> $1; mount --bind $1 /etc/passwd; }
    mount -t tmpfs none /run; mkdir -m 755 /run/sshd; shift
    exec \"$@\"";

pub(crate) fn add(suite: &mut Suite) {
    suite.test("migrate --destination to another machine and back", MINUTES, |log| {
        let server = Server::start(log)?;
        let json = log.with_extension("json");
        let mut tool = server.migrate(log, &["--times", "2"])?;
        let status = tool.wait()?;
        ensure!(status.success(), "the tool ended with {status}:\n{}", fs::read_to_string(log)?);
        let migration = read(&json)?;
        let mut said = Vec::new();
        for run in migration.runs() {
            completed(run)?;
            said.push(fresh(run)?);
        }
        ensure!(said.len() == 2, "{} migrations instead of 2", said.len());
        is_cleared(&migration)?;
        Ok(said.join(", and back "))
    });
    suite.test("a guest whose destination is lost stays where it is", MINUTES, |log| {
        let server = Server::start(log)?;
        let mut tool = server.migrate(log, &[])?;
        wait(log, "Migrating: warm-up")?;
        kill_process(server.connection()?, Signal::KILL)?;
        let status = tool.wait()?;
        ensure!(status.code() == Some(1), "the tool ended with {status}");
        let migration = read(&log.with_extension("json"))?;
        ensure!(migration.outcome == Outcome::Failed, "the outcome is {:?}", migration.outcome);
        let error = migration.error.clone().unwrap_or_default();
        ensure!(error.contains("the connection to") && error.contains("was lost"), "{error}");
        let after = migration.phase(PhaseName::After).context("there is no phase after")?;
        ensure!(after.rx_packets > 0, "the guest receives nothing at the source");
        is_cleared(&migration)?;
        Ok(error)
    });
}

/// Checks that nothing is left of what was copied, nor of what ran there.
fn is_cleared(migration: &Migration) -> Result<()> {
    let of_there = migration.command_lines.iter().flat_map(|line| &line.arguments);
    let guest = of_there.map(Path::new).find(|word| word.ends_with("guest"));
    let directory = guest.and_then(Path::parent).context("nothing was copied")?;
    let deadline = Instant::now() + PATIENCE;
    while directory.exists() || !running(path(directory)?)?.is_empty() {
        ensure!(Instant::now() < deadline, "{} is left", directory.display());
        thread::sleep(TICK);
    }
    Ok(())
}

/// Processes with that in their command line.
fn running(text: &str) -> Result<Vec<Pid>> {
    let mut running = Vec::new();
    for entry in fs::read_dir("/proc")?.filter_map(Result::ok) {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let pid = entry.file_name().to_str().and_then(|name| Pid::from_raw(name.parse().ok()?));
        if let Some(pid) = pid.filter(|_| String::from_utf8_lossy(&line).contains(text)) {
            running.push(pid);
        }
    }
    Ok(running)
}

fn wait(log: &Path, text: &str) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !fs::read_to_string(log)?.contains(text) {
        ensure!(Instant::now() < deadline, "no {text:?} in {}", log.display());
        thread::sleep(TICK);
    }
    Ok(())
}

/// An sshd on this machine that lets in whoever has its key, and what a client needs.
struct Server {
    directory: Scratch,
    port: u16,
    _sshd: Guard,
}

impl Server {
    fn start(log: &Path) -> Result<Self> {
        let directory = Scratch::new()?;
        let sshd = program(&directory)?;
        for name in ["host", "user"] {
            let mut keygen = Command::new("ssh-keygen");
            keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(directory.join(name));
            command::run(&mut keygen)?;
        }
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let place = directory.display();
        let configuration = format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {place}/host\nAuthorizedKeysFile \
             {place}/user.pub\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPidFile \
             none\nPermitRootLogin prohibit-password\n"
        );
        fs::write(directory.join("sshd"), configuration)?;
        let key = fs::read_to_string(directory.join("host.pub"))?;
        fs::write(directory.join("known"), format!("[127.0.0.1]:{port} {key}"))?;
        let client = format!("IdentityFile {place}/user\nUserKnownHostsFile {place}/known\n");
        fs::write(directory.join("client"), client)?;
        // ssh has its configuration from the user's home, whatever the environment says.
        let wrapper = directory.join("bin/ssh");
        fs::create_dir(directory.join("bin"))?;
        fs::write(&wrapper, format!("#!/bin/sh\nexec /usr/bin/ssh -F {place}/client \"$@\"\n"))?;
        command::run(Command::new("chmod").arg("755").arg(&wrapper))?;

        let mut command = if geteuid().is_root() {
            let mut command = Guard::command("unshare");
            command.args(["--mount", "--", "sh", "-c", AS_ROOT, "sh"]);
            command.arg(directory.join("passwd")).arg(&sshd);
            command
        } else {
            Guard::command(&sshd)
        };
        command.args(["-D", "-e", "-f"]).arg(directory.join("sshd"));
        let said = File::create(log.with_extension("sshd.log"))?;
        command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said);
        let mut sshd = Guard::spawn(&mut command)?;
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if let Some(status) = sshd.try_wait()? {
                bail!("sshd ended with {status}");
            }
            ensure!(Instant::now() < deadline, "sshd does not listen");
            thread::sleep(TICK);
        }
        Ok(Self { directory, port, _sshd: sshd })
    }

    /// A migration in the lab on this machine, whose second machine is on that of the sshd.
    fn migrate(&self, log: &Path, more: &[&str]) -> Result<Guard> {
        let (json, report) = (log.with_extension("json"), log.with_extension("report"));
        let paths = std::env::var("PATH").unwrap_or_default();
        let paths = format!("{}:{paths}", self.directory.join("bin").display());
        let destination = format!("ssh:127.0.0.1:{}", self.port);
        let mut tool = Guard::command(xtask()?.get_program());
        tool.args(["migrate", "--lab", "local", "--nic", "e1000e", "--destination", &destination]);
        tool.args(["--seconds", "2", "--rate", "60"]);
        tool.args(["--json", path(&json)?, "--report", path(&report)?]).args(more);
        let out = File::create(log)?;
        tool.env("PATH", paths).stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        Ok(Guard::spawn(&mut tool)?)
    }

    /// The process that has the tool's connection.
    fn connection(&self) -> Result<Pid> {
        let client = self.directory.join("client");
        let all = running(path(&client)?)?.into_iter();
        let mut masters = all.filter(|pid| {
            let line = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero()));
            String::from_utf8_lossy(&line.unwrap_or_default()).contains("ControlMaster=yes")
        });
        masters.next().context("there is no connection")
    }
}

/// sshd, the installed one or that of the package, which need not be installed.
fn program(directory: &Path) -> Result<PathBuf> {
    let installed = Path::new("/").join(PROGRAM);
    if installed.exists() {
        return Ok(installed);
    }
    debian::unpack_package(PACKAGE, &directory.join(PACKAGE))?;
    Ok(directory.join(PACKAGE).join(PROGRAM))
}

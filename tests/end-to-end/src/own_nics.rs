//! The tool on a machine with NICs of its own: the lab's host, which nobody has prepared. There it
//! runs as people run it. No time is judged, so others may run beside it: what is slow then is
//! given the time.

use std::{
    fs::{self, File},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use lab::{
    build::{application::Application, crates, host_kernel, qemu},
    clock::Clock,
    guest::READY,
    init::{self, Report},
    initramfs,
    nested::host::{HostNic, Setup, VirtualHost},
    parts::{Accelerator, HostKernel, NicModel, Qemu},
    result::Migration,
    segment::Segment,
    system::{command, scratch::Scratch, tools},
};

use crate::{
    migrations::{check, completed, fresh},
    options::Kernel,
    suite::{MINUTES, Suite},
};

const NIC: &str = "0000:01:00.0";
const OTHER: &str = "0000:02:00.0";
/// The one that traffic comes by.
const THIRD: &str = "0000:03:00.0";
/// What Linux calls the first one.
const OWN: &str = "eth0";
/// Where a result is written to there.
const JSON: &str = "/tmp/result.json";
/// The driver of Linux that has them before and afterwards.
const DRIVER: &str = "e1000e";
/// The emulated host boots in 10 to 30 s on a quiet machine.
const BOOT: Duration = Duration::from_secs(300);
/// For what the tool does there.
const PATIENCE: Duration = Duration::from_secs(240);
/// With the tool beside QEMU in it.
const MEMORY_MIB: u32 = 3072;
/// Of a process that a Ctrl-C has ended.
const INTERRUPTED: &str = "exit status: 130";
const SUCCESS: &str = "exit status: 0";
const FAILED: &str = "exit status: 1";

/// With `long`, also what takes two more migrations to show.
pub(crate) fn add(suite: &mut Suite, kernel: Kernel, long: bool) {
    suite.test("doctor and run on a machine with NICs of its own", MINUTES, move |log| {
        let mut host = Host::boot(log, kernel)?;
        let (said, status) = host.tool(&["doctor", "--image", init::GUEST_IMAGE])?;
        ensure!(status == SUCCESS, "doctor ended with {status}:\n{said}");
        for nic in [NIC, OTHER] {
            is_on(&said, nic, DRIVER)?;
        }
        let exit = said.split_once("an exit takes ").and_then(|(_, rest)| rest.split_once(" µs"));
        let (exit, _) = exit.with_context(|| format!("doctor timed no exit:\n{said}"))?;

        let nic = format!("vfio:{NIC}");
        let run = ["run", "--nic", &nic, "--image", init::GUEST_IMAGE, "--mem", "64"];
        host.start(&[&run[..], &["--append", "ip=10.0.2.15/24"]].concat())?;
        host.wait(|line| line.contains(READY)).context("the guest on the NIC")?;
        host.machine.interrupt(TOOL)?;
        let (said, status) = host.end()?;
        ensure!(status == INTERRUPTED, "run ended with {status}:\n{said}");
        let said = host.tool(&["doctor", "--image", init::GUEST_IMAGE])?.0;
        is_on(&said, NIC, DRIVER).context("after Ctrl-C")?;

        let (said, status) = host.tool(&[&run[..], &["--timeout", "5"]].concat())?;
        ensure!(status == "exit status: 124", "run ended with {status}:\n{said}");
        let said = host.tool(&["doctor", "--image", init::GUEST_IMAGE])?.0;
        is_on(&said, NIC, DRIVER).context("after the time was over")?;
        Ok(format!("an exit takes {exit} µs there"))
    });
    suite.test("migrate --lab host on a machine with NICs of its own", MINUTES, move |log| {
        let mut host = Host::boot(log, kernel)?;
        let source = host.bring_up_source()?;
        let taken = host.tool(&migration(OWN, &[]))?;
        ensure!(taken.0.contains("is to be a guest's") && taken.1 == FAILED, "{taken:?}");

        let arrived = host.migrate(&source, &[])?;
        completed(&arrived)?;
        host.has_its_nics_back()?;
        fresh(&arrived)
    });
    if !long {
        return;
    }
    let title = "migrate --lab host --marking never loses writes, and Ctrl-C gives the NICs back";
    suite.test(title, MINUTES, move |log| {
        let mut host = Host::boot(log, kernel)?;
        let source = host.bring_up_source()?;
        let control = host.migrate(&source, &["--marking", "never"])?;
        completed(&control)?;
        let (stale, checked) = check(&control)?;
        ensure!(stale > 0, "stale is 0 without marking: the test cannot fail");
        host.has_its_nics_back()?;

        host.start(&migration(&source, &[]))?;
        host.wait(|line| line.contains("Migrating: warm-up")).context("the warm-up")?;
        host.machine.interrupt(TOOL)?;
        let (said, status) = host.end()?;
        ensure!(status == INTERRUPTED, "migrate ended with {status}:\n{said}");
        host.has_its_nics_back().context("after Ctrl-C")?;
        Ok(format!("{stale} of {checked} stale"))
    });
}

/// A migration between the two NICs.
fn migration<'a>(source: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let nics = "vfio:0000:01:00.0,0000:02:00.0";
    let all = [
        "migrate",
        "--lab",
        "host",
        "--nic",
        nics,
        "--source",
        source,
        "--image",
        init::GUEST_IMAGE,
        "--rate",
        "20",
        "--warmup",
        "4",
        "--seconds",
        "2",
        "--json",
        JSON,
        "--report",
        "/tmp/report",
    ];
    [&all[..], more].concat()
}

/// Checks what a NIC is bound to, by what doctor said.
fn is_on(said: &str, nic: &str, driver: &str) -> Result<()> {
    let line = said.lines().find(|line| line.trim_start().starts_with(nic));
    let line = line.with_context(|| format!("doctor does not list {nic}:\n{said}"))?;
    ensure!(line.contains(&format!("bound to {driver}: spare")), "{line}");
    Ok(())
}

/// What the tool is called there.
const TOOL: &str = "tool";

/// The host, and what the tool says in it.
struct Host<'a> {
    machine: VirtualHost,
    log: &'a Path,
    said: String,
    _segment: Segment,
    _directory: Scratch,
}

impl<'a> Host<'a> {
    fn boot(log: &'a Path, kernel: Kernel) -> Result<Self> {
        let kernel = host_kernel::get(kernel)?;
        let qemu = qemu::get()?;
        let directory = Scratch::new()?;
        let initramfs = directory.join("initramfs");
        pack(&initramfs, &directory, &qemu, &kernel)?;
        let segment = Segment::start(None)?;
        let wires = ["0", "1", "2"].map(|name| directory.join(name));
        for wire in &wires {
            segment.listen(&wire.display().to_string(), wire)?;
        }
        let nic = |(mac, segment): (&'static str, _)| HostNic {
            model: NicModel::E1000e,
            mac,
            segment,
            guest_chooses: false,
        };
        // None is an address that the lab has for guests, as none of a real NIC is.
        let nics: Vec<_> = ["52:54:00:67:6f:97", "52:54:00:67:6f:98", "52:54:00:67:6f:99"]
            .into_iter()
            .zip(wires.iter().map(|wire| &**wire))
            .map(nic)
            .collect();
        let mut machine = VirtualHost::start(&Setup {
            qemu: &qemu,
            kernel: &kernel.image,
            initramfs: &initramfs,
            accelerator: Accelerator::Tcg,
            clock: Clock::real(),
            nics: &nics,
            standby: None,
            is_unprepared: true,
            memory_mib: MEMORY_MIB,
            console_log: &log.with_extension("host.log"),
        })?;
        machine.wait_ready(BOOT)?;
        Ok(Self { machine, log, said: String::new(), _segment: segment, _directory: directory })
    }

    /// Turns on the interface that traffic is to come by. Returns its name.
    fn bring_up_source(&mut self) -> Result<String> {
        let (said, _) = self.tool(&["doctor", "--image", init::GUEST_IMAGE])?;
        let line = said.lines().find(|line| line.trim_start().starts_with(THIRD));
        let name = line.and_then(|line| line.split(", ").nth(1));
        let name =
            name.with_context(|| format!("doctor knows no interface of {THIRD}:\n{said}"))?;
        self.program("ip", &["link", "set", name, "up"])?;
        Ok(name.into())
    }

    /// A migration that comes out as it was asked for.
    fn migrate(&mut self, source: &str, more: &[&str]) -> Result<Migration> {
        let (said, status) = self.tool(&migration(source, more))?;
        ensure!(status == SUCCESS, "migrate ended with {status}:\n{said}");
        let json = self.program("cat", &[JSON])?;
        serde_json::from_str(&json).with_context(|| format!("{JSON}:\n{json}"))
    }

    /// Checks that Linux' driver has both NICs.
    fn has_its_nics_back(&mut self) -> Result<()> {
        let (said, _) = self.tool(&["doctor", "--image", init::GUEST_IMAGE])?;
        [NIC, OTHER].into_iter().try_for_each(|nic| is_on(&said, nic, DRIVER))
    }

    /// Runs a program of the host's that ends well. Returns what it said.
    fn program(&mut self, name: &str, arguments: &[&str]) -> Result<String> {
        self.begin(name, arguments)?;
        let (said, status) = self.end()?;
        ensure!(status == SUCCESS, "{name} ended with {status}:\n{said}");
        Ok(said)
    }

    /// Runs the tool to its end: what it said, and how it ended.
    fn tool(&mut self, arguments: &[&str]) -> Result<(String, String)> {
        self.start(arguments)?;
        self.end()
    }

    fn start(&mut self, arguments: &[&str]) -> Result<()> {
        self.begin("xtask", arguments)
    }

    fn begin(&mut self, program: &str, arguments: &[&str]) -> Result<()> {
        self.said.clear();
        let program = format!("{}/{program}", init::PROGRAMS);
        let command: Vec<_> =
            [&*program].iter().chain(arguments).map(|&word| word.to_owned()).collect();
        self.machine.run(TOOL, &command)
    }

    fn end(&mut self) -> Result<(String, String)> {
        let status = self.wait(|_| false);
        match status {
            Ok(Some(status)) => Ok((std::mem::take(&mut self.said), status)),
            Ok(None) => bail!("no line was waited for"),
            Err(error) => Err(error),
        }
    }

    /// Waits for a line that `wanted` accepts, or else for the end: how the tool ended.
    fn wait(&mut self, wanted: impl Fn(&str) -> bool) -> Result<Option<String>> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.machine.next_report(left)? {
                Some(Report::Output { line, .. }) => {
                    self.said += &(line + "\n");
                    fs::write(self.log, &self.said)?;
                    if self.said.lines().last().is_some_and(&wanted) {
                        return Ok(None);
                    }
                }
                Some(Report::Exited { status, .. }) => return Ok(Some(status)),
                Some(Report::Failed { what, why }) => bail!("the host cannot {what}: {why}"),
                Some(_) => {}
                None => bail!("nothing more within {} s:\n{}", PATIENCE.as_secs(), self.said),
            }
        }
    }
}

/// A host with the tool, and what that runs.
fn pack(initramfs: &Path, directory: &Path, qemu: &Qemu, kernel: &HostKernel) -> Result<()> {
    let tool = directory.join("xtask");
    // A quarter of what cargo makes is enough to run.
    command::run(Command::new("strip").arg("-o").arg(&tool).arg(crates::xtask()?))?;
    let found = |name: &str| tools::find_program(name).with_context(|| format!("no {name}"));
    let [setpriv, ip, cat] = [found("setpriv")?, found("ip")?, found("cat")?];
    let mut out = File::create(initramfs)?;
    let programs = [&*tool, &*setpriv, &*ip, &*cat];
    initramfs::write_with(&mut out, &crates::lab_init()?, qemu, kernel, &programs, &[DRIVER])?;
    initramfs::append_guest(&mut out, &Application::ours()?.build()?)
}

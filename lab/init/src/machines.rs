//! The machines of the host: QEMUs, their channels, their end.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use command_fds::{CommandFdExt, FdMapping};
use lab_init::{CHANNELS, Channel, PROGRAMS, QEMU, QEMU_DATA, Report, Request, TAP_FD};
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    control::{Reports, Requests},
    taps,
};

/// How often a machine is looked at for having ended.
const EXIT_POLL: Duration = Duration::from_millis(20);

type Running = Arc<Mutex<HashMap<String, Child>>>;

/// Serves requests until the lab is at its end.
pub(crate) fn serve(mut requests: Requests, reports: &Reports) -> Result<()> {
    let running = Running::default();
    while let Some(request) = requests.next()? {
        match request {
            Ok(Request::Spawn { machine, arguments, tap }) => {
                match spawn(&running, reports, &machine, &arguments, tap.as_deref()) {
                    Ok(()) => reports.send(&Report::Spawned { machine }),
                    Err(error) => reports.failed(format!("spawn {machine}"), &error),
                }
            }
            Ok(Request::Run { machine, command }) => {
                match run(&running, reports, &machine, &command) {
                    Ok(()) => reports.send(&Report::Spawned { machine }),
                    Err(error) => reports.failed(format!("run {machine}"), &error),
                }
            }
            Ok(Request::Interrupt { machine }) => {
                if let Some(child) = running.lock().expect("no holder panics").get(&machine) {
                    kill_process(Pid::from_child(child), Signal::INT).context("interrupt")?;
                }
            }
            Ok(Request::Kill { machine }) => {
                if let Some(child) = running.lock().expect("no holder panics").get_mut(&machine) {
                    child.kill().context("kill")?;
                }
            }
            Err(error) => reports.failed("understand a request", &error.into()),
        }
    }
    Ok(())
}

fn spawn(
    running: &Running,
    reports: &Reports,
    machine: &str,
    arguments: &[String],
    tap: Option<&str>,
) -> Result<()> {
    let mut command = Command::new(QEMU);
    command.args(["-L", QEMU_DATA]).args(arguments);
    for (channel, name) in [(Channel::Qmp, "qmp"), (Channel::Console, "console")] {
        let port = Path::new(CHANNELS).join(channel.port(machine));
        // QEMU's pipe chardev takes any one file for both directions: no relay in between.
        command.arg("-chardev").arg(format!("pipe,id={name},path={}", port.display()));
    }
    command.args(["-mon", "chardev=qmp,mode=control"]);
    command.args(["-serial", "chardev:console"]);
    if let Some(name) = tap {
        // Opened anew for each machine: what waits in it for one that is gone goes with it.
        let parent_fd = taps::open(name)?.into();
        command.fd_mappings(vec![FdMapping { parent_fd, child_fd: TAP_FD }])?;
    }
    start(running, reports, machine, &mut command)
}

/// Runs a program that expects a system around it.
fn run(running: &Running, reports: &Reports, machine: &str, command: &[String]) -> Result<()> {
    let [program, arguments @ ..] = command else { bail!("there is no program") };
    let mut command = Command::new(program);
    // The kernel gives PID 1 no PATH.
    command.args(arguments).env("PATH", PROGRAMS);
    start(running, reports, machine, &mut command)
}

fn start(running: &Running, reports: &Reports, machine: &str, command: &mut Command) -> Result<()> {
    let mut machines = running.lock().expect("no holder panics");
    if machines.contains_key(machine) {
        bail!("it is running already");
    }
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| command.get_program().display().to_string())?;
    let outputs: [Box<dyn Read + Send>; 2] = [
        Box::new(child.stdout.take().context("standard output")?),
        Box::new(child.stderr.take().context("standard error")?),
    ];
    machines.insert(machine.into(), child);
    let watcher =
        Watcher { running: running.clone(), reports: reports.clone(), machine: machine.into() };
    thread::spawn(move || watcher.watch(outputs));
    Ok(())
}

struct Watcher {
    running: Running,
    reports: Reports,
    machine: String,
}

impl Watcher {
    /// Passes on what QEMU says, then how it ended: nothing is said after `Exited`.
    fn watch(&self, outputs: [Box<dyn Read + Send>; 2]) {
        thread::scope(|scope| {
            for output in outputs {
                scope.spawn(|| self.pass_on(output));
            }
        });
        let (status, success) = match self.wait() {
            Ok(status) => (status.to_string(), status.success()),
            Err(error) => (format!("{error:#}"), false),
        };
        self.reports.send(&Report::Exited { machine: self.machine.clone(), status, success });
    }

    fn pass_on(&self, output: impl Read) {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            self.reports.send(&Report::Output { machine: self.machine.clone(), line });
        }
    }

    fn wait(&self) -> Result<ExitStatus> {
        loop {
            let mut machines = self.running.lock().expect("no holder panics");
            let child = machines.get_mut(&self.machine).context("forgotten")?;
            if let Some(status) = child.try_wait()? {
                machines.remove(&self.machine);
                return Ok(status);
            }
            drop(machines);
            thread::sleep(EXIT_POLL);
        }
    }
}

//! The virtual host: a QEMU that emulates a KVM machine with an IOMMU and Intel NICs.

use std::{
    collections::HashMap,
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    process::Stdio,
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use lab_init::{CONTROL_PORT, Channel, Nic, Report, Request, VirtualFunction};

use super::state;
use crate::{
    clock::Clock,
    parts::{Accelerator, NicModel, Qemu, escape},
    qmp::{Qmp, SetLink},
    source::{Listens, stream},
    system::{process::Guard, scratch::Scratch},
};

/// The machines the host has channels for.
pub const MACHINES: [&str; 2] = ["source", "destination"];

/// The socket of the host's own monitor.
const MONITOR: &str = "monitor";

/// In virtual time each instruction takes 2^1 ns, and when all processors are halted, it is at once
/// what the next timer waits for.
const ICOUNT: &str = "shift=1,sleep=off";

/// Processors of the host: one for a guest, one for everything else.
const PROCESSORS: usize = 2;

/// What the host is made of.
#[derive(Debug)]
pub struct Setup<'a> {
    /// Both the QEMU that emulates the host and, in the initramfs, the one it runs.
    pub qemu: &'a Qemu,
    /// The kernel image.
    pub kernel: &'a Path,
    /// From [`crate::initramfs`], guest included.
    pub initramfs: &'a Path,
    /// The accelerator.
    pub accelerator: Accelerator,
    /// The clock of its time: a virtual one counts its instructions.
    pub clock: Clock,
    /// What each NIC is.
    pub nics: &'a [HostNic<'a>],
    /// A listening segment port for the virtio NIC that goes with each, in a host that has them.
    pub standby: Option<[&'a Path; 2]>,
    /// Leave the NICs to the host's own drivers, as on a machine that nobody has prepared.
    pub is_unprepared: bool,
    /// Memory of the host.
    pub memory_mib: u32,
    /// Where the host's console is written to.
    pub console_log: &'a Path,
}

/// A NIC of the host.
#[derive(Debug, Clone, Copy)]
pub struct HostNic<'a> {
    /// Its model.
    pub model: NicModel,
    /// Its address, or that of its virtual function.
    pub mac: &'a str,
    /// The guest has another, which its virtual function is to be given by the guest.
    pub guest_chooses: bool,
    /// A listening segment port: `-netdev stream` connects to it.
    pub segment: &'a Path,
}

/// What a host has for its machines.
#[derive(Debug)]
pub struct Ready {
    /// NICs bound to vfio-pci.
    pub nics: Vec<Nic>,
    /// Taps, one for each virtio NIC.
    pub taps: Vec<String>,
}

/// A running virtual host. Dropped, it is gone with everything in it.
#[derive(Debug)]
pub struct VirtualHost {
    // Dropped in this order: first the host, then what it is connected to.
    qemu: Guard,
    control: UnixStream,
    monitor: Qmp,
    reports: Receiver<Report>,
    channels: HashMap<String, UnixStream>,
    console_log: PathBuf,
    clock: Clock,
    line: Vec<String>,
    _sockets: Scratch,
}

impl VirtualHost {
    /// Starts the host; it boots by itself until [`VirtualHost::wait_ready`]. The host dies with
    /// the calling thread.
    ///
    /// # Errors
    /// QEMU cannot be started or ends at once: what it said is in the error.
    pub fn start(setup: &Setup<'_>) -> Result<Self> {
        // Not in the report directory: a socket's path has at most 107 characters.
        let sockets = Scratch::new()?;
        let mut ports = vec![CONTROL_PORT.to_owned()];
        for machine in MACHINES {
            ports.extend([Channel::Qmp, Channel::Console].map(|channel| channel.port(machine)));
        }
        let listeners = ports
            .iter()
            .map(String::as_str)
            .chain([MONITOR])
            .map(|port| {
                let listener = UnixListener::bind(sockets.join(port))?;
                listener.set_nonblocking(true)?;
                Ok(listener)
            })
            .collect::<Result<Vec<_>>>()?;
        let line = command_line(setup, &ports, &sockets);
        let said = sockets.join("output");
        let output = fs::File::create(&said)?;
        let mut qemu = Guard::spawn(
            Guard::command(&line[0])
                .args(&line[1..])
                .stdin(Stdio::null())
                .stdout(output.try_clone()?)
                .stderr(output),
        )
        .context("cannot start QEMU")?;
        let mut channels = HashMap::new();
        for (port, listener) in ports.iter().zip(&listeners) {
            let stream = accept(listener, &mut qemu, &said)?;
            channels.insert(port.clone(), stream);
        }
        // The monitor's comes last, as on the command line.
        let monitor = accept(&listeners[ports.len()], &mut qemu, &said)?;
        let monitor = Qmp::connect("lab's host", monitor)?;
        let control =
            channels.remove(CONTROL_PORT).context("the control port was just accepted")?;
        let reports = read_reports(control.try_clone()?);
        let console_log = setup.console_log.into();
        let clock = setup.clock.clone();
        Ok(Self {
            qemu,
            control,
            monitor,
            reports,
            channels,
            console_log,
            clock,
            line,
            _sockets: sockets,
        })
    }

    /// Waits for the host to be up with its NICs bound to vfio-pci.
    ///
    /// # Errors
    /// The host failed, and at what; or it ended or fell silent, with its console's last lines.
    pub fn wait_ready(&mut self, timeout: Duration) -> Result<Ready> {
        match self.next_report(timeout)? {
            Some(Report::Ready { nics, taps, processors: PROCESSORS }) => Ok(Ready { nics, taps }),
            Some(Report::Ready { processors, .. }) => {
                bail!("the lab's host runs on {processors} of its {PROCESSORS} processors")
            }
            Some(Report::Failed { what, why }) => bail!("the lab's host cannot {what}: {why}"),
            Some(other) => bail!("the lab's host said {other:?} before it was ready"),
            None => bail!(
                "the lab's host did not come up within {} s; the end of {}:\n{}",
                timeout.as_secs(),
                self.console_log.display(),
                self.console_tail()
            ),
        }
    }

    /// How it was started.
    #[must_use]
    pub fn command_line(&self) -> &[String] {
        &self.line
    }

    /// The clock of its time.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The time that each processor has been busy so far. None under KVM, whose threads do other
    /// work as well.
    #[must_use]
    pub fn processors(&self) -> Option<[Duration; PROCESSORS]> {
        state::processors(self.qemu.id())
    }

    /// What the processors of a host that does not answer any more are doing, at length. The host
    /// is no use afterwards.
    #[must_use]
    pub fn last_words(&mut self) -> String {
        state::describe(&mut self.monitor, self.qemu.id())
    }

    /// Takes the link of a NIC down, or brings it up: of that number, in the order of the setup.
    ///
    /// # Errors
    /// There is no such NIC, or the host is gone.
    pub fn set_link(&mut self, nic: usize, up: bool) -> Result<()> {
        self.monitor.execute(&SetLink { name: format!("net{nic}"), up }).map(drop)
    }

    /// Asks for a machine, with a tap of its own open or without; a [`Report::Spawned`] or
    /// [`Report::Failed`] follows.
    ///
    /// # Errors
    /// The host is gone.
    pub fn spawn(&mut self, machine: &str, arguments: &[String], tap: Option<&str>) -> Result<()> {
        self.request(&Request::Spawn {
            machine: machine.into(),
            arguments: arguments.to_vec(),
            tap: tap.map(str::to_owned),
        })
    }

    /// Asks for a program of the host's own, as for a machine of that name.
    ///
    /// # Errors
    /// The host is gone.
    pub fn run(&mut self, machine: &str, command: &[String]) -> Result<()> {
        self.request(&Request::Run { machine: machine.into(), command: command.to_vec() })
    }

    /// Interrupts it, as Ctrl-C does; a [`Report::Exited`] follows.
    ///
    /// # Errors
    /// The host is gone.
    pub fn interrupt(&mut self, machine: &str) -> Result<()> {
        self.request(&Request::Interrupt { machine: machine.into() })
    }

    /// Ends a machine at once; a [`Report::Exited`] follows.
    ///
    /// # Errors
    /// The host is gone.
    pub fn kill(&mut self, machine: &str) -> Result<()> {
        self.request(&Request::Kill { machine: machine.into() })
    }

    /// What the host reports next, or `None` when it reports nothing within `timeout`.
    ///
    /// # Errors
    /// The host ended.
    pub fn next_report(&mut self, timeout: Duration) -> Result<Option<Report>> {
        match self.reports.recv_timeout(timeout) {
            Ok(report) => Ok(Some(report)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => {
                let status = self.qemu.wait()?;
                bail!(
                    "the lab's host ended ({status}); the end of {}:\n{}",
                    self.console_log.display(),
                    self.console_tail()
                )
            }
        }
    }

    /// A machine's monitor or console. It outlives the machine: the next one of that name is
    /// found at the same stream.
    ///
    /// # Errors
    /// There is no such machine.
    pub fn channel(&self, machine: &str, channel: Channel) -> Result<UnixStream> {
        let stream = self.channels.get(&channel.port(machine));
        Ok(stream.with_context(|| format!("the lab has no machine {machine}"))?.try_clone()?)
    }

    fn request(&mut self, request: &Request) -> Result<()> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        self.control.write_all(&line).context("the lab's host does not listen any more")
    }

    fn console_tail(&self) -> String {
        let console = fs::read(&self.console_log).unwrap_or_default();
        let text = String::from_utf8_lossy(&console);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

fn command_line(setup: &Setup<'_>, ports: &[String], sockets: &Path) -> Vec<String> {
    let is_virtual = setup.clock.is_virtual();
    let (accelerator, cpu) = match setup.accelerator {
        Accelerator::Tcg if is_virtual => ("tcg,thread=single", "max"),
        Accelerator::Tcg => ("tcg,thread=multi", "max"),
        Accelerator::Kvm => ("kvm", "host"),
    };
    let netdev = |id: &str, segment: &Path| match is_virtual {
        true => format!("lockstep,id={id},path={}", escape(segment)),
        false => stream(id, segment, Listens::Peer),
    };
    let mut line = setup.qemu.command_line();
    // An option and its value: the value may have blanks, in a path.
    let mut add = |option: &str, value: String| line.extend([option.to_owned(), value]);
    // VFIO interrupts through the emulated IOMMU need the irqchip split.
    add("-machine", "q35,kernel-irqchip=split".into());
    add("-accel", accelerator.into());
    if is_virtual {
        add("-icount", ICOUNT.into());
    }
    add("-cpu", cpu.into());
    add("-smp", PROCESSORS.to_string());
    add("-m", setup.memory_mib.to_string());
    add("-device", "intel-iommu".into());
    add("-device", "virtio-serial-pci,max_ports=8".into());
    for (index, port) in ports.iter().enumerate() {
        let path = escape(&sockets.join(port));
        add("-chardev", format!("socket,id=c{index},path={path}"));
        let number = index + 1;
        add("-device", format!("virtserialport,chardev=c{index},name={port},nr={number}"));
    }
    let monitor = escape(&sockets.join(MONITOR));
    add("-chardev", format!("socket,id={MONITOR},path={monitor}"));
    add("-object", format!("monitor-qmp,id=qmp,chardev={MONITOR}"));
    add("-name", "lab,debug-threads=on".into());
    let mut functions = String::new();
    for (index, nic) in setup.nics.iter().enumerate() {
        let HostNic { model, mac, segment, guest_chooses } = *nic;
        // The speed of an 82574L. Above 5 GT/s Linux waits a second after a reset for a link that
        // QEMU never reports up.
        let port = format!("id=port{index},chassis={index},slot={index},x-speed=2_5");
        let mut mac = mac.to_owned();
        if model == NicModel::Igbvf {
            // The host's own, which stays with it.
            let physical = format!("52:54:00:67:6f:a{index}");
            let function = VirtualFunction {
                physical: physical.clone(),
                mac: (!guest_chooses).then_some(mac),
            };
            functions += &format!(" {function}");
            mac = physical;
        }
        let model = model.device();
        add("-device", format!("pcie-root-port,{port}"));
        add("-netdev", netdev(&format!("net{index}"), segment));
        add("-device", format!("{model},netdev=net{index},bus=port{index},mac={mac},romfile="));
    }
    for (index, segment) in setup.standby.iter().flatten().enumerate() {
        add("-netdev", netdev(&format!("tap{index}"), segment));
        // Not the guest's address: what the host itself sends must not move that to this port.
        let mac = format!("52:54:00:67:6f:8{index}");
        add("-device", format!("virtio-net-pci,netdev=tap{index},mac={mac},romfile="));
    }
    add("-serial", format!("file:{}", setup.console_log.display()));
    add("-display", "none".into());
    add("-kernel", setup.kernel.display().to_string());
    add("-initrd", setup.initramfs.display().to_string());
    // iommu=nopt: DMA is translated, as it is under a VFIO host. maxcpus=1: `lab-init` starts the
    // other processor (see `processors` there). unknown_nmi_panic: see `state`. The rest makes
    // emulation faster.
    let append = "console=ttyS0 quiet loglevel=4 panic=-1 unknown_nmi_panic intel_iommu=on \
                  iommu=nopt mitigations=off maxcpus=1 ipv6.disable=1 nokaslr tsc=reliable \
                  no_timer_check random.trust_cpu=on";
    let more = if setup.is_unprepared { lab_init::UNPREPARED } else { "" };
    add("-append", format!("{append} {more}{functions}"));
    line.extend(["-nodefaults", "-no-user-config", "-no-reboot"].map(str::to_owned));
    line
}

/// Waits for QEMU to connect, which it does before anything else, or to end.
fn accept(listener: &UnixListener, qemu: &mut Guard, said: &Path) -> Result<UnixStream> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(false)?;
            return Ok(stream);
        }
        if let Some(status) = qemu.try_wait()? {
            let said = fs::read_to_string(said).unwrap_or_default();
            bail!("QEMU could not start the lab's host ({status}): {}", said.trim_end());
        }
        if Instant::now() > deadline {
            bail!("QEMU did not connect to its channels within 30 s");
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Reads reports until the host is gone.
fn read_reports(control: UnixStream) -> Receiver<Report> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(control).lines().map_while(Result::ok) {
            let report = serde_json::from_str(&line).unwrap_or_else(|error| Report::Failed {
                what: format!("report in words known here ({line:?})"),
                why: error.to_string(),
            });
            if sender.send(report).is_err() {
                break;
            }
        }
    });
    receiver
}

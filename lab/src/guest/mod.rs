//! A running guest on this machine's QEMU, and how its services are asked.

pub mod accel;
pub mod linux;
pub mod machine;
pub mod nic;
pub mod options;
pub mod vfio;

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    build::crates,
    local::Model,
    parts::{Accelerator, NicModel},
    system::{
        command,
        process::Guard,
        tools::{self, Tool},
    },
};
pub use nic::{AttachedNic, NETDEV, Wire};
pub use options::{Forward, Net, Nic};

/// For a guest in software on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// For a server in a guest to open its port again.
const REOPENING: Duration = Duration::from_secs(10);
const MEMORY_MIB: u32 = 128;
/// What it says on its console once its services can be reached.
pub const READY: &str = "godwit: ready";

/// A running guest with its console in a file.
pub struct Guest {
    machine: Guard,
    console: PathBuf,
    nic: Option<AttachedNic>,
}

impl Guest {
    /// Boots the unikernel with this NIC, in software.
    pub fn boot(nic: NicModel, console: &Path, append: &str, forwards: &[Forward]) -> Result<Self> {
        Self::boot_with(nic, console, append, forwards, &[])
    }

    /// The same with more of QEMU's options.
    pub fn boot_with(
        nic: NicModel,
        console: &Path,
        append: &str,
        forwards: &[Forward],
        options: &[String],
    ) -> Result<Self> {
        let wire = Wire::Netdev(nic::backend(&Net::User, forwards)?);
        Self::boot_on(&wire, nic, console, append, options)
    }

    /// The same on any wire.
    pub fn boot_on(
        wire: &Wire<'_>,
        nic: NicModel,
        console: &Path,
        append: &str,
        options: &[String],
    ) -> Result<Self> {
        let qemu = machine::qemu_with(nic)?;
        let image = crates::guest()?;
        let mut line = machine::command_line(&qemu, Accelerator::Tcg, MEMORY_MIB, &image, append);
        line.extend(options.iter().cloned());
        let nic = AttachedNic::emulated(nic, wire, MEMORY_MIB)?;
        Self::start(line, nic, console)
    }

    /// Starts a machine that has no NIC and no serial port yet.
    pub fn start(line: Vec<String>, nic: AttachedNic, console: &Path) -> Result<Self> {
        let mut command = Guard::command(&line[0]);
        command.args(&line[1..]).args(&nic.options);
        command.args(["-serial", &format!("file:{}", console.display())]);
        let guest = Self::spawn(command.stdin(Stdio::null()).stdout(Stdio::null()), console)?;
        Ok(Self { nic: Some(nic), ..guest })
    }

    /// Starts `command`, from [`Guard::command`], which runs one and writes its console to a file.
    pub fn spawn(command: &mut Command, console: &Path) -> Result<Self> {
        // What an earlier guest said must not pass for what this one says.
        fs::write(console, "").with_context(|| console.display().to_string())?;
        let machine = Guard::spawn(command).context("cannot start the guest's machine")?;
        Ok(Self { machine, console: console.into(), nic: None })
    }

    /// The process that is its NIC, if it is one of its own.
    pub fn nic_model(&self) -> Option<&Model> {
        self.nic.as_ref().and_then(AttachedNic::model)
    }

    /// Fails if the machine has ended, as it does when the guest crashes.
    pub fn ensure_running(&mut self) -> Result<()> {
        match self.machine.try_wait()? {
            None => Ok(()),
            Some(status) => bail!(
                "the guest ended ({status}); its last words are in {}",
                self.console.display()
            ),
        }
    }

    /// What the console has said so far.
    pub fn console(&self) -> String {
        let bytes = fs::read(&self.console).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits for a whole line of the console that contains `text`.
    pub fn wait_for(&mut self, text: &str) -> Result<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let ended = self.machine.try_wait()?;
            let console = self.console();
            let whole = console.rfind('\n').map_or("", |end| &console[..end]);
            if let Some(line) = whole.lines().find(|line| line.contains(text)) {
                return Ok(line.trim_end().to_owned());
            }
            if let Some(status) = ended {
                bail!("the guest ended ({status}) and never said {text:?}");
            }
            ensure!(
                Instant::now() < deadline,
                "the guest did not say {text:?} within {} s",
                PATIENCE.as_secs()
            );
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// One HTTP request, to the end of the answer.
pub fn request(port: u16, method: &str, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: guest\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).with_context(|| format!("{method} {path}"))?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Runs iperf3 against a port of this machine and returns what was received in bits a second.
pub fn iperf3(port: u16, arguments: &[&str]) -> Result<f64> {
    tools::require("measuring throughput", &[Tool::program("iperf3", "iperf3")])?;
    let output = command::run(
        Command::new("iperf3")
            .args(["--client", "127.0.0.1", "--json", "--port", &port.to_string()])
            .args(arguments),
    )?;
    iperf3_rate(&output.stdout)
}

/// What was received in bits a second, of what iperf3 says with `--json`.
pub fn iperf3_rate(said: &[u8]) -> Result<f64> {
    let result: serde_json::Value = serde_json::from_slice(said).context("iperf3's result")?;
    if let Some(error) = result["error"].as_str() {
        bail!("iperf3: {error}");
    }
    let sum = [&result["end"]["sum_received"], &result["end"]["sum"]]
        .into_iter()
        .find(|sum| sum["bytes"].as_u64().is_some_and(|bytes| bytes > 0))
        .with_context(|| format!("iperf3 transferred nothing: {}", result["end"]))?;
    sum["bits_per_second"].as_f64().context("no rate in iperf3's result")
}

/// The same soon after another run: iperf3's own server closes its port between two of them, and opens it again.
pub fn iperf3_after_another(port: u16, arguments: &[&str]) -> Result<f64> {
    let deadline = Instant::now() + REOPENING;
    loop {
        match iperf3(port, arguments) {
            Err(error) if is_closed(&error) && Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(200));
            }
            result => return result,
        }
    }
}

/// Behind a forwarded port every connection is made, and one to a closed port ends at once: in iperf3's words, one of these.
fn is_closed(error: &anyhow::Error) -> bool {
    let text = format!("{error:#}");
    ["reset by peer", "closed unexpectedly", "refused"].iter().any(|words| text.contains(words))
}

/// A port nobody has, TCP and UDP.
pub fn free_port() -> Result<u16> {
    for _ in 0..20 {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        if UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port of this machine is free for both TCP and UDP")
}

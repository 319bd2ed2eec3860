//! Tests of the booted unikernel on this machine's QEMU, in software.

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
use lab::{
    parts::{Accelerator, Qemu},
    process::Guard,
};

use super::{
    errors,
    host::{cargo_test, silently},
    suite::Suite,
};
use crate::{
    build,
    cli::{Forward, Net, RunNic},
    command, machine, tools,
    tools::Tool,
};

/// For a guest in software on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const MEMORY_MIB: u32 = 128;
const IPERF3_PORT: u16 = 5201;
const HTTP_PORT: u16 = 80;

pub(super) fn add(suite: &mut Suite) {
    if !suite.test("the unikernel builds", |_| silently(build::guest().map(drop))) {
        return;
    }
    // The patched QEMU may take minutes to build: not within a test.
    let qemu = match machine::qemu() {
        Ok(qemu) => qemu,
        Err(error) => {
            suite.test("a QEMU to boot on", |_| Err(error));
            return;
        }
    };
    kernel_boot_tests(suite, &qemu);
    suite.test("boot", |log| {
        let mut guest = Guest::boot(log, "", &[])?;
        let ready = guest.wait_for("godwit: ready")?;
        Ok(format!("`{ready}`"))
    });
    suite.test("a wrong command line is named and the defaults taken", |log| {
        let mut guest = Guest::boot(log, "marking=perhaps colour=blue", &[])?;
        silently((|| {
            guest.wait_for("godwit: ready")?;
            for culprit in ["marking", "perhaps", "colour"] {
                guest.wait_for(culprit)?;
            }
            Ok(())
        })())
    });
    errors::add_kvm(suite, &qemu);
    suite.test("without a capability the guest marks always and says so once", |log| {
        let mut guest = Guest::boot(log, "", &[])?;
        guest.wait_for("godwit: ready")?;
        let said = guest.console().matches("marking always").count();
        ensure!(said == 1, "said {said} times");
        Ok(String::new())
    });
    for (name, arguments) in [
        ("iperf3 to the guest", &[][..]),
        ("iperf3 from the guest", &["--reverse"][..]),
        ("iperf3 with four streams", &["--parallel", "4"][..]),
        ("iperf3 over UDP", &["--udp", "--bitrate", "5M"][..]),
    ] {
        suite.test(name, |log| iperf3(log, arguments));
    }
    suite.test("status page", |log| {
        let forward = Forward { host: free_port()?, guest: HTTP_PORT };
        let mut guest = Guest::boot(log, "", &[forward])?;
        guest.wait_for("godwit: ready")?;
        let answer = get(forward.host, "/")?;
        ensure!(answer.starts_with("HTTP/1.1 200"), "the answer was {answer:?}");
        get(forward.host, "/check")?;
        let check = guest.wait_for("recorder: checked")?;
        ensure!(check.ends_with("stale 0"), "{check}");
        Ok(String::new())
    });
    suite.test("a capture that tshark reads", capture);
}

/// The kernel's own, which boot an image of theirs.
fn kernel_boot_tests(suite: &mut Suite, qemu: &Qemu) {
    let arguments = ["--package", "unikernel", "--test", "boot", "--", "--ignored"];
    let qemu = qemu.command_line().join(" ");
    cargo_test(suite, "boot tests", &arguments, &[("GODWIT_QEMU", qemu)]);
}

fn iperf3(log: &Path, arguments: &[&str]) -> Result<String> {
    tools::require("this test", &[Tool::program("iperf3", "iperf3")])?;
    let forward = Forward { host: free_port()?, guest: IPERF3_PORT };
    let mut guest = Guest::boot(log, "", &[forward])?;
    guest.wait_for("godwit: ready")?;
    let output = command::run(
        Command::new("iperf3")
            .args(["--client", "127.0.0.1", "--time", "3", "--json"])
            .args(["--port", &forward.host.to_string()])
            .args(arguments),
    )?;
    let result: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    if let Some(error) = result["error"].as_str() {
        bail!("iperf3: {error}");
    }
    let sum = [&result["end"]["sum_received"], &result["end"]["sum"]]
        .into_iter()
        .find(|sum| sum["bytes"].as_u64().is_some_and(|bytes| bytes > 0))
        .with_context(|| format!("iperf3 transferred nothing: {}", result["end"]))?;
    let rate = sum["bits_per_second"].as_f64().context("no rate in iperf3's result")?;
    Ok(format!("{:.0} Mbit/s", rate / 1e6))
}

/// The README's line, step by step, and what somebody else's program makes of the file.
fn capture(log: &Path) -> Result<String> {
    let tools = [Tool::program("curl", "curl"), Tool::program("tshark", "tshark")];
    tools::require("this test", &tools)?;
    let forward = Forward { host: free_port()?, guest: HTTP_PORT };
    let mut guest = Guest::boot(log, "", &[forward])?;
    guest.wait_for("godwit: ready")?;
    // Odd lengths, so that blocks need padding.
    let payloads: Vec<Vec<u8>> = [1, 501, 1399].map(|len| vec![len as u8; len]).into();
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    for payload in &payloads {
        socket.send_to(payload, (Ipv4Addr::LOCALHOST, forward.host))?;
    }
    let file = log.with_extension("pcapng");
    let url = format!("http://127.0.0.1:{}/capture.pcapng", forward.host);
    let mut curl = Command::new("curl");
    command::run(curl.args(["--silent", "--show-error", "--fail", &url, "--output"]).arg(&file))?;
    let read = |filter: &str, field: &str| -> Result<Vec<String>> {
        let mut tshark = Command::new("tshark");
        tshark.arg("-r").arg(&file).args(["-Y", filter, "-T", "fields", "-e", field]);
        tshark.args(["-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE"]);
        tshark.args(["-o", "tcp.check_checksum:TRUE"]);
        let output = command::run(&mut tshark)?;
        Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
    };
    let hex = |payload: &Vec<u8>| payload.iter().map(|byte| format!("{byte:02x}")).collect();
    let expected: Vec<String> = payloads.iter().map(hex).collect();
    let captured = read(&format!("udp.dstport == {HTTP_PORT}"), "udp.payload")?;
    ensure!(captured == expected, "{} of the datagrams sent are in it as sent", captured.len());
    let wrong = "_ws.malformed || frame.time_delta < 0 || frame.cap_len != frame.len || \
                 ip.checksum.status == 0 || udp.checksum.status == 0 || tcp.checksum.status == 0";
    let wrong = read(wrong, "frame.number")?;
    ensure!(wrong.is_empty(), "frames that tshark finds fault with: {}", wrong.join(", "));
    Ok(format!("{} frames", read("frame", "frame.number")?.len()))
}

/// A running guest with its console in a file.
pub(super) struct Guest {
    machine: Guard,
    console: PathBuf,
    _nic: Option<machine::Nic>,
}

impl Guest {
    /// Boots it with an e1000e.
    fn boot(console: &Path, append: &str, forwards: &[Forward]) -> Result<Self> {
        Self::boot_with(&RunNic::E1000e, console, append, forwards)
    }

    fn boot_with(nic: &RunNic, console: &Path, append: &str, forwards: &[Forward]) -> Result<Self> {
        let qemu = machine::qemu_with(nic)?;
        let image = build::guest_path();
        let nic = machine::Nic::new(nic, &Net::User, forwards, MEMORY_MIB)?;
        let mut line = machine::command_line(&qemu, Accelerator::Tcg, MEMORY_MIB, &image, append);
        line.extend(nic.options.iter().cloned());
        line.extend(["-serial".into(), format!("file:{}", console.display())]);
        let guest = Self::spawn(
            Guard::command(&line[0]).args(&line[1..]).stdin(Stdio::null()).stdout(Stdio::null()),
            console,
        )?;
        Ok(Self { _nic: Some(nic), ..guest })
    }

    /// Starts `command`, from [`Guard::command`], which runs one and writes its console to a file.
    pub(super) fn spawn(command: &mut Command, console: &Path) -> Result<Self> {
        let machine = Guard::spawn(command).context("cannot start the guest's machine")?;
        Ok(Self { machine, console: console.into(), _nic: None })
    }

    pub(super) fn console(&self) -> String {
        let bytes = fs::read(&self.console).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits for a whole line of the console that contains `text`.
    pub(super) fn wait_for(&mut self, text: &str) -> Result<String> {
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
fn get(port: u16, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: guest\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).with_context(|| format!("GET {path}"))?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// A port nobody has, TCP and UDP.
fn free_port() -> Result<u16> {
    for _ in 0..20 {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        if UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port of this machine is free for both TCP and UDP")
}

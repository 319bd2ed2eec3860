//! Tests of the booted unikernel on this machine's QEMU, in software.

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, UdpSocket},
    path::Path,
    process::Command,
};

use anyhow::{Context, Result, ensure};
use lab::{
    addresses::{HTTP_PORT, IPERF3_PORT},
    build::application,
    guest::{
        Forward, Guest, READY,
        clients::{self, free_port},
        machine,
    },
    parts::NicModel,
    system::{
        command,
        tools::{self, Tool},
    },
};

use crate::{
    errors, kernel,
    migrations::path,
    run,
    suite::{LONG, MINUTES, Suite},
    tshark::{FAULTS, TSHARK, tshark},
};

/// Bits a second that TCP moves at least, in software on a busy machine: twice what a stack does
/// that waits for a timer of 200 ms with each window of 64 KiB.
pub(crate) const TCP_FLOOR: f64 = 5e6;
/// UDP is so slow that a guest keeps up with it on a machine however busy, and may lose no more
/// than this part of it.
const UDP_LOST: f64 = 0.1;
const UDP_RATE: [&str; 6] = ["--bitrate", "1M", "--time", "3", "--length", "1000"];
/// Datagrams that this is at least.
const UDP_DATAGRAMS: u64 = 200;

pub(crate) fn add(suite: &mut Suite) {
    let builds = suite.test("the unikernel builds", LONG, |_| {
        application::ours()?;
        Ok(String::new())
    });
    suite.needs(builds);
    // The patched one may take minutes to build, and shows its own progress.
    let qemu = suite
        .test("a QEMU to boot on", LONG, |_| Ok(machine::qemu()?.binary.display().to_string()));
    suite.needs(qemu);
    kernel::add(suite);
    suite.test("boot", MINUTES, |log| {
        let mut guest = boot(log, "", &[])?;
        let ready = guest.wait_for(READY)?;
        Ok(format!("`{ready}`"))
    });
    suite.test("a wrong command line is named and the defaults taken", MINUTES, |log| {
        let mut guest = boot(log, "marking=perhaps colour=blue", &[])?;
        guest.wait_for(READY)?;
        for culprit in ["marking", "perhaps", "colour"] {
            guest.wait_for(culprit)?;
        }
        Ok(String::new())
    });
    errors::add_kvm(suite);
    run::add(suite);
    suite.test("without a capability the guest marks always and says so once", MINUTES, |log| {
        let mut guest = boot(log, "", &[])?;
        guest.wait_for(READY)?;
        let said = guest.console().matches("marking always").count();
        ensure!(said == 1, "said {said} times");
        Ok(String::new())
    });
    for (name, arguments) in [
        ("iperf3 to the guest", &[][..]),
        ("iperf3 from the guest", &["--reverse"][..]),
        ("iperf3 with four streams", &["--parallel", "4"][..]),
    ] {
        suite.test(name, MINUTES, move |log| iperf3(log, NicModel::E1000e, "", arguments));
    }
    suite.test("iperf3 over UDP", MINUTES, udp);
    suite.test("iperf3 in 16 MiB, with 16 streams to the guest and from it", MINUTES, in_little);
    for (name, arguments) in [
        ("iperf3 to the guest's 82599", &[][..]),
        ("iperf3 from the guest's 82599, four streams", &["--reverse", "--parallel", "4"][..]),
    ] {
        suite.test(name, MINUTES, move |log| iperf3(log, NicModel::Ixgbe, "", arguments));
    }
    for (name, arguments) in
        [("iperf3 to virtio-net", &[][..]), ("iperf3 from virtio-net", &["--reverse"][..])]
    {
        suite.test(name, MINUTES, move |log| iperf3(log, NicModel::Virtio, "", arguments));
    }
    for (name, arguments) in [
        ("iperf3 to four queues of igb", &["--parallel", "4"][..]),
        ("iperf3 from igb", &["--reverse"][..]),
    ] {
        suite.test(name, MINUTES, move |log| iperf3(log, NicModel::Igb, "queues=4", arguments));
    }
    suite.test("four queues of igb all receive", MINUTES, queues);
    suite.test("status page", MINUTES, |log| {
        let forward = Forward { host: free_port()?, guest: HTTP_PORT };
        let mut guest = boot(log, "", &[forward])?;
        guest.wait_for(READY)?;
        let answer = clients::request(forward.host, "GET", "/", None)?;
        ensure!(answer.starts_with("HTTP/1.1 200"), "the answer was {answer:?}");
        Ok(String::new())
    });
    suite.test("the status page is kept up by events", MINUTES, events);
    suite.test("checks and resets are for who has the token", MINUTES, |log| {
        let forward = Forward { host: free_port()?, guest: HTTP_PORT };
        let mut guest = boot(log, "token=secret", &[forward])?;
        guest.wait_for(READY)?;
        for path in ["/check", "/reset"] {
            for (method, token, status) in [
                ("GET", Some("secret"), 405),
                ("POST", None, 401),
                ("POST", Some("secrets"), 401),
                ("POST", Some("secret"), 200),
            ] {
                let answer = clients::request(forward.host, method, path, token)?;
                let is_it = answer.starts_with(&format!("HTTP/1.1 {status}"));
                ensure!(is_it, "{method} {path} with {token:?}: {answer:?}");
            }
        }
        let check = guest.wait_for("recorder: checked")?;
        ensure!(check.ends_with("stale 0"), "{check}");
        Ok(String::new())
    });
    suite.test("a capture that tshark reads", MINUTES, capture);
}

/// Some seconds of them, as an EventSource of a browser is sent them.
fn events(log: &Path) -> Result<String> {
    tools::require("this test", &[Tool::program("curl", "curl")])?;
    let forward = Forward { host: free_port()?, guest: HTTP_PORT };
    let mut guest = boot(log, "", &[forward])?;
    guest.wait_for(READY)?;
    let url = format!("http://127.0.0.1:{}/events", forward.host);
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--no-buffer", "--include", "--max-time", "8", &url]);
    let said = String::from_utf8(curl.output()?.stdout)?;
    ensure!(said.contains("text/event-stream"), "{said}");
    let status = said.split("event:status\ndata:").skip(1).filter_map(|rest| rest.lines().next());
    let uptimes: Vec<u64> = status
        .map(|line| {
            let status: serde_json::Value = serde_json::from_str(line)?;
            ensure!(status["migration"]["state"] == "running", "{status}");
            status["uptime_ms"].as_u64().context("no uptime")
        })
        .collect::<Result<_>>()?;
    let steps = uptimes.windows(2).all(|pair| pair[1] - pair[0] >= 900);
    ensure!(uptimes.len() >= 3 && steps, "events at {uptimes:?} ms");
    ensure!(said.contains("event:rows\ndata:<tr><th>up for"), "{said}");
    Ok(format!("{} events", uptimes.len()))
}

fn iperf3(log: &Path, nic: NicModel, append: &str, arguments: &[&str]) -> Result<String> {
    let forward = Forward { host: free_port()?, guest: IPERF3_PORT };
    let mut guest = Guest::boot(nic, log, append, &[forward])?;
    guest.wait_for(READY)?;
    let rate = clients::iperf3(forward.host, &[&["--time", "3"], arguments].concat())?;
    ensure!(rate >= TCP_FLOOR, "only {rate:.0} bit/s");
    Ok(format!("{:.0} Mbit/s", rate / 1e6))
}

/// The machine has as much memory as its sockets need, and no more: those of a test that is over
/// make room for those of the next.
fn in_little(log: &Path) -> Result<String> {
    let forward = Forward { host: free_port()?, guest: IPERF3_PORT };
    let options = ["-m", "16"].map(str::to_owned);
    let mut guest = Guest::boot_with(NicModel::E1000e, log, "", &[forward], &options)?;
    guest.wait_for(READY)?;
    let mut rates = Vec::new();
    for way in [&["--parallel", "16"][..], &["--parallel", "16", "--reverse"], &UDP_RATE, &["-R"]] {
        let udp = if way == UDP_RATE { &["--udp"][..] } else { &["--time", "2"] };
        let arguments = [way, udp].concat();
        let rate = clients::iperf3_after_another(forward.host, &arguments)
            .with_context(|| arguments.join(" "))?;
        rates.push(format!("{:.0}", rate / 1e6));
    }
    guest.ensure_running()?;
    Ok(format!("{} Mbit/s", rates.join(", ")))
}

fn udp(log: &Path) -> Result<String> {
    tools::require("this test", &[Tool::program("iperf3", "iperf3")])?;
    let forward = Forward { host: free_port()?, guest: IPERF3_PORT };
    let mut guest = boot(log, "", &[forward])?;
    guest.wait_for(READY)?;
    let mut iperf3 = Command::new("iperf3");
    iperf3.args(["--client", "127.0.0.1", "--port", &forward.host.to_string(), "--json", "--udp"]);
    let said = command::run(iperf3.args(UDP_RATE))?.stdout;
    let said: serde_json::Value = serde_json::from_slice(&said)?;
    let count = |name: &str| said["end"]["sum"][name].as_u64().context(name.to_owned());
    let (sent, lost) = (count("packets")?, count("lost_packets")?);
    ensure!(
        sent >= UDP_DATAGRAMS && lost as f64 <= sent as f64 * UDP_LOST,
        "of {sent} datagrams {lost} were lost"
    );
    Ok(format!("{lost} of {sent} datagrams lost"))
}

/// Connections are spread over the queues, as the NIC's model says of each frame that it writes.
fn queues(log: &Path) -> Result<String> {
    /// So many that chance leaves no queue out.
    const CONNECTIONS: usize = 64;
    const WRITTEN: &str = "e1000e_rx_written_to_guest";
    let trace = log.with_extension("trace");
    let options = ["-trace", WRITTEN, "-D", path(&trace)?].map(String::from);
    let forward = Forward { host: free_port()?, guest: HTTP_PORT };
    let mut guest = Guest::boot_with(NicModel::Igb, log, "queues=4", &[forward], &options)?;
    guest.wait_for(READY)?;
    for _ in 0..CONNECTIONS {
        clients::request(forward.host, "GET", "/", None)?;
    }
    drop(guest);
    let text = fs::read_to_string(&trace)?;
    let mut frames = BTreeMap::<&str, u64>::new();
    for line in text.lines().filter(|line| line.contains(WRITTEN)) {
        *frames.entry(line.rsplit(' ').next().unwrap_or_default()).or_default() += 1;
    }
    ensure!(frames.len() == 4, "frames by queue: {frames:?}");
    Ok(format!("{:?} frames", frames.values().collect::<Vec<_>>()))
}

/// A guest with an e1000e.
fn boot(log: &Path, append: &str, forwards: &[Forward]) -> Result<Guest> {
    Guest::boot(NicModel::E1000e, log, append, forwards)
}

/// The README's line, step by step, and what somebody else's program makes of the file.
fn capture(log: &Path) -> Result<String> {
    let tools = [Tool::program("curl", "curl"), TSHARK];
    tools::require("this test", &tools)?;
    let forward = Forward { host: free_port()?, guest: HTTP_PORT };
    let mut guest = boot(log, "", &[forward])?;
    guest.wait_for(READY)?;
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
    let hex = |payload: &Vec<u8>| payload.iter().map(|byte| format!("{byte:02x}")).collect();
    let expected: Vec<String> = payloads.iter().map(hex).collect();
    let captured = tshark(&file, &format!("udp.dstport == {HTTP_PORT}"), "udp.payload")?;
    ensure!(captured == expected, "{} of the datagrams sent are in it as sent", captured.len());
    let wrong = tshark(&file, &format!("{FAULTS} || frame.time_delta < 0"), "frame.number")?;
    ensure!(wrong.is_empty(), "frames that tshark finds fault with: {}", wrong.join(", "));
    let names = tshark(&file, "frame", "frame.interface_name")?;
    ensure!(names.iter().all(|name| name == "nic"), "interfaces of the frames: {names:?}");
    Ok(format!("{} frames", tshark(&file, "frame", "frame.number")?.len()))
}

//! Tests of the booted unikernel on this machine's QEMU, in software.

use lab::addresses::{HTTP_PORT, IPERF3_PORT};
use std::{
    net::{Ipv4Addr, UdpSocket},
    path::Path,
    process::Command,
};

use super::{
    errors,
    host::{cargo_test, silently},
    suite::Suite,
};
use crate::{
    build, command,
    guest::{self, Forward, Guest, free_port},
    machine, tools,
    tools::Tool,
};
use anyhow::{Result, ensure};
use lab::parts::NicModel;

pub(super) fn add(suite: &mut Suite) {
    if !suite.test("the unikernel builds", |_| silently(build::guest().map(drop))) {
        return;
    }
    // The patched one may take minutes to build, and shows its own progress.
    let qemu = |_: &Path| Ok(machine::qemu()?.binary.display().to_string());
    if !suite.test("a QEMU to boot on", qemu) {
        return;
    }
    suite.test("boot tests", kernel_boot_tests);
    suite.test("boot", |log| {
        let mut guest = boot(log, "", &[])?;
        let ready = guest.wait_for(guest::READY)?;
        Ok(format!("`{ready}`"))
    });
    suite.test("a wrong command line is named and the defaults taken", |log| {
        let mut guest = boot(log, "marking=perhaps colour=blue", &[])?;
        silently((|| {
            guest.wait_for(guest::READY)?;
            for culprit in ["marking", "perhaps", "colour"] {
                guest.wait_for(culprit)?;
            }
            Ok(())
        })())
    });
    errors::add_kvm(suite);
    suite.test("without a capability the guest marks always and says so once", |log| {
        let mut guest = boot(log, "", &[])?;
        guest.wait_for(guest::READY)?;
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
        suite.test(name, |log| iperf3(log, NicModel::E1000e, "", arguments));
    }
    for (name, arguments) in [
        ("iperf3 to the guest's 82599", &[][..]),
        ("iperf3 from the guest's 82599, four streams", &["--reverse", "--parallel", "4"][..]),
    ] {
        suite.test(name, |log| iperf3(log, NicModel::Ixgbe, "", arguments));
    }
    for (name, arguments) in
        [("iperf3 to virtio-net", &[][..]), ("iperf3 from virtio-net", &["--reverse"][..])]
    {
        suite.test(name, |log| iperf3(log, NicModel::Virtio, "", arguments));
    }
    for (name, arguments) in [
        ("iperf3 to four queues of igb", &["--parallel", "4"][..]),
        ("iperf3 from igb", &["--reverse"][..]),
    ] {
        suite.test(name, |log| iperf3(log, NicModel::Igb, "queues=4", arguments));
    }
    suite.test("status page", |log| {
        let forward = Forward { host: free_port()?, guest: HTTP_PORT };
        let mut guest = boot(log, "", &[forward])?;
        guest.wait_for(guest::READY)?;
        let answer = guest::request(forward.host, "GET", "/")?;
        ensure!(answer.starts_with("HTTP/1.1 200"), "the answer was {answer:?}");
        guest::request(forward.host, "GET", "/check")?;
        let check = guest.wait_for("recorder: checked")?;
        ensure!(check.ends_with("stale 0"), "{check}");
        Ok(String::new())
    });
    suite.test("a capture that tshark reads", capture);
}

/// The kernel's own, which boot an image of theirs.
fn kernel_boot_tests(log: &Path) -> Result<String> {
    let arguments = ["--package", "unikernel", "--test", "boot", "--", "--ignored"];
    let qemu = machine::qemu()?.command_line().join(" ");
    cargo_test(log, &arguments, &[("GODWIT_QEMU", qemu)])
}

fn iperf3(log: &Path, nic: NicModel, append: &str, arguments: &[&str]) -> Result<String> {
    let forward = Forward { host: free_port()?, guest: IPERF3_PORT };
    let mut guest = Guest::boot(nic, log, append, &[forward])?;
    guest.wait_for(guest::READY)?;
    let rate = guest::iperf3(forward.host, &[&["--time", "3"], arguments].concat())?;
    Ok(format!("{:.0} Mbit/s", rate / 1e6))
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
    guest.wait_for(guest::READY)?;
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
    Ok(format!("{} frames", tshark(&file, "frame", "frame.number")?.len()))
}

pub(super) const TSHARK: Tool = Tool::program("tshark", "tshark");

/// What makes a frame a wrong one, as a filter for [`tshark`]. A sum of all ones is as good as zero, and what QEMU's models
/// write instead (`hw/net/net_tx_pkt.c`).
pub(super) const FAULTS: &str = "_ws.malformed || frame.cap_len != frame.len || ip.checksum.status == 0 || \
                                 udp.checksum.status == 0 || icmpv6.checksum.status == 0 || \
                                 (tcp.checksum.status == 0 && tcp.checksum != 0xffff)";

/// A field of each frame in a capture that a display filter lets through; checksums are looked at.
pub(super) fn tshark(capture: &Path, filter: &str, field: &str) -> Result<Vec<String>> {
    let mut tshark = Command::new("tshark");
    tshark.arg("-nr").arg(capture).args(["-Y", filter, "-T", "fields", "-e", field]);
    for protocol in ["ip", "udp", "tcp"] {
        tshark.args(["-o", &format!("{protocol}.check_checksum:TRUE")]);
    }
    let output = command::run(&mut tshark)?;
    Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
}

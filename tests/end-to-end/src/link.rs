//! The link of a guest, on a tap device of this machine: neighbours that are new and that move, and
//! addresses that are none.

use std::{net::Ipv4Addr, path::Path, process::Command, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use lab::{
    guest::{Guest, READY},
    parts::NicModel,
    system::{
        command,
        tools::{self, Tool},
    },
};
use serde_json::Value;

use crate::{
    namespace::ip,
    suite::{MINUTES, Suite},
    tap::Tap,
};

const NEW: &str = "godwit-new";
const MOVES: &str = "godwit-moves";
const OURS: &str = "10.83.0.1/16";
const GUEST: Ipv4Addr = Ipv4Addr::new(10, 83, 0, 2);
/// Another station than the tap device has at first.
const MOVED: &str = "02:00:00:00:83:01";
/// Neighbours that the guest has not heard of.
const STRANGERS: u8 = 40;
/// Less than what a client waits before it sends a lost first packet again (RFC 6298, section 2).
const AT_ONCE: f64 = 0.9;
/// Of a transfer.
const SECONDS: usize = 20;

pub(crate) fn add(suite: &mut Suite) {
    suite.alone("new neighbours are answered at once", MINUTES, strangers);
    suite.test("a transfer goes on when the neighbour has another MAC", MINUTES, moved);
    suite.test("an address without a length stops the boot", MINUTES, |log| {
        let mut guest = Guest::boot(NicModel::E1000e, log, "ip=10.0.2.15", &[])?;
        let (_, said) = guest.wait_for_end()?;
        ensure!(said.contains("ip=10.0.2.15: expected") && said.contains("10.0.2.15/24"), "{said}");
        ensure!(!said.contains(READY), "it went on: {said}");
        Ok(String::new())
    });
}

fn boot(name: &'static str, log: &Path) -> Result<(Tap, Guest)> {
    let tap = Tap::new(name, OURS)?;
    let guest = tap.boot(log, &format!("ip={GUEST}/16"))?;
    Ok((tap, guest))
}

fn strangers(log: &Path) -> Result<String> {
    tools::require("this test", &[Tool::program("curl", "curl")])?;
    let (_tap, _guest) = boot(NEW, log)?;
    let mut slowest = 0.0_f64;
    for n in 1..=STRANGERS {
        let address = Ipv4Addr::new(10, 83, 1, n);
        command::run(&mut ip(&format!("addr add {address}/16 dev {NEW}")))?;
        let said = command::run(
            Command::new("curl")
                .args(["--silent", "--output", "/dev/null", "--write-out", "%{time_connect}"])
                .args(["--max-time", "20", "--interface", &address.to_string()])
                .arg(format!("http://{GUEST}/")),
        )?;
        let said = String::from_utf8(said.stdout)?;
        slowest = slowest.max(said.parse().with_context(|| said.clone())?);
    }
    ensure!(slowest < AT_ONCE, "the slowest of {STRANGERS} waited {slowest} s");
    Ok(format!("{STRANGERS} of them, the slowest after {slowest:.2} s"))
}

fn moved(log: &Path) -> Result<String> {
    tools::require("this test", &[Tool::program("iperf3", "iperf3")])?;
    let (_tap, _guest) = boot(MOVES, log)?;
    let mover = thread::spawn(|| {
        thread::sleep(Duration::from_secs(4));
        // Linux does not tell anybody by itself.
        command::run(&mut ip(&format!("link set dev {MOVES} address {MOVED}")))
    });
    let seconds = SECONDS.to_string();
    let server = GUEST.to_string();
    let said = command::run(Command::new("iperf3").args([
        "--client",
        &server,
        "--reverse",
        "--json",
        "--time",
        &seconds,
    ]))?;
    mover.join().expect("it does not panic")?;
    let said: Value = serde_json::from_slice(&said.stdout)?;
    let bytes: Vec<u64> = said["intervals"]
        .as_array()
        .context("no intervals")?
        .iter()
        .filter_map(|interval| interval["sum"]["bytes"].as_u64())
        .collect();
    let last = bytes.iter().rev().take(4);
    ensure!(
        bytes.len() >= SECONDS && last.clone().all(|&bytes| bytes > 0),
        "it stopped: {bytes:?}"
    );
    let silent = bytes.iter().filter(|&&bytes| bytes == 0).count();
    Ok(format!("{silent} s of {SECONDS} without data"))
}

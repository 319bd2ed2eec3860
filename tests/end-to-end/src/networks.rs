//! Many connections, and routers in between, on a tap device of this machine.

use std::{
    fs,
    io::Write,
    net::{Ipv4Addr, TcpStream},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use lab::{
    guest::Guest,
    system::{
        command,
        tools::{self, Tool},
    },
};
use serde_json::Value;

use crate::{
    suite::{MINUTES, Skipped, Suite},
    tap::{Tap, ip},
};

const TAP: &str = "godwit-nets";
const OURS: &str = "10.84.0.1";
const GUEST: Ipv4Addr = Ipv4Addr::new(10, 84, 0, 2);
/// A client behind this machine, and the link to it that is narrower than the guest's.
const SPACE: &str = "godwit-narrow";
const NEAR: &str = "godwit-near";
const FAR: &str = "godwit-far";
const MTU: &str = "1300";
const CLIENT: &str = "10.85.0.2";
/// Requests at the same time, and rounds of them.
const REQUESTS: usize = 200;
const ROUNDS: usize = 3;

pub(crate) fn add(suite: &mut Suite) {
    suite.test("200 requests at once are all answered", MINUTES, requests);
    suite.test("128 streams at once, and as many that the guest closes", MINUTES, streams);
    suite.test("iperf3's next client is served when the one before is killed", MINUTES, killed);
    suite.test("TCP passes a router whose link is narrower", MINUTES, narrow);
}

fn boot(log: &Path) -> Result<(Tap, Guest)> {
    let tap = Tap::new(TAP, &format!("{OURS}/24"))?;
    let guest = tap.boot(log, &format!("ip={GUEST}/24 gw={OURS}"))?;
    Ok((tap, guest))
}

/// A client behind a narrow link, to which this machine is the router, for as long as it is.
struct Narrow;

impl Narrow {
    fn new() -> Result<Self> {
        // What an earlier run has left.
        drop(Self);
        if !command::succeeds(&mut ip(&format!("netns add {SPACE}")))? {
            bail!(Skipped("this user may make no network namespace on this machine".into()));
        }
        let narrow = Self;
        for words in [
            format!("link add {NEAR} mtu {MTU} type veth peer name {FAR} mtu {MTU} netns {SPACE}"),
            format!("addr add 10.85.0.1/24 dev {NEAR}"),
            format!("link set {NEAR} up"),
            format!("-n {SPACE} addr add {CLIENT}/24 dev {FAR}"),
            format!("-n {SPACE} link set {FAR} up"),
            format!("-n {SPACE} route add default via 10.85.0.1"),
        ] {
            command::run(&mut ip(&words))?;
        }
        // Of these two devices alone, so that nothing is left of it when they are gone.
        for device in [TAP, NEAR] {
            let forwarding = format!("/proc/sys/net/ipv4/conf/{device}/forwarding");
            fs::write(&forwarding, "1").with_context(|| forwarding)?;
        }
        Ok(narrow)
    }
}

impl Drop for Narrow {
    fn drop(&mut self) {
        // The link goes with it.
        let _ = command::succeeds(&mut ip(&format!("netns del {SPACE}")));
    }
}

fn requests(log: &Path) -> Result<String> {
    tools::require("this test", &[Tool::program("curl", "curl")])?;
    let (_tap, _guest) = boot(log)?;
    for round in 0..ROUNDS {
        let clients: Vec<_> = (0..REQUESTS)
            .map(|_| {
                let mut curl = Command::new("curl");
                curl.args(["--silent", "--output", "/dev/null", "--write-out", "%{http_code}"])
                    .args(["--max-time", "30", &format!("http://{GUEST}/status.json")])
                    .stdout(Stdio::piped());
                curl.spawn().context("cannot start curl")
            })
            .collect::<Result<_>>()?;
        let answers: Vec<_> = clients
            .into_iter()
            .map(|client| Ok(String::from_utf8(client.wait_with_output()?.stdout)?))
            .collect::<Result<_>>()?;
        let served = answers.iter().filter(|answer| *answer == "200").count();
        ensure!(served == REQUESTS, "round {round}: {served} of {REQUESTS} were served");
    }
    Ok(format!("{ROUNDS} rounds"))
}

fn streams(log: &Path) -> Result<String> {
    tools::require("this test", &[Tool::program("iperf3", "iperf3")])?;
    let (_tap, _guest) = boot(log)?;
    let mut rates = String::new();
    for parallel in ["17", "40", "128"] {
        for more in [&[][..], &["--reverse"], &["--reverse", "--bitrate", "1M"]] {
            let rate = iperf3(Command::new("iperf3"), parallel, more)?;
            rates += &format!(" {rate:.0}");
        }
    }
    Ok(format!("Mbit/s:{rates}"))
}

fn killed(log: &Path) -> Result<String> {
    tools::require("this test", &[Tool::program("iperf3", "iperf3")])?;
    let (_tap, _guest) = boot(log)?;
    // A cookie has 37 bytes.
    for bytes in [0, 20, 37] {
        let mut stranger = TcpStream::connect((GUEST, 5201))?;
        stranger.write_all(&vec![b'a'; bytes])?;
        drop(stranger);
        iperf3(Command::new("iperf3"), "1", &[])?;
    }
    for more in [&[][..], &["--reverse"], &["--parallel", "40", "--reverse"], &["--udp"]] {
        let mut client = Command::new("iperf3")
            .args(["--client", &GUEST.to_string(), "--time", "30"])
            .args(more)
            .stdout(Stdio::null())
            .spawn()?;
        thread::sleep(Duration::from_secs(2));
        client.kill()?;
        client.wait()?;
        iperf3(Command::new("iperf3"), "1", &[]).with_context(|| format!("after {more:?}"))?;
    }
    Ok(String::new())
}

fn narrow(log: &Path) -> Result<String> {
    tools::require("this test", &[Tool::program("iperf3", "iperf3")])?;
    let (_tap, _guest) = boot(log)?;
    let _narrow = Narrow::new()?;
    let behind = || ip(&format!("netns exec {SPACE} iperf3"));
    let from = iperf3(behind(), "1", &["--reverse"])?;
    let to = iperf3(behind(), "1", &[])?;
    Ok(format!("{from:.0} Mbit/s from the guest, {to:.0} to it"))
}

/// Mbit/s that have arrived.
fn iperf3(mut command: Command, parallel: &str, more: &[&str]) -> Result<f64> {
    let server = GUEST.to_string();
    command.args(["--client", &server, "--json", "--time", "3", "--parallel", parallel]).args(more);
    let said = command::run(&mut command)?;
    let said: Value = serde_json::from_slice(&said.stdout)?;
    let received = said["end"]["sum_received"]["bits_per_second"].as_f64();
    let received = received.with_context(|| said["error"].to_string())?;
    ensure!(received > 0.0, "nothing has arrived with {more:?}");
    Ok(received / 1e6)
}

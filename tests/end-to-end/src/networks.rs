//! Many clients, and routers in between, on a tap device of this machine.

use std::{
    io::Write,
    net::{Ipv4Addr, TcpStream},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use lab::{
    guest::{Guest, clients},
    system::{
        command,
        tools::{self, Tool},
    },
};

use crate::{
    narrow::Narrow,
    suite::{MINUTES, Suite},
    tap::Tap,
};

/// The devices, one for each test.
const MANY: &str = "godwit-many";
const KILLED: &str = "godwit-killed";
const ROUTED: &str = "godwit-routed";
const OURS: &str = "10.84.0.1";
const GUEST: Ipv4Addr = Ipv4Addr::new(10, 84, 0, 2);
/// Requests at the same time, and rounds of them.
const REQUESTS: usize = 200;
const ROUNDS: usize = 10;

pub(crate) fn add(suite: &mut Suite) {
    suite.test("200 requests at once are all answered", MINUTES, requests);
    suite.test("iperf3's next client is served when the one before is killed", MINUTES, killed);
    suite.test("TCP passes a router whose link is narrower", MINUTES, narrow);
}

fn boot(name: &'static str, log: &Path) -> Result<(Tap, Guest)> {
    let tap = Tap::new(name, &format!("{OURS}/24"))?;
    let guest = tap.boot(log, &format!("ip={GUEST}/24 gw={OURS}"))?;
    Ok((tap, guest))
}

fn requests(log: &Path) -> Result<String> {
    tools::require("this test", &[Tool::program("curl", "curl")])?;
    let (_tap, _guest) = boot(MANY, log)?;
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

fn killed(log: &Path) -> Result<String> {
    tools::require("this test", &[Tool::program("iperf3", "iperf3")])?;
    let (_tap, _guest) = boot(KILLED, log)?;
    // A cookie has 37 bytes.
    for bytes in [0, 20, 37] {
        let mut stranger = TcpStream::connect((GUEST, 5201))?;
        stranger.write_all(&vec![b'a'; bytes])?;
        drop(stranger);
        iperf3(Command::new("iperf3"), &[])?;
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
        iperf3(Command::new("iperf3"), &[]).with_context(|| format!("after {more:?}"))?;
    }
    Ok(String::new())
}

fn narrow(log: &Path) -> Result<String> {
    tools::require("this test", &[Tool::program("iperf3", "iperf3")])?;
    let (_tap, _guest) = boot(ROUTED, log)?;
    let narrow = Narrow::new(ROUTED)?;
    let from = iperf3(narrow.program("iperf3"), &["--reverse"])?;
    let to = iperf3(narrow.program("iperf3"), &[])?;
    Ok(format!("{from:.0} Mbit/s from the guest, {to:.0} to it"))
}

/// Mbit/s that have arrived.
fn iperf3(mut command: Command, more: &[&str]) -> Result<f64> {
    let server = GUEST.to_string();
    command.args(["--client", &server, "--json", "--time", "3"]).args(more);
    Ok(clients::iperf3_rate(&command::run(&mut command)?.stdout)? / 1e6)
}

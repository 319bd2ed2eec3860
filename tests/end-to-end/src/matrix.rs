//! iperf3 with all numbers of streams that people use, in all directions: over a tap device, and
//! over the user network of QEMU.

use std::{fmt::Write, net::Ipv4Addr, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use lab::{
    addresses::IPERF3_PORT,
    guest::{Forward, Guest, READY, clients::free_port},
    parts::NicModel,
    system::{
        command,
        tools::{self, Tool},
    },
};
use serde_json::Value;

use crate::{
    suite::{LONG, MINUTES, Suite},
    tap::Tap,
};

const TAP: &str = "godwit-matrix";
const OURS: &str = "10.82.0.1";
const GUEST: Ipv4Addr = Ipv4Addr::new(10, 82, 0, 2);

const STREAMS: [&str; 6] = ["1", "8", "16", "32", "64", "128"];
const WAYS: [&[&str]; 4] = [&[], &["--reverse"], &["--bidir"], &["--bitrate", "1M"]];
/// QEMU's user network has a backlog of 1, so many streams take seconds to open.
const FEW: [&str; 1] = ["16"];
const ROUNDS: usize = 10;
/// Packets that the tap device holds: the first ten segments of 128 streams are 1,280 at once, and
/// streams that lose theirs twice have nothing to show for a second.
const QUEUE: usize = 20_000;
/// Of a run, in seconds. Over the user network the client, QEMU's one thread and the emulated
/// processor share this machine, and on a busy one a second is over before 256 streams had a turn.
const TIME_TAP: &str = "1";
const TIME_USER: &str = "3";
/// For one run, in seconds, with what many streams take to open.
const PATIENCE: &str = "300";

pub(crate) fn add(suite: &mut Suite, long: bool) {
    let tap = "iperf3 with 1 to 128 streams over a tap device, all ways";
    let user = "iperf3 with 16 streams over QEMU's user network, all ways";
    suite.alone(tap, MINUTES, |log| over_tap(log, 1));
    suite.alone(user, MINUTES, |log| over_user(log, 1, &FEW));
    if long {
        suite.alone(&format!("{tap}, ten times"), LONG, |log| over_tap(log, ROUNDS));
        for streams in STREAMS {
            let user = format!("iperf3 with {streams} streams over QEMU's user network, ten times");
            suite.alone(&user, LONG, move |log| over_user(log, ROUNDS, &[streams]));
        }
    }
}

fn over_tap(log: &Path, rounds: usize) -> Result<String> {
    let tap = Tap::new(TAP, &format!("{OURS}/24"))?;
    tap.hold(QUEUE)?;
    let _guest = tap.boot(log, &format!("ip={GUEST}/24 gw={OURS}"))?;
    matrix((GUEST, IPERF3_PORT), TIME_TAP, rounds, &STREAMS)
}

fn over_user(log: &Path, rounds: usize, streams: &[&str]) -> Result<String> {
    let forward = Forward { host: free_port()?, guest: IPERF3_PORT };
    let mut guest = Guest::boot(NicModel::E1000e, log, "", &[forward])?;
    guest.wait_for(READY)?;
    matrix((Ipv4Addr::LOCALHOST, forward.host), TIME_USER, rounds, streams)
}

/// All of it so many times, each time with all ways. Returns the rates of the last.
fn matrix(server: (Ipv4Addr, u16), time: &str, rounds: usize, streams: &[&str]) -> Result<String> {
    tools::require("this test", &[Tool::program("iperf3", "iperf3")])?;
    let mut rates = String::new();
    for round in 0..rounds {
        rates = "Mbit/s".into();
        for parallel in streams {
            write!(rates, ", {parallel}:")?;
            for way in WAYS {
                let rate = iperf3(server, time, parallel, way).with_context(|| {
                    format!("round {round}, --parallel {parallel} {}", way.join(" "))
                })?;
                write!(rates, " {rate:.0}")?;
            }
        }
    }
    Ok(format!("{rounds} x {} runs, {rates}", streams.len() * WAYS.len()))
}

/// Mbit/s that have arrived, both ways together. Something has by every stream.
fn iperf3(
    (address, port): (Ipv4Addr, u16),
    time: &str,
    parallel: &str,
    way: &[&str],
) -> Result<f64> {
    let mut command = Command::new("timeout");
    command.args([PATIENCE, "iperf3", "--client", &address.to_string(), "--port"]);
    command.args([&port.to_string(), "--json", "--time", time, "--parallel", parallel]).args(way);
    let said: Value = serde_json::from_slice(&command::run(&mut command)?.stdout)?;
    ensure!(said["error"].is_null(), "{}", said["error"]);
    let streams = said["end"]["streams"].as_array().context("no streams")?;
    let wanted = parallel.parse::<usize>()? * if way.contains(&"--bidir") { 2 } else { 1 };
    ensure!(streams.len() == wanted, "{} of {wanted} streams", streams.len());
    let empty: Vec<_> =
        streams.iter().filter(|stream| stream["receiver"]["bytes"].as_u64() == Some(0)).collect();
    let first = empty.first().map(|stream| stream.to_string()).unwrap_or_default();
    ensure!(empty.is_empty(), "nothing arrived by {} of {wanted} streams: {first}", empty.len());
    let rate = |sum: &str| said["end"][sum]["bits_per_second"].as_f64();
    let both = [rate("sum_received"), rate("sum_received_bidir_reverse")];
    Ok(both.into_iter().flatten().sum::<f64>() / 1e6)
}

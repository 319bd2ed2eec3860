//! TCP traffic: stock iperf3, at a [`Peer`].

use super::meter::{DmaCounts, Meter};
use super::peer::Peer;
use super::trace::{Gap, Received};
use crate::segment::Segment;
use crate::system::process::Guard;
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longer than any migration; the client is interrupted when it is over.
const FOREVER: &str = "3600";
/// Frames from the guest that show that a connection is alive: more than a NIC says when it comes
/// up.
const ALIVE: u64 = 20;

/// A running iperf3 client that sends to the guest.
pub struct TcpSource {
    client: Guard,
    output: PathBuf,
    segment: Arc<Segment>,
}

impl TcpSource {
    /// Connects to an iperf3 server and sends, at most `bits_per_s` if given. What iperf3 says is
    /// kept in `directory`.
    pub fn start(
        peer: &Peer,
        bits_per_s: Option<u64>,
        segment: Arc<Segment>,
        directory: &Path,
    ) -> Result<Self> {
        let output = directory.join("iperf3.json");
        let file =
            File::create(&output).with_context(|| format!("cannot write {}", output.display()))?;
        let server = peer.server();
        let mut command = peer.command("iperf3");
        command
            .args(["-c", &server.ip().to_string(), "-p", &server.port().to_string()])
            .args(["-t", FOREVER, "-i", "0.1", "--json"])
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        if let Some(rate) = bits_per_s {
            command.args(["-b", &rate.to_string()]);
        }
        let client = Guard::spawn(&mut command).context("cannot start iperf3")?;
        Ok(Self { client, output, segment })
    }

    /// Ends the client and reads what it measured.
    pub fn finish(mut self) -> Result<TcpTrace> {
        if self.client.try_wait()?.is_none() {
            let pid = Pid::from_child(&self.client);
            kill_process(pid, Signal::INT).context("cannot interrupt iperf3")?;
        }
        let end = Instant::now();
        let deadline = end + Duration::from_secs(20);
        while self.client.try_wait()?.is_none() {
            if Instant::now() > deadline {
                bail!("iperf3 did not end within 20 s of being interrupted");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let text = std::fs::read_to_string(&self.output)?;
        TcpTrace::parse(&text, end)
            .with_context(|| format!("iperf3's output, {}", self.output.display()))
    }

    fn frames_from_guest(&self) -> u64 {
        self.segment
            .statistics()
            .iter()
            .filter(|port| port.name.starts_with("nic-"))
            .map(|port| port.received)
            .sum()
    }
}

impl super::meter::Traffic for TcpSource {
    fn flows_since(&self, _: Instant) -> bool {
        // Acknowledgements: what else would the guest have to say?
        let before = self.frames_from_guest();
        std::thread::sleep(Duration::from_millis(500));
        self.frames_from_guest() - before > ALIVE
    }
}

/// Bytes that went over a connection, by interval.
#[derive(Clone, Debug)]
pub struct TcpTrace {
    /// End of each interval and bytes up to it.
    points: Vec<(Instant, f64)>,
}

#[derive(Deserialize)]
struct Output {
    #[serde(default)]
    intervals: Vec<Interval>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Interval {
    sum: Sum,
}

#[derive(Deserialize)]
struct Sum {
    start: f64,
    end: f64,
    bytes: f64,
}

/// The error of a client that was interrupted, as it is meant to be.
const INTERRUPTED: &str = "interrupt";

impl TcpTrace {
    /// A trace of these points, in their order: a moment, and the bytes up to it.
    pub(super) fn new(points: Vec<(Instant, f64)>) -> Self {
        Self { points }
    }

    /// Reads iperf3's JSON; its last interval ended at `end`.
    fn parse(text: &str, end: Instant) -> Result<Self> {
        let output: Output =
            serde_json::from_str(text).context("not the JSON of an iperf3 client")?;
        let Some(last) = output.intervals.last().map(|interval| interval.sum.end) else {
            bail!(
                "iperf3 sent nothing: {}",
                output.error.unwrap_or_else(|| "no reason given".into())
            );
        };
        if let Some(error) = output.error.filter(|error| !error.contains(INTERRUPTED)) {
            bail!("iperf3 ended early: {error}");
        }
        let moment = |seconds: f64| end - Duration::from_secs_f64((last - seconds).max(0.0));
        let mut total = 0.0;
        let mut points = vec![(moment(output.intervals[0].sum.start), 0.0)];
        for Interval { sum } in output.intervals {
            total += sum.bytes;
            points.push((moment(sum.end), total));
        }
        Ok(Self::new(points))
    }

    fn bytes(&self, at: Instant) -> f64 {
        let later = self.points.partition_point(|(point, _)| *point <= at);
        match (later.checked_sub(1).map(|i| self.points[i]), self.points.get(later)) {
            (Some((a, from)), Some((b, to))) => {
                from + (to - from) * (at - a).as_secs_f64() / (*b - a).as_secs_f64()
            }
            (Some((_, all)), None) => all,
            (None, _) => 0.0,
        }
    }
}

impl Meter for TcpTrace {
    fn received(&self, from: Instant, to: Instant) -> Received {
        /// Payload of a full segment.
        const SEGMENT: f64 = 1460.0;
        let bytes = self.bytes(to) - self.bytes(from);
        let seconds = to.saturating_duration_since(from).as_secs_f64();
        let bits_per_s = if seconds > 0.0 { bytes * 8.0 / seconds } else { 0.0 };
        Received { bits_per_s, packets: bytes / SEGMENT }
    }

    fn samples(&self, from: Instant, to: Instant, step: Duration) -> Vec<(Instant, f64)> {
        let count = (to.saturating_duration_since(from).as_nanos() / step.as_nanos()) as u32;
        (0..count)
            .map(|n| from + step * n)
            .map(|at| (at, self.received(at, at + step).bits_per_s))
            .collect()
    }

    fn offered(&self, _: Instant, _: Instant) -> Option<f64> {
        None
    }

    /// The longest run of intervals in which there was nothing.
    fn longest_gap(&self, from: Instant, to: Instant) -> Option<Gap> {
        let mut longest: Option<Gap> = None;
        let mut start: Option<Instant> = None;
        for pair in self.points.windows(2) {
            if pair[1].1 > pair[0].1 {
                start = None;
                continue;
            }
            let gap = Gap { start: *start.get_or_insert(pair[0].0), end: pair[1].0, lost: 0 };
            if !gap.overlaps(from, to) {
                continue;
            }
            if longest.is_none_or(|known| gap.length() > known.length()) {
                longest = Some(gap);
            }
        }
        longest
    }

    fn dma(&self, _: Instant, _: Instant) -> Option<DmaCounts> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(bytes: &[u64], error: &str) -> String {
        let intervals: Vec<String> = bytes
            .iter()
            .enumerate()
            .map(|(n, bytes)| {
                let (start, end) = (n as f64 / 10.0, (n + 1) as f64 / 10.0);
                let times = format!(r#""start":{start},"end":{end},"seconds":0.1"#);
                format!(r#"{{"streams":[],"sum":{{{times},"bytes":{bytes}}}}}"#)
            })
            .collect();
        format!(r#"{{"start":{{}},"intervals":[{}],"error":"{error}"}}"#, intervals.join(","))
    }

    #[test]
    fn intervals_become_rates_and_a_gap() {
        let end = Instant::now() + Duration::from_secs(10);
        let text = json(
            &[100_000, 100_000, 0, 0, 0, 100_000, 0, 100_000],
            "interrupt - the client has terminated",
        );
        let trace = TcpTrace::parse(&text, end).unwrap();
        let at = |ms| end - Duration::from_millis(800) + Duration::from_millis(ms);
        assert_eq!(trace.received(at(0), at(200)).bits_per_s.round(), 8e6);
        assert_eq!(trace.received(at(200), at(500)).bits_per_s.round(), 0.0);
        let gap = trace.longest_gap(at(0), end).unwrap();
        assert_eq!(gap.length().as_millis(), 300);
        let gap = trace.longest_gap(at(500), end).unwrap();
        assert_eq!(gap.length().as_millis(), 100);
        assert_eq!(trace.samples(at(0), at(800), Duration::from_millis(100)).len(), 8);
    }

    #[test]
    fn a_client_that_failed_says_why() {
        let end = Instant::now();
        let error = TcpTrace::parse(&json(&[], "unable to connect"), end).unwrap_err().to_string();
        assert!(error.contains("unable to connect"), "{error}");
        let error =
            TcpTrace::parse(&json(&[1], "control socket closed"), end).unwrap_err().to_string();
        assert!(error.contains("control socket closed"), "{error}");
        assert!(TcpTrace::parse("no json", end).is_err());
    }
}

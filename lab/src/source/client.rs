//! A service's own client at a [`Peer`](super::Peer): a command line that is run over and over,
//! and has to succeed each time.

use super::tcp::TcpTrace;
use crate::segment::Segment;
use crate::system::process::Guard;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What stands for the service's address and its port in the command line.
pub const HOST: &str = "{host}";
/// See [`HOST`].
pub const PORT: &str = "{port}";
/// How finely what the guest sends is timed.
const RESOLUTION: Duration = Duration::from_millis(10);

/// How often the client was run, and succeeded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientRuns {
    /// Times.
    pub runs: u64,
}

/// The client, running.
pub struct ClientSource {
    segment: Arc<Segment>,
    stop: Arc<AtomicBool>,
    runs: JoinHandle<Result<ClientRuns>>,
    counts: JoinHandle<Vec<(Instant, f64)>>,
}

impl ClientSource {
    /// Has `shell` run `line`, with the service's address and port in it, until told to end. What
    /// it prints is kept in `directory`.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(
        mut shell: Command,
        line: &str,
        server: SocketAddr,
        segment: Arc<Segment>,
        directory: &Path,
    ) -> Result<Self> {
        let line =
            line.replace(HOST, &server.ip().to_string()).replace(PORT, &server.port().to_string());
        shell.args(["-c", &line]).stdin(Stdio::null());
        let log = directory.join("client.log");
        let output = File::create(&log).with_context(|| log.display().to_string())?;
        let stop = Arc::<AtomicBool>::default();
        let (stops, ends, counted) = (stop.clone(), stop.clone(), segment.clone());
        Ok(Self {
            segment,
            stop,
            runs: spawn("client", move || run(&mut shell, &output, &log, &stops))?,
            counts: spawn("client-count", move || count(&counted, &ends))?,
        })
    }

    /// Waits for the end of the run that is under way, and says how many there were.
    ///
    /// # Errors
    /// One of them failed.
    pub fn finish(self) -> Result<(TcpTrace, ClientRuns)> {
        // Counted to the end of the last run, so that nothing is missing from its rate.
        self.stop.store(true, Relaxed);
        let runs = join(self.runs)??;
        Ok((TcpTrace::new(join(self.counts)?), runs))
    }
}

impl super::meter::Traffic for ClientSource {
    fn flows_since(&self, _: Instant) -> bool {
        // What the guest sends from now on it sends from where it is now.
        let before = bytes_of_guest(&self.segment);
        std::thread::sleep(Duration::from_millis(500));
        !self.runs.is_finished() && bytes_of_guest(&self.segment) > before
    }
}

fn run(shell: &mut Command, output: &File, log: &Path, stop: &AtomicBool) -> Result<ClientRuns> {
    let mut done = ClientRuns::default();
    loop {
        let status = run_once(shell, output)?;
        if !status.success() {
            let after = format!("after {} runs that succeeded", done.runs);
            bail!("the client failed ({status}) {after}; {} has its words", log.display());
        }
        done.runs += 1;
        if stop.load(Relaxed) {
            return Ok(done);
        }
    }
}

fn run_once(shell: &mut Command, output: &File) -> Result<ExitStatus> {
    shell.stdout(output.try_clone()?).stderr(output.try_clone()?);
    let mut client = Guard::spawn(shell).context("cannot start the client")?;
    client.wait().context("the client")
}

/// Bytes that the guest has sent, and when.
fn count(segment: &Segment, stop: &AtomicBool) -> Vec<(Instant, f64)> {
    let mut points = Vec::new();
    while !stop.load(Relaxed) {
        points.push((Instant::now(), bytes_of_guest(segment) as f64));
        std::thread::sleep(RESOLUTION);
    }
    points
}

fn bytes_of_guest(segment: &Segment) -> u64 {
    let ports = segment.statistics();
    let nics = ports.iter().filter(|port| port.name.starts_with("nic-"));
    nics.map(|port| port.received_bytes).sum()
}

fn spawn<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>> {
    let thread = std::thread::Builder::new().name(name.into()).spawn(body);
    thread.with_context(|| format!("cannot start the thread {name}"))
}

fn join<T>(thread: JoinHandle<T>) -> Result<T> {
    thread.join().map_err(|_| anyhow::anyhow!("the client's thread panicked"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_client(command: &str) -> Result<ClientRuns> {
        let logs = tempfile::tempdir().unwrap();
        let segment = Arc::new(Segment::start(None).unwrap());
        let server = "127.0.0.1:7777".parse().unwrap();
        let source =
            ClientSource::start(Guard::command("sh"), command, server, segment, logs.path())
                .unwrap();
        std::thread::sleep(Duration::from_millis(100));
        source.finish().map(|(_, runs)| runs)
    }

    #[test]
    fn a_client_is_run_with_the_address_until_told_to_end() {
        let runs = run_client("test {host}:{port} = 127.0.0.1:7777 && sleep 0.01").unwrap();
        assert!(runs.runs > 0);
    }

    #[test]
    fn a_client_that_fails_once_is_a_failure() {
        let error = run_client("exit 3").unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.contains("client.log"), "{error}");
    }
}

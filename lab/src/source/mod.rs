//! The traffic source, outside the machines under test: numbered, paced UDP datagrams of the
//! [`godwit_probe`] protocol, and for TCP stock iperf3, or a transfer of which every byte is
//! checked.

mod cable;
mod client;
mod detail;
mod echo;
mod frames;
mod meter;
mod pace;
mod peer;
mod tcp;
mod trace;

pub use cable::{Listens, cable, stream};
pub use client::{ClientRuns, ClientSource, HOST, PORT};
pub use detail::{Counter, Timing};
pub use echo::EchoSource;
pub use frames::Station;
pub use meter::{DmaCounts, Losses, Meter, Traffic, Transfer};
pub use peer::Peer;
pub use tcp::{TcpSource, TcpTrace};
pub use trace::{Gap, Received, Trace};

use crate::clock::Member;
use crate::segment::{Receiver, Sender, WhenFull};
use anyhow::{Context, Result};
use frames::Template;
use godwit_probe::{Header, Report};
use pace::Bucket;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two bursts of a paced stream.
const TICK: Duration = Duration::from_micros(500);
/// Datagrams in a burst of a saturating stream.
const BURST: usize = 32;
/// In virtual time there is one a tick: more than any guest takes.
const BURST_OF_A_TICK: usize = 256;
/// How long the source waits at a time for room, or for a frame, before it looks whether it should
/// stop.
const PATIENCE: Duration = Duration::from_millis(50);

/// How fast to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// Not at all.
    Idle,
    /// So many bits a second at the IP layer.
    Paced(u64),
    /// As fast as the receiving machine takes them: the next frame waits until there is room for
    /// it.
    Saturating,
}

/// Who sends what to whom.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// The source.
    pub from: Station,
    /// The guest.
    pub to: Station,
    /// Length of a datagram at the IP layer.
    pub ip_length: usize,
}

struct Shared {
    stop: AtomicBool,
    state: Mutex<State>,
}

struct State {
    rate: Rate,
    stream: u32,
    trace: Trace,
}

/// Sends and listens until dropped. Idle at first.
pub struct UdpSource {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl UdpSource {
    /// Starts on a port of the segment, in the time of its clock.
    pub fn start(sender: Sender, receiver: Receiver, config: Config) -> Result<Self> {
        let trace = Trace::default();
        let state = State { rate: Rate::Idle, stream: 0, trace };
        let shared = Arc::new(Shared { stop: AtomicBool::new(false), state: Mutex::new(state) });
        let sender = Arc::new(sender);
        let listening = (sender.clone(), shared.clone());
        let (sending, member) = (shared.clone(), sender.clock().member());
        let threads = vec![
            spawn("traffic-send", move || send(&sending, &sender, &config, &member))?,
            spawn("traffic-receive", move || {
                listen(&listening.1, &listening.0, &receiver, config.from)
            })?,
        ];
        Ok(Self { shared, threads })
    }

    /// Begins a new stream, numbered from 0, with an empty trace.
    pub fn begin(&self, rate: Rate) {
        let mut state = self.shared.state.lock().unwrap();
        state.stream += 1;
        state.rate = rate;
        state.trace = Trace::default();
    }

    /// Changes the rate of the stream.
    pub fn set_rate(&self, rate: Rate) {
        self.shared.state.lock().unwrap().rate = rate;
    }

    /// The record of the stream so far.
    pub fn trace(&self) -> Trace {
        self.shared.state.lock().unwrap().trace.clone()
    }

    /// For others to look at the stream.
    #[must_use]
    pub fn watched(&self) -> Latest {
        Latest(self.shared.clone())
    }

    /// The latest report on the stream and when it came.
    pub fn latest(&self) -> Option<(Instant, Report)> {
        self.shared.state.lock().unwrap().trace.reports.last().copied()
    }
}

/// Looks at a source's stream from elsewhere.
#[derive(Clone)]
pub struct Latest(Arc<Shared>);

impl Latest {
    /// The guest's latest report on the stream.
    #[must_use]
    pub fn report(&self) -> Option<Report> {
        let state = self.0.state.lock().unwrap();
        state.trace.reports.last().map(|(_, report)| *report)
    }
}

impl Traffic for UdpSource {
    fn flows_since(&self, moment: Instant) -> bool {
        let state = self.shared.state.lock().unwrap();
        let later = state.trace.reports.partition_point(|(at, _)| *at <= moment);
        let highest = |index: usize| {
            state.trace.reports.get(index).map(|(_, report)| report.highest_seq.get())
        };
        // Nothing sent before can be what makes the highest number rise from one report to the
        // next.
        match (highest(later), state.trace.reports.last()) {
            (Some(first), Some((_, last))) => last.highest_seq > first,
            _ => false,
        }
    }

    /// The guest reports one gap of a stream, the longest: it must not be one from when the
    /// destination was being started.
    fn start_over(&self) {
        let rate = self.shared.state.lock().unwrap().rate;
        self.begin(rate);
    }
}

impl Drop for UdpSource {
    fn drop(&mut self) {
        self.shared.stop.store(true, Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name(name.into())
        .spawn(body)
        .with_context(|| format!("cannot start the thread {name}"))
}

fn send(shared: &Shared, sender: &Sender, config: &Config, member: &Member) {
    let clock = sender.clock();
    let template = Template::new(config.from, config.to, config.ip_length);
    let epoch = clock.now();
    let burst = if clock.is_virtual() { BURST_OF_A_TICK } else { BURST };
    let mut current = (0, Rate::Idle);
    let mut bucket = Bucket::new(0, epoch);
    let mut frames = VecDeque::new();
    while !shared.stop.load(Relaxed) {
        let now = clock.now();
        {
            let mut state = shared.state.lock().unwrap();
            if current != (state.stream, state.rate) {
                let begins = current.0 != state.stream;
                current = (state.stream, state.rate);
                let paced = if let Rate::Paced(bits_per_s) = state.rate { bits_per_s } else { 0 };
                bucket = Bucket::new(paced, now);
                let saturating = state.rate == Rate::Saturating;
                sender.when_full(if saturating { WhenFull::Wait } else { WhenFull::Drop });
                state.trace.ip_length = template.ip_length();
                if current.1 != Rate::Saturating {
                    frames.clear();
                }
                if begins {
                    frames.push_back(frames::introduction(config.from, config.to));
                }
            }
            let due = match current.1 {
                Rate::Idle => 0,
                Rate::Paced(_) => bucket.take(template.ip_length(), now),
                Rate::Saturating => burst - frames.len().min(burst),
            };
            if due > 0 {
                let first = state.trace.total;
                state.trace.sent.push((first, now));
                state.trace.total += due as u64;
                let sent_ns = (now - epoch).as_nanos() as u64;
                for seq in first..first + due as u64 {
                    frames.push_back(template.frame(Header::new(current.0, seq, sent_ns)));
                }
            }
        }
        if !frames.is_empty() {
            // Virtual time, in which room is made, stands still for as long as this thread does not
            // sleep.
            sender.send(&mut frames, if clock.is_virtual() { Duration::ZERO } else { PATIENCE });
        }
        if current.1 != Rate::Saturating || clock.is_virtual() {
            member.sleep(TICK);
        }
    }
}

fn listen(shared: &Shared, sender: &Sender, receiver: &Receiver, me: Station) {
    while !shared.stop.load(Relaxed) {
        let Some((frame, at)) = receiver.receive_with_time(PATIENCE) else { continue };
        match frames::parse(&frame, me) {
            Some(frames::Received::ArpRequest(reply)) => {
                sender.send(&mut VecDeque::from([reply]), PATIENCE)
            }
            Some(frames::Received::Report(report)) => {
                let mut state = shared.state.lock().unwrap();
                if report.stream == state.stream {
                    state.trace.reports.push((at, *report));
                }
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests;

//! What drives traffic at the guest in the lab.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use crate::{
    addresses::{ECHO_PORT, GATEWAY, GUEST, GUESTS, IPERF3_PORT, SOURCES},
    choices::TrafficKind,
    clock::Clock,
    migration::Session,
    parts::Qemu,
    segment::Segment,
    source::{
        ClientRuns, ClientSource, Config, EchoSource, Latest, Meter, Peer, Rate, TcpSource, Trace,
        Traffic, Transfer, UdpSource,
    },
};
use anyhow::{Context, Result, bail};

use super::script::Script;

/// Payload of 1,400 bytes, and the headers of IPv4 and UDP.
pub(super) const IP_LENGTH: usize = 1400 + 28;
/// What the guest's flight recorder keeps: 2,048 frames, in 1,024 pages that catch-up has to mark
/// as soon as the hypervisor logs. Half of its default, for each costs a trap.
pub(super) const RECORDER: &str = "4M";
/// A rate settles within this.
pub(super) const SETTLE: Duration = Duration::from_secs(1);
/// The guest's further interfaces get this part of what its first one gets, each.
const PART_OF_OTHERS: u64 = 10;

/// What drives traffic at the guest.
pub(super) struct Load {
    clock: Clock,
    first: First,
    /// Numbered datagrams for each further interface.
    others: Vec<UdpSource>,
}

/// What is driven at the guest's first interface.
enum First {
    Udp(UdpSource),
    Tcp { peer: Peer, segment: Arc<Segment>, logs: PathBuf },
    Echo { peer: Peer, least: u64 },
    Client { peer: Peer, segment: Arc<Segment>, logs: PathBuf, command: String },
}

/// Something done under traffic.
pub(super) struct Carried<T> {
    pub(super) done: T,
    /// Of the first interface.
    pub(super) meter: Box<dyn Meter>,
    pub(super) transfer: Option<Transfer>,
    pub(super) client: Option<ClientRuns>,
}

impl<T> Carried<T> {
    fn new(done: T, meter: impl Meter + 'static) -> Self {
        Self { done, meter: Box::new(meter), transfer: None, client: None }
    }
}

impl Load {
    /// What the script asks for, on ports of the segment, to the guest of a session. `directory` is
    /// for sockets.
    pub(super) fn start(
        script: &Script,
        session: &Session<'_>,
        qemu: &Qemu,
        segment: &Arc<Segment>,
        directory: &Path,
    ) -> Result<Self> {
        let peer = |usual: u16| {
            let server = (GUEST.ip, script.port.unwrap_or(usual)).into();
            Peer::start(qemu, segment, directory, GATEWAY, server)
        };
        let first = match script.traffic {
            TrafficKind::Udp => First::Udp(udp(segment, session, 0)?),
            TrafficKind::Tcp => First::Tcp {
                peer: peer(IPERF3_PORT)?,
                segment: segment.clone(),
                logs: script.logs.clone(),
            },
            TrafficKind::Echo => First::Echo { peer: peer(ECHO_PORT)?, least: script.transfer },
            TrafficKind::Client => {
                let (command, port) = script.client.clone().context("no client was named")?;
                let (peer, segment, logs) = (peer(port)?, segment.clone(), script.logs.clone());
                First::Client { peer, segment, logs, command }
            }
        };
        let others = (1..script.nics).map(|index| udp(segment, session, index));
        let others = others.collect::<Result<_>>()?;
        Ok(Self { clock: segment.clock().clone(), first, others })
    }

    /// Whether it goes at a rate that can be chosen.
    pub(super) fn is_paced(&self) -> bool {
        !matches!(self.first, First::Client { .. })
    }

    /// The guest's reports on what the first interface gets, where it makes any.
    pub(super) fn watched(&self) -> Option<Latest> {
        match &self.first {
            First::Udp(source) => Some(source.watched()),
            _ => None,
        }
    }

    /// Whether it is numbered datagrams that the first interface gets.
    pub(super) fn is_udp(&self) -> bool {
        matches!(self.first, First::Udp(_))
    }

    /// Carries out `migrate` under traffic of `rate` bits a second, or all that the guest takes by
    /// its first interface and nothing by others.
    pub(super) fn carry<T>(
        &self,
        rate: Option<u64>,
        migrate: impl FnOnce(&[&dyn Traffic]) -> Result<T>,
    ) -> Result<Carried<T>> {
        let mut others: Vec<&dyn Traffic> = Vec::new();
        if let Some(rate) = rate {
            for source in &self.others {
                source.begin(Rate::Paced(rate / PART_OF_OTHERS));
                others.push(source);
            }
        }
        let all = |first| [&[first], &others[..]].concat();
        let carried = match &self.first {
            First::Udp(source) => {
                source.begin(rate.map_or(Rate::Saturating, Rate::Paced));
                self.clock.sleep(SETTLE);
                let done = migrate(&all(source))?;
                source.set_rate(Rate::Idle);
                Carried::new(done, source.trace())
            }
            First::Tcp { peer, segment, logs } => {
                let source = TcpSource::start(peer, rate, segment.clone(), logs)?;
                self.clock.sleep(SETTLE);
                let done = migrate(&all(&source))?;
                Carried::new(done, source.finish()?)
            }
            First::Echo { peer, least } => {
                let (stream, _relay) = peer.connect()?;
                let source = EchoSource::start(stream, rate, *least)?;
                self.clock.sleep(SETTLE);
                let done = migrate(&all(&source))?;
                let (trace, transfer) = source.finish()?;
                Carried { transfer: Some(transfer), ..Carried::new(done, trace) }
            }
            First::Client { peer, segment, logs, command } => {
                let source = ClientSource::start(
                    peer.command("sh"),
                    command,
                    peer.server(),
                    segment.clone(),
                    logs,
                )?;
                self.clock.sleep(SETTLE);
                let done = migrate(&all(&source))?;
                let (trace, runs) = source.finish()?;
                Carried { client: Some(runs), ..Carried::new(done, trace) }
            }
        };
        for source in &self.others {
            source.set_rate(Rate::Idle);
        }
        Ok(carried)
    }

    /// The records of the further interfaces' streams so far, of which each migration begins new
    /// ones.
    pub(super) fn others(&self) -> Vec<Trace> {
        self.others.iter().map(UdpSource::trace).collect()
    }

    /// Bits a second the guest receives when it is flooded for so long, by its first interface.
    pub(super) fn saturate(&self, time: Duration) -> Result<f64> {
        let pause = || {
            self.clock.sleep(SETTLE);
            let from = self.clock.now();
            self.clock.sleep(time);
            (from, self.clock.now())
        };
        let rate = match &self.first {
            First::Udp(source) => {
                source.begin(Rate::Saturating);
                let (from, to) = pause();
                source.set_rate(Rate::Idle);
                source.trace().received(from, to).bits_per_s
            }
            First::Tcp { peer, segment, logs } => {
                let source = TcpSource::start(peer, None, segment.clone(), logs)?;
                let (from, to) = pause();
                source.finish()?.received(from, to).bits_per_s
            }
            First::Echo { peer, .. } => {
                let (stream, _relay) = peer.connect()?;
                let source = EchoSource::start(stream, None, 0)?;
                let (from, to) = pause();
                source.finish()?.0.received(from, to).bits_per_s
            }
            First::Client { .. } => bail!("a client is as fast as it is: nothing floods the guest"),
        };
        if rate <= 0.0 {
            bail!("the guest is up, but nothing the traffic source sends arrives");
        }
        Ok(rate)
    }
}

/// A source of numbered datagrams for one of the guest's interfaces.
pub(super) fn udp(segment: &Segment, session: &Session<'_>, interface: usize) -> Result<UdpSource> {
    let name = if interface == 0 { "traffic".into() } else { format!("traffic{interface}") };
    let (sender, receiver) = segment.local(&name);
    let (from, mut to) = (SOURCES[interface], GUESTS[interface]);
    // A machine's own NIC has its own address.
    to.mac = session.mac(interface).unwrap_or(to.mac);
    let config = Config { from, to, ip_length: IP_LENGTH };
    UdpSource::start(sender, receiver, config)
}

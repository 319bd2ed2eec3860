//! What drives traffic at the guest in the lab.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    segment::Segment,
    source::{
        self, ClientRuns, ClientSource, EchoSource, Meter, Rate, Slirp, TcpSource, Transfer,
        UdpSource,
    },
};
use anyhow::{Result, bail};

/// A rate settles within this.
pub(super) const SETTLE: Duration = Duration::from_secs(1);
/// How long a saturated rate is measured.
const SATURATION: Duration = Duration::from_secs(4);

/// What drives traffic at the guest.
pub(super) enum Load {
    Udp(UdpSource),
    Tcp { slirp: Slirp, segment: Arc<Segment>, logs: PathBuf },
    Echo { slirp: Slirp, least: u64 },
    Client { slirp: Slirp, segment: Arc<Segment>, logs: PathBuf, command: String },
}

/// Something done under traffic.
pub(super) struct Carried<T> {
    pub(super) done: T,
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
    /// Whether it goes at a rate that can be chosen.
    pub(super) fn is_paced(&self) -> bool {
        !matches!(self, Self::Client { .. })
    }

    /// Carries out `migrate` under traffic of `rate` bits a second, or all that the guest takes.
    pub(super) fn carry<T>(
        &self,
        rate: Option<u64>,
        migrate: impl FnOnce(&dyn source::Traffic) -> Result<T>,
    ) -> Result<Carried<T>> {
        Ok(match self {
            Self::Udp(source) => {
                source.begin(rate.map_or(Rate::Saturating, Rate::Paced));
                std::thread::sleep(SETTLE);
                let done = migrate(source)?;
                source.set_rate(Rate::Idle);
                Carried::new(done, source.trace())
            }
            Self::Tcp { slirp, segment, logs } => {
                let source = TcpSource::start(slirp.address(), rate, segment.clone(), logs)?;
                std::thread::sleep(SETTLE);
                let done = migrate(&source)?;
                Carried::new(done, source.finish()?)
            }
            Self::Echo { slirp, least } => {
                let source = EchoSource::start(slirp.address(), rate, *least)?;
                std::thread::sleep(SETTLE);
                let done = migrate(&source)?;
                let (trace, transfer) = source.finish()?;
                Carried { transfer: Some(transfer), ..Carried::new(done, trace) }
            }
            Self::Client { slirp, segment, logs, command } => {
                let source = ClientSource::start(command, slirp.address(), segment.clone(), logs)?;
                std::thread::sleep(SETTLE);
                let done = migrate(&source)?;
                let (trace, runs) = source.finish()?;
                Carried { client: Some(runs), ..Carried::new(done, trace) }
            }
        })
    }

    /// Bits a second the guest receives when it is flooded.
    pub(super) fn saturate(&self) -> Result<f64> {
        let pause = || {
            std::thread::sleep(SETTLE);
            let from = Instant::now();
            std::thread::sleep(SATURATION);
            (from, Instant::now())
        };
        let rate = match self {
            Self::Udp(source) => {
                source.begin(Rate::Saturating);
                let (from, to) = pause();
                source.set_rate(Rate::Idle);
                source.trace().received(from, to).bits_per_s
            }
            Self::Tcp { slirp, segment, logs } => {
                let source = TcpSource::start(slirp.address(), None, segment.clone(), logs)?;
                let (from, to) = pause();
                source.finish()?.received(from, to).bits_per_s
            }
            Self::Echo { slirp, .. } => {
                let source = EchoSource::start(slirp.address(), None, 0)?;
                let (from, to) = pause();
                source.finish()?.0.received(from, to).bits_per_s
            }
            Self::Client { .. } => bail!("a client is as fast as it is: nothing floods the guest"),
        };
        if rate <= 0.0 {
            bail!("the guest is up, but nothing the traffic source sends arrives");
        }
        Ok(rate)
    }
}

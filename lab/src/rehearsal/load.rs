//! What drives traffic at the guest in the lab.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    segment::Segment,
    source::{self, EchoSource, Meter, Rate, Slirp, TcpSource, Transfer, UdpSource},
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
}

/// Something done under traffic.
pub(super) struct Carried<T> {
    pub(super) done: T,
    pub(super) meter: Box<dyn Meter>,
    pub(super) transfer: Option<Transfer>,
}

impl Load {
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
                Carried { done, meter: Box::new(source.trace()), transfer: None }
            }
            Self::Tcp { slirp, segment, logs } => {
                let source = TcpSource::start(slirp.address(), rate, segment.clone(), logs)?;
                std::thread::sleep(SETTLE);
                let done = migrate(&source)?;
                Carried { done, meter: Box::new(source.finish()?), transfer: None }
            }
            Self::Echo { slirp, least } => {
                let source = EchoSource::start(slirp.address(), rate, *least)?;
                std::thread::sleep(SETTLE);
                let done = migrate(&source)?;
                let (trace, transfer) = source.finish()?;
                Carried { done, meter: Box::new(trace), transfer: Some(transfer) }
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
        };
        if rate <= 0.0 {
            bail!("the guest is up, but nothing the traffic source sends arrives");
        }
        Ok(rate)
    }
}

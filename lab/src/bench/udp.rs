//! Small datagrams: what a guest receives of a paced stream and of a flood.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use crate::{
    segment::Segment,
    source::{Config, Rate, UdpSource},
};
use anyhow::{Result, ensure};

use crate::addresses::{GUEST, SOURCE};

/// Bytes of UDP payload, and of the datagram at the IP layer.
pub(super) const PAYLOAD: usize = 64;
const IP_LENGTH: usize = 20 + 8 + PAYLOAD;

/// Datagrams a second of the paced streams, until more offered brings no more.
const PACED: [u64; 7] = [10_000, 20_000, 40_000, 60_000, 80_000, 120_000, MOST_PACED];
/// Of the fastest. A guest that receives all of it could take more.
pub(super) const MOST_PACED: u64 = 160_000;
/// Datagrams a second of the flood.
const FLOOD: u64 = 200_000;
/// How long each is sent.
const PACED_FOR: Duration = Duration::from_secs(1);
const FLOOD_FOR: Duration = Duration::from_secs(3);
/// What a guest gets to come round after a stream before its count is taken.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at a count; the guest reports ten times a second.
const QUIET: Duration = Duration::from_millis(350);

/// The source and what it is connected to.
pub(super) struct Range {
    source: UdpSource,
    _segment: Segment,
}

/// Datagrams a second.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Received {
    pub(super) offered: f64,
    pub(super) received: f64,
}

impl Range {
    /// A segment whose port for the guest is at `socket`.
    pub(super) fn start(socket: &Path) -> Result<Self> {
        let segment = Segment::start(None)?;
        segment.listen("nic", socket)?;
        let (sender, receiver) = segment.local("source");
        let config = Config { from: SOURCE, to: GUEST, ip_length: IP_LENGTH };
        let source = UdpSource::start(sender, receiver, config)?;
        Ok(Self { source, _segment: segment })
    }

    /// The paced stream of which most was received. A guest that receives none is an error.
    pub(super) fn best_paced(&self) -> Result<Received> {
        let mut best = Received::default();
        for rate in PACED {
            let result = self.stream(rate, PACED_FOR);
            // Once a stream is not received whole, a faster one has little to add.
            let is_full = result.received < best.received;
            if result.received > best.received {
                best = result;
            }
            if is_full {
                break;
            }
        }
        ensure!(best.received > 0.0, "the guest received nothing of any paced UDP stream");
        Ok(best)
    }

    /// What is received of a flood: 0 as well if the guest reports nothing, for it may be too busy
    /// even for that.
    pub(super) fn flood(&self) -> Received {
        self.stream(FLOOD, FLOOD_FOR)
    }

    fn stream(&self, per_second: u64, time: Duration) -> Received {
        let started = Instant::now();
        self.source.begin(Rate::Paced(per_second * IP_LENGTH as u64 * 8));
        thread::sleep(time);
        self.source.set_rate(Rate::Idle);
        let seconds = started.elapsed().as_secs_f64();
        let received = self.settled_count();
        let offered = self.source.trace().total as f64 / seconds;
        Received { offered, received: received as f64 / seconds }
    }

    /// What the guest has counted of the stream once it counts no more; 0 if it reports none.
    fn settled_count(&self) -> u64 {
        let deadline = Instant::now() + PATIENCE;
        let mut before = None;
        loop {
            thread::sleep(QUIET);
            let now = self.source.latest().map(|(_, report)| report.packets.get());
            if now.is_some() && now == before || Instant::now() >= deadline {
                return now.unwrap_or(0);
            }
            before = now;
        }
    }
}

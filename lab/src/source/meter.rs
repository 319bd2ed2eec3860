//! What a result needs to know about traffic, of whatever kind.

use super::detail::{Counter, Timing};
use super::trace::{Gap, Received, Trace};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// Counts of the guest's DMA layer over some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DmaCounts {
    /// Pages marked on reception.
    pub pages_marked: u64,
    /// Pages marked by catch-up.
    pub pages_caught_up: u64,
    /// Buffers received.
    pub buffers_received: u64,
}

/// What did not arrive of a stream of numbered datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Losses {
    /// Datagrams lost.
    pub lost: u64,
    /// Those of them that make the longest gap.
    pub in_gap: u64,
    /// Datagrams that arrived once more.
    #[serde(default)]
    pub duplicates: u64,
    /// Datagrams that arrived after one that was sent later.
    #[serde(default)]
    pub reordered: u64,
}

/// A transfer of which every byte came back as it was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// How many.
    pub bytes: u64,
    /// Their SHA-256, in hexadecimal, as both ends computed it.
    pub sha256: String,
}

/// Says whether traffic reaches the guest.
pub trait Traffic {
    /// Whether the guest has been seen to receive anything that was sent after `moment`.
    fn flows_since(&self, moment: Instant) -> bool;

    /// Forgets what was measured so far, where that could not be told from what comes next.
    fn start_over(&self) {}
}

/// A measurement of traffic at the guest.
pub trait Meter {
    /// What arrived between two moments.
    fn received(&self, from: Instant, to: Instant) -> Received;

    /// Bits a second that arrived, for each `step` between two moments.
    fn samples(&self, from: Instant, to: Instant, step: Duration) -> Vec<(Instant, f64)>;

    /// Bits a second that were sent, where this is known apart from what arrived.
    fn offered(&self, from: Instant, to: Instant) -> Option<f64>;

    /// The longest time without anything new of which some lies between two moments.
    fn longest_gap(&self, from: Instant, to: Instant) -> Option<Gap>;

    /// Datagrams sent since the stream began, up to the last that the guest says it received, where
    /// they are numbered.
    fn sent(&self) -> Option<u64> {
        None
    }

    /// What was lost since the stream began, where it is numbered.
    fn losses(&self) -> Option<Losses> {
        None
    }

    /// How long datagrams took between two moments, where they say when they were sent.
    fn timing(&self, _from: Instant, _to: Instant) -> Option<Timing> {
        None
    }

    /// How fast a count rises, a second, for each `step` between two moments. Empty where nobody
    /// reports it.
    fn rises(
        &self,
        _from: Instant,
        _to: Instant,
        _step: Duration,
        _counter: Counter,
    ) -> Vec<(Instant, f64)> {
        Vec::new()
    }

    /// Whether [`samples`](Self::samples) may be shorter than a tenth of a second.
    fn is_fine(&self) -> bool {
        false
    }

    /// What the DMA layer did between two moments, where the guest reports it.
    fn dma(&self, from: Instant, to: Instant) -> Option<DmaCounts>;
}

impl Meter for Trace {
    fn received(&self, from: Instant, to: Instant) -> Received {
        self.received(from, to)
    }

    fn samples(&self, from: Instant, to: Instant, step: Duration) -> Vec<(Instant, f64)> {
        self.samples(from, to, step)
    }

    fn offered(&self, from: Instant, to: Instant) -> Option<f64> {
        Some(self.offered(from, to))
    }

    fn longest_gap(&self, from: Instant, to: Instant) -> Option<Gap> {
        // The guest reports one, the longest of all.
        self.longest_gap().filter(|gap| gap.overlaps(from, to))
    }

    fn sent(&self) -> Option<u64> {
        let (_, report) = self.reports.last()?;
        Some(report.highest_seq.get() + 1)
    }

    fn losses(&self) -> Option<Losses> {
        let (_, report) = self.reports.last()?;
        Some(Losses {
            lost: report.missing.get(),
            in_gap: report.gap_length.get(),
            duplicates: report.duplicates.get().into(),
            reordered: report.reordered.get(),
        })
    }

    fn timing(&self, from: Instant, to: Instant) -> Option<Timing> {
        self.timing(from, to)
    }

    fn rises(
        &self,
        from: Instant,
        to: Instant,
        step: Duration,
        counter: Counter,
    ) -> Vec<(Instant, f64)> {
        self.rises(from, to, step, counter)
    }

    fn is_fine(&self) -> bool {
        true
    }

    fn dma(&self, from: Instant, to: Instant) -> Option<DmaCounts> {
        let until = |moment: Instant| {
            let later = self.reports.partition_point(|(at, _)| *at <= moment);
            Some(&self.reports.get(later.checked_sub(1)?)?.1)
        };
        let (start, end) = (until(from)?, until(to)?);
        // One report twice would make 0 of everything.
        if start.guest_ms == end.guest_ms {
            return None;
        }
        Some(DmaCounts {
            pages_marked: end.pages_marked.get().saturating_sub(start.pages_marked.get()),
            pages_caught_up: end.pages_caught_up.get().saturating_sub(start.pages_caught_up.get()),
            buffers_received: end
                .buffers_received
                .get()
                .saturating_sub(start.buffers_received.get()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use godwit_probe::Report;

    #[test]
    fn what_the_dma_layer_did_is_known_only_between_two_reports() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let report = |ms: u64| Report {
            guest_ms: ms.into(),
            pages_marked: (7 * ms).into(),
            ..Report::default()
        };
        let reports = [100, 200, 300].map(|ms| (at(ms), report(ms))).to_vec();
        let trace = Trace { reports, ..Trace::default() };
        let marked = |from, to| trace.dma(at(from), at(to)).map(|counts| counts.pages_marked);
        assert_eq!(marked(150, 350), Some(1400));
        assert_eq!(marked(50, 350), None);
        assert_eq!(marked(310, 350), None);
        assert_eq!(Trace::default().dma(at(0), at(1000)), None);
    }
}

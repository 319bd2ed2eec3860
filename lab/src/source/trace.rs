//! What was sent and what the guest reported, and the figures that follow from the two.

use godwit_probe::{REPORT_INTERVAL_MS, Report};
use std::time::{Duration, Instant};

/// Steps that are shorter than what is between two reports are read off their waypoints.
const REPORT: Duration = Duration::from_millis(REPORT_INTERVAL_MS);
/// Reports further apart than this had the guest's silence between them.
const SILENCE: Duration = Duration::from_millis(250);

/// The record of one stream.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// For each burst, the number of its first datagram and when it was sent. Rising in both.
    pub sent: Vec<(u64, Instant)>,
    /// The guest's reports and when they arrived.
    pub reports: Vec<(Instant, Report)>,
    /// Datagrams sent.
    pub total: u64,
    /// Bytes of each at the IP layer.
    pub ip_length: usize,
}

/// The longest time the guest was without new datagrams, on the source's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// When the first datagram that did not arrive was sent.
    pub start: Instant,
    /// When the next one that arrived was sent.
    pub end: Instant,
    /// Datagrams lost.
    pub lost: u64,
}

impl Gap {
    /// How long it was.
    pub fn length(&self) -> Duration {
        self.end.saturating_duration_since(self.start)
    }

    /// Whether some of it lies between two moments.
    pub fn overlaps(&self, from: Instant, to: Instant) -> bool {
        self.start < to && self.end > from
    }
}

/// What arrived between two moments.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Received {
    /// Bits a second at the IP layer.
    pub bits_per_s: f64,
    /// Datagrams.
    pub packets: f64,
}

#[derive(Clone, Copy)]
pub(super) struct Point {
    pub(super) at: Instant,
    pub(super) bytes: f64,
    pub(super) packets: f64,
}

impl Trace {
    /// The longest gap the guest has seen; `None` when it has lost nothing.
    pub fn longest_gap(&self) -> Option<Gap> {
        let (_, report) = self.reports.last()?;
        let (first, lost) = (report.gap_first.get(), report.gap_length.get());
        if lost == 0 {
            return None;
        }
        Some(Gap {
            start: self.sent_at(first)?,
            end: self.sent_at(first.checked_add(lost)?)?,
            lost,
        })
    }

    /// Datagrams the source offered between two moments, in bits a second at the IP layer.
    pub fn offered(&self, from: Instant, to: Instant) -> f64 {
        let count = |at: Instant| {
            let later = self.sent.partition_point(|(_, sent)| *sent <= at);
            self.sent.get(later).map_or(self.total, |(first, _)| *first)
        };
        per_second((count(to) - count(from)) as f64 * self.ip_length as f64 * 8.0, to - from)
    }

    /// What the guest received between two moments.
    ///
    /// Reports are cumulative and come ten times a second; in between, reception is taken to be
    /// even. Not so across the longest gap: what arrived before it and after it is told apart by
    /// the numbers of the datagrams.
    pub fn received(&self, from: Instant, to: Instant) -> Received {
        let curve = self.curve();
        let (start, end) = (value(&curve, from), value(&curve, to));
        Received {
            bits_per_s: per_second(
                (end.bytes - start.bytes) * 8.0,
                to.saturating_duration_since(from),
            ),
            packets: end.packets - start.packets,
        }
    }

    /// Bits a second the guest received, for each `step` between two moments.
    pub fn samples(&self, from: Instant, to: Instant, step: Duration) -> Vec<(Instant, f64)> {
        let curve = if step < REPORT { self.fine_curve() } else { self.curve() };
        let mut samples = Vec::new();
        let mut at = from;
        while at + step <= to {
            let (start, end) = (value(&curve, at), value(&curve, at + step));
            samples.push((at, per_second((end.bytes - start.bytes) * 8.0, step)));
            at += step;
        }
        samples
    }

    fn sent_at(&self, seq: u64) -> Option<Instant> {
        let later = self.sent.partition_point(|(first, _)| *first <= seq);
        Some(self.sent[later.checked_sub(1)?].1)
    }

    fn curve(&self) -> Vec<Point> {
        let gap = self.longest_gap();
        let mut curve: Vec<Point> = Vec::with_capacity(self.reports.len() + 3);
        if let Some((_, start)) = self.sent.first() {
            curve.push(Point { at: *start, bytes: 0.0, packets: 0.0 });
        }
        let mut before: Option<(Instant, &Report)> = None;
        for (at, report) in &self.reports {
            let bytes = report.bytes.get() as f64;
            let packets = report.packets.get() as f64;
            if let (Some((last, old)), Some(gap)) = (before, gap)
                && *at - last > SILENCE
                && gap.end > last
                && gap.start < *at
            {
                let first = self.reports.last().map_or(0, |(_, r)| r.gap_first.get());
                let fresh = packets - old.packets.get() as f64;
                let still = (first.saturating_sub(old.highest_seq.get() + 1) as f64).min(fresh);
                let packets = old.packets.get() as f64 + still;
                let bytes = old.bytes.get() as f64 + still * self.ip_length as f64;
                for at in [gap.start.max(last), gap.end.min(*at)] {
                    curve.push(Point { at, bytes, packets });
                }
            }
            curve.push(Point { at: *at, bytes, packets });
            before = Some((*at, report));
        }
        curve
    }
}

fn value(curve: &[Point], at: Instant) -> Point {
    let later = curve.partition_point(|point| point.at <= at);
    let nothing = Point { at, bytes: 0.0, packets: 0.0 };
    match (later.checked_sub(1).map(|i| curve[i]), curve.get(later)) {
        (Some(a), Some(b)) => {
            let part = (at - a.at).as_secs_f64() / (b.at - a.at).as_secs_f64();
            let between = |a: f64, b: f64| a + (b - a) * part;
            Point { at, bytes: between(a.bytes, b.bytes), packets: between(a.packets, b.packets) }
        }
        (Some(last), None) => last,
        (None, _) => nothing,
    }
}

fn per_second(amount: f64, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { amount / time.as_secs_f64() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One datagram of 1,000 bytes a millisecond; the guest misses those from `lost`, and reports
    /// every 100 ms but not while it misses them.
    fn trace(lost: std::ops::Range<u64>, total: u64) -> (Trace, Instant) {
        let start = Instant::now();
        let ms = Duration::from_millis(1);
        let mut trace = Trace { ip_length: 1000, total, ..Trace::default() };
        trace.sent = (0..total).map(|n| (n, start + ms * n as u32)).collect();
        for now in (100..=total).step_by(100).filter(|now| !lost.contains(now)) {
            let missed = if now >= lost.end { lost.end - lost.start } else { 0 };
            let report = Report {
                packets: (now - missed).into(),
                bytes: ((now - missed) * 1000).into(),
                highest_seq: (now - 1).into(),
                missing: missed.into(),
                gap_first: if missed == 0 { 0 } else { lost.start }.into(),
                gap_length: missed.into(),
                ..Report::default()
            };
            trace.reports.push((start + ms * now as u32, report));
        }
        (trace, start)
    }

    #[test]
    fn an_even_stream_is_even() {
        let (trace, start) = trace(0..0, 1000);
        let to = start + Duration::from_millis(800);
        let got = trace.received(start + Duration::from_millis(250), to);
        assert_eq!((got.bits_per_s.round(), got.packets.round()), (8e6, 550.0));
        assert_eq!(trace.longest_gap(), None);
        let samples = trace.samples(start, to, Duration::from_millis(100));
        assert_eq!(samples.len(), 8);
        assert!(samples.iter().all(|(_, rate)| (rate - 8e6).abs() < 1.0), "{samples:?}");
    }

    #[test]
    fn a_gap_is_timed_by_what_was_sent_and_has_sharp_edges() {
        let (trace, start) = trace(1030..1780, 3000);
        let gap = trace.longest_gap().unwrap();
        assert_eq!((gap.length(), gap.lost), (Duration::from_millis(750), 750));
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(trace.received(at(1030), at(1780)).packets.round(), 0.0);
        assert_eq!(trace.received(at(1000), at(1030)).packets.round(), 30.0);
        assert_eq!(trace.received(at(1780), at(1800)).packets.round(), 20.0);
        assert_eq!(trace.received(start, at(3000)).packets.round(), 2250.0);
    }

    #[test]
    fn what_is_offered_is_counted_apart_from_what_arrives() {
        let (trace, start) = trace(1000..2000, 3000);
        let offered =
            trace.offered(start + Duration::from_millis(1000), start + Duration::from_millis(2000));
        assert_eq!(offered.round(), 8e6);
    }

    #[test]
    fn nothing_reported_is_nothing_received() {
        let now = Instant::now();
        let trace = Trace::default();
        assert_eq!(trace.received(now, now + Duration::from_secs(1)), Received::default());
        assert_eq!(trace.longest_gap(), None);
    }
}

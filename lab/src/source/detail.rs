//! What the guest's reports tell besides throughput: how long datagrams took, what was lost and
//! marked over time, and reception in steps finer than the reports.

use super::trace::{Gap, Point, Trace};
use godwit_probe::{Histogram, Report};
use std::time::{Duration, Instant};

/// How long datagrams took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timing {
    /// Beyond the fastest one of the last second or two.
    pub latency: Histogram,
    /// From one to the next.
    pub jitter: Histogram,
}

/// Something that the guest counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// Datagrams lost.
    Lost,
    /// Pages marked, on reception and by catch-up.
    Marked,
}

impl Trace {
    /// How long the datagrams took of those that were reported between two moments.
    pub fn timing(&self, from: Instant, to: Instant) -> Option<Timing> {
        let until = |moment| self.report_until(moment);
        let (earlier, later) = (until(from).copied().unwrap_or_default(), until(to)?);
        let of = |histogram: fn(&Report) -> Histogram| histogram(later).since(&histogram(&earlier));
        let timing = Timing { latency: of(|r| r.latency), jitter: of(|r| r.jitter) };
        (timing.latency.total() > 0).then_some(timing)
    }

    /// How fast a count rises, a second, for each `step` between two moments. Between two reports
    /// it is taken to rise evenly.
    pub fn rises(
        &self,
        from: Instant,
        to: Instant,
        step: Duration,
        counter: Counter,
    ) -> Vec<(Instant, f64)> {
        let count = |report: &Report| match counter {
            Counter::Lost => report.missing.get(),
            Counter::Marked => report.pages_marked.get() + report.pages_caught_up.get(),
        };
        let value = |at: Instant| {
            let later = self.reports.partition_point(|(when, _)| *when <= at);
            let before = later.checked_sub(1).map(|index| &self.reports[index]);
            match (before, self.reports.get(later)) {
                (Some((start, a)), Some((end, b))) => {
                    let part = (at - *start).as_secs_f64() / (*end - *start).as_secs_f64();
                    let (a, b) = (count(a) as f64, count(b) as f64);
                    a + (b - a) * part
                }
                (Some((_, only)), None) | (None, Some((_, only))) => count(only) as f64,
                (None, None) => 0.0,
            }
        };
        let steps = std::iter::successors(Some(from), |at| Some(*at + step));
        steps
            .take_while(|at| *at + step <= to)
            // What is missing may still come, out of order.
            .map(|at| (at, (value(at + step) - value(at)).max(0.0) / step.as_secs_f64()))
            .collect()
    }

    fn report_until(&self, moment: Instant) -> Option<&Report> {
        let later = self.reports.partition_point(|(at, _)| *at <= moment);
        Some(&self.reports.get(later.checked_sub(1)?)?.1)
    }

    /// Reception by the guest's own waypoints. They are in the guest's time, which stands still
    /// with the machine: it is one before the longest gap and another one afterwards.
    pub(super) fn fine_curve(&self) -> Vec<Point> {
        let gap = self.longest_gap();
        let first_lost = self.reports.last().map_or(0, |(_, report)| report.gap_first.get());
        let is_after = |report: &Report| gap.is_some() && report.highest_seq.get() >= first_lost;
        let turn = self.reports.partition_point(|(_, report)| !is_after(report));
        let (before, after) = self.reports.split_at(turn);
        // What arrived before the gap, but was only reported after it.
        let reported = before.last().map(|(_, report)| report);
        let known = reported.map_or(0, |report| report.packets.get());
        let unknown =
            reported.map_or(0, |report| first_lost.saturating_sub(report.highest_seq.get() + 1));
        let at_gap = known + unknown;
        let ours = [Shift::of(before), Shift::of(after)];
        let mut curve: Vec<Point> = Vec::new();
        let mut add = |at: Instant, packets: u64| {
            // A migration's first reports repeat what those before it said.
            if curve.last().is_none_or(|last| at > last.at && packets as f64 >= last.packets) {
                let bytes = packets as f64 * self.ip_length as f64;
                curve.push(Point { at, bytes, packets: packets as f64 });
            }
        };
        for (_, report) in before {
            waypoints(report).for_each(|(us, packets)| ours[0].add(us, packets, &mut add));
        }
        if let Some(Gap { start, end, .. }) = gap {
            for (us, packets) in after.first().into_iter().flat_map(|(_, r)| waypoints(r)) {
                if packets <= at_gap && ours[0].at(us).is_some_and(|at| at < start) {
                    ours[0].add(us, packets, &mut add);
                }
            }
            add(start, at_gap);
            add(end, at_gap);
        }
        for (_, report) in after {
            for (us, packets) in waypoints(report).filter(|(_, packets)| *packets > at_gap) {
                ours[1].add(us, packets, &mut add);
            }
        }
        curve
    }
}

fn waypoints(report: &Report) -> impl Iterator<Item = (u64, u64)> {
    let points = report.waypoints.into_iter().map(|at| (at.guest_us.get(), at.packets.get()));
    points.filter(|(_, packets)| *packets > 0)
}

/// From the guest's clock to the source's: by the report that took the shortest.
struct Shift(Option<(Instant, u64)>);

impl Shift {
    fn of(reports: &[(Instant, Report)]) -> Self {
        let Some((epoch, _)) = reports.first() else { return Self(None) };
        // Both in microseconds, from the first report's arrival and the guest's boot.
        let ahead = |(at, report): &(Instant, Report)| {
            (*at - *epoch).as_micros() as i64 - (report.guest_ms.get() * 1000) as i64
        };
        Self(reports.iter().min_by_key(|r| ahead(r)).map(|(at, r)| (*at, r.guest_ms.get() * 1000)))
    }

    fn at(&self, us: u64) -> Option<Instant> {
        let (at, here) = self.0?;
        match us.checked_sub(here) {
            Some(later) => Some(at + Duration::from_micros(later)),
            None => at.checked_sub(Duration::from_micros(here - us)),
        }
    }

    fn add(&self, us: u64, packets: u64, add: &mut impl FnMut(Instant, u64)) {
        if let Some(at) = self.at(us) {
            add(at, packets);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use godwit_probe::{WAYPOINTS, Waypoint};

    const MS: Duration = Duration::from_millis(1);

    /// One datagram of 1,000 bytes a millisecond, each of which takes 40 µs more than the fastest,
    /// but for those of a tenth of a second that are `slow`. What is sent from 1,030 on for 120 ms
    /// is lost, and the guest's clock stands still meanwhile.
    fn trace() -> (Trace, Instant) {
        let start = Instant::now();
        let (lost, total) = (1030..1150, 3000);
        let mut trace = Trace { ip_length: 1000, total, ..Trace::default() };
        trace.sent = (0..total).map(|n| (n, start + MS * n as u32)).collect();
        let guest = |ms: u64| if ms >= lost.end { ms - 120 } else { ms.min(lost.start) };
        let arrived = |ms: u64| guest(ms);
        let mut latency = Histogram::default();
        for ms in (1..total).filter(|ms| !lost.contains(ms)) {
            latency.add(if (2000..2100).contains(&ms) { 5000 } else { 40 });
            if guest(ms) % 100 != 0 {
                continue;
            }
            let mut report = Report {
                guest_ms: guest(ms).into(),
                packets: arrived(ms).into(),
                bytes: (arrived(ms) * 1000).into(),
                highest_seq: (ms - 1).into(),
                pages_marked: (3 * arrived(ms)).into(),
                latency,
                ..Report::default()
            };
            if ms > lost.end {
                report.missing = 120.into();
                (report.gap_first, report.gap_length) = (1030.into(), 120.into());
            }
            for (step, point) in report.waypoints.iter_mut().enumerate() {
                let ago = 10 * (WAYPOINTS - 1 - step) as u64;
                let packets = arrived(ms).saturating_sub(ago);
                *point = Waypoint { guest_us: (packets * 1000).into(), packets: packets.into() };
            }
            trace.reports.push((start + MS * ms as u32, report));
        }
        (trace, start)
    }

    #[test]
    fn ten_milliseconds_are_told_apart_on_both_sides_of_a_gap() {
        let (trace, start) = trace();
        let step = MS * 10;
        let samples = trace.samples(start + MS * 900, start + MS * 1300, step);
        assert_eq!(samples.len(), 40);
        for (at, rate) in samples {
            let ms = (at - start).as_millis();
            let expected = if (1030..1150).contains(&ms) { 0.0 } else { 8e6 };
            assert!((rate - expected).abs() < 1.0, "{ms}: {rate}");
        }
    }

    #[test]
    fn a_phase_has_its_own_percentiles() {
        let (trace, start) = trace();
        let p99 = |from, to| {
            let timing = trace.timing(start + MS * from, start + MS * to).unwrap();
            timing.latency.percentile(0.99)
        };
        assert!(p99(100, 1000) < 50.0, "{}", p99(100, 1000));
        assert!(p99(1500, 2900) > 4000.0);
        assert!(trace.timing(start, start + MS * 50).is_none());
    }

    #[test]
    fn losses_are_where_they_were() {
        let (trace, start) = trace();
        let end = start + MS * 2900;
        let lost = trace.rises(start, end, MS * 100, Counter::Lost);
        let sum: f64 = lost.iter().map(|(_, rate)| rate / 10.0).sum();
        assert_eq!(sum.round(), 120.0);
        let within = lost.iter().filter(|(_, rate)| *rate > 0.0);
        assert!(within.clone().all(|(at, _)| (1000..1300).contains(&(*at - start).as_millis())));
        let marked = trace.rises(start + MS * 200, start + MS * 900, MS * 100, Counter::Marked);
        assert!(marked.iter().all(|(_, rate)| rate.round() == 3000.0), "{marked:?}");
    }
}

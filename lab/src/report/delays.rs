//! How long datagrams took, phase by phase.

use super::format::{micros, thousands};
use crate::result::{Migration, Percentiles, PhaseName};

/// Columns of the table.
pub(super) const COLUMNS: usize = 8;

/// Their titles.
pub(super) const TITLES: [&str; COLUMNS] =
    ["phase", "latency p50", "p99", "p99.9", "jitter p50", "p99", "p99.9", "timed"];

/// Names of the two lines.
pub(super) const NAMES: [&str; 2] = ["latency", "jitter"];

/// What the figures are.
pub(super) const EXPLANATION: &str = "Latency is how much longer a datagram took from the source \
    to the application than the fastest one of the last second or two (RFC 5481); jitter, by how \
    much that differs from one to the next (RFC 3393). One datagram in 64 is timed. A phase \
    ends with the guest's last report in it, a tenth of a second before its end at most.";

/// The table's rows. None, where nobody knows.
pub(super) fn rows(result: &Migration) -> Vec<[String; COLUMNS]> {
    let phases = result.phases.iter();
    phases
        .filter_map(|phase| {
            let delays = phase.delays.filter(|_| phase.name != PhaseName::Gap)?;
            let [a, b, c] = figures(delays.latency);
            let [d, e, f] = figures(delays.jitter);
            let count = thousands(delays.latency.count);
            Some([phase.name.title().to_owned(), a, b, c, d, e, f, count])
        })
        .collect()
}

/// One line for each of the two.
pub(super) fn lines(result: &Migration) -> Vec<(&'static str, String)> {
    let rows = rows(result);
    if rows.is_empty() {
        return Vec::new();
    }
    let of = |from: usize| {
        let each = rows.iter().map(|row| format!("{} {}", row[0], row[from..from + 3].join(" / ")));
        format!("{} (p50 / p99 / p99.9)", each.collect::<Vec<_>>().join(", "))
    };
    NAMES.into_iter().zip([of(1), of(4)]).collect()
}

/// What 99% of the datagrams of a warm-up did not exceed.
pub(super) fn p99_of_warmup(run: &Migration) -> Option<String> {
    Some(micros(run.phase(PhaseName::Warmup)?.delays?.latency.p99_us))
}

fn figures(of: Percentiles) -> [String; 3] {
    [of.p50_us, of.p99_us, of.p999_us].map(micros)
}

//! What several rounds came to, as a table and for scripts.

use std::fmt::{self, Write};

use crate::result::median;
use serde_json::{Map, Value, json};

use super::{systems::System, udp::MOST_PACED};

/// The part of what is offered from which on a figure is that of the source.
const WHOLE: f64 = 0.99;

/// A figure with three digits that count, for people and for JSON.
pub(super) fn rounded(value: f64) -> Value {
    json!((value * 1000.0).round() / 1000.0)
}

/// The figures of one system in one round.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sample {
    /// Bits a second.
    pub(super) tcp_receive: f64,
    pub(super) tcp_send: f64,
    /// Datagrams a second.
    pub(super) udp_best_paced: f64,
    /// 0 if the guest reported nothing.
    pub(super) udp_flood: f64,
    pub(super) udp_offered: f64,
    /// Seconds.
    pub(super) boot: f64,
}

/// What is measured.
struct Metric {
    name: &'static str,
    title: &'static str,
    unit: &'static str,
    per_unit: f64,
    of: fn(&Sample) -> f64,
    /// The most that there was to be had.
    offered: fn(&Sample) -> f64,
    /// Less is better.
    is_time: bool,
}

impl Metric {
    const fn rate(
        name: &'static str,
        title: &'static str,
        unit: &'static str,
        per_unit: f64,
        of: fn(&Sample) -> f64,
    ) -> Self {
        let offered = |_: &Sample| f64::INFINITY;
        Self { name, title, unit, per_unit, of, offered, is_time: false }
    }
}

const METRICS: [Metric; 6] = [
    Metric::rate("tcp_receive", "TCP received, Mbit/s", "Mbit/s", 1e6, |s| s.tcp_receive),
    Metric::rate("tcp_send", "TCP sent, Mbit/s", "Mbit/s", 1e6, |s| s.tcp_send),
    Metric {
        offered: |_| MOST_PACED as f64,
        ..Metric::rate("udp_best_paced", "64-byte UDP, best paced, /s", "/s", 1.0, |s| {
            s.udp_best_paced
        })
    },
    Metric {
        offered: |s| s.udp_offered,
        ..Metric::rate("udp_flood", "64-byte UDP, flooded, /s", "/s", 1.0, |s| s.udp_flood)
    },
    Metric::rate("udp_offered", "offered by the flood, /s", "/s", 1.0, |s| s.udp_offered),
    Metric { is_time: true, ..Metric::rate("boot", "boot to service, s", "s", 1.0, |s| s.boot) },
];

/// Godwit's and Linux's samples, round by round.
#[derive(Debug)]
pub(super) struct Rounds(pub(super) Vec<[Sample; 2]>);

impl Rounds {
    fn of(&self, system: System, metric: &Metric) -> Vec<f64> {
        self.0.iter().map(|round| (metric.of)(&round[system as usize]) / metric.per_unit).collect()
    }

    /// Whether a system received all that there was in some round: it could have taken more, and
    /// the figure is a bound.
    fn is_bound(&self, system: System, metric: &Metric) -> bool {
        let mut samples = self.0.iter().map(|round| &round[system as usize]);
        samples.any(|s| (metric.of)(s) >= WHOLE * (metric.offered)(s))
    }

    /// Godwit to Linux in each round; above 1 where Godwit is ahead.
    fn ratios(&self, metric: &Metric) -> Vec<f64> {
        let pairs = self.0.iter().map(|[godwit, linux]| ((metric.of)(godwit), (metric.of)(linux)));
        pairs
            .map(|(godwit, linux)| if metric.is_time { linux / godwit } else { godwit / linux })
            .collect()
    }

    /// How much of the best paced rate is left under the flood, in hundredths.
    fn kept(&self, system: System) -> Vec<f64> {
        let samples = self.0.iter().map(|round| &round[system as usize]);
        samples.map(|sample| 100.0 * sample.udp_flood / sample.udp_best_paced).collect()
    }

    /// In how many rounds a system reported nothing of the flood.
    fn collapses(&self, system: System) -> usize {
        self.0.iter().filter(|round| round[system as usize].udp_flood == 0.0).count()
    }

    pub(super) fn table(&self, nic: &str) -> String {
        let mut text = format!("{nic:<28}{:>24}{:>24}{:>22}\n", "Godwit", "Linux", "ratio");
        for metric in &METRICS {
            let [godwit, linux] = [System::Godwit, System::Linux].map(|system| {
                let bound = if self.is_bound(system, metric) { "≥ " } else { "" };
                format!("{bound}{}", Spread::of(self.of(system, metric)))
            });
            let ratio = Spread::of(self.ratios(metric));
            let _ = writeln!(text, "{:<28}{godwit:>24}{linux:>24}{ratio:>22}", metric.title);
        }
        let [godwit, linux] =
            [System::Godwit, System::Linux].map(|system| Spread::of(self.kept(system)));
        let _ = writeln!(text, "{:<28}{godwit:>24}{linux:>24}", "flooded / best paced, %");
        for system in [System::Godwit, System::Linux] {
            let (times, rounds) = (self.collapses(system), self.0.len());
            if times > 0 {
                let name = system.name();
                let _ = writeln!(
                    text,
                    "{name} reported nothing of the flood in {times} of {rounds} rounds: \
                     counted as 0 received"
                );
            }
        }
        text
    }

    pub(super) fn json(&self) -> Map<String, Value> {
        let of = |system: System| {
            let mut values = Map::new();
            for metric in &METRICS {
                let all = self.of(system, metric);
                let each: Vec<Value> = all.iter().copied().map(rounded).collect();
                let mut value = Spread::of(all).json();
                value.insert("unit".into(), metric.unit.into());
                value.insert("is_lower_bound".into(), self.is_bound(system, metric).into());
                value.insert("rounds".into(), each.into());
                values.insert(metric.name.into(), value.into());
            }
            values.insert(
                "udp_flood_kept_percent".into(),
                Spread::of(self.kept(system)).json().into(),
            );
            values.insert("udp_flood_unreported".into(), self.collapses(system).into());
            Value::from(values)
        };
        let ratios = METRICS.iter().map(|metric| {
            (metric.name.to_owned(), Value::from(Spread::of(self.ratios(metric)).json()))
        });
        let mut json = Map::new();
        json.insert("godwit".into(), of(System::Godwit));
        json.insert("linux".into(), of(System::Linux));
        json.insert("ratio".into(), json!(ratios.collect::<Map<_, _>>()));
        json
    }
}

/// The middle one of several values, or the mean of the two in the middle, and the outermost.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Spread {
    median: f64,
    lowest: f64,
    highest: f64,
}

impl Spread {
    /// Not a number where there are no values.
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        let median = median(&values).unwrap_or(f64::NAN);
        Self { median, lowest: at(0), highest: at(values.len().saturating_sub(1)) }
    }

    /// What is no finite number is null.
    fn json(self) -> Map<String, Value> {
        let Self { median, lowest, highest } = self;
        [("median", median), ("lowest", lowest), ("highest", highest)]
            .map(|(name, value)| (name.to_owned(), rounded(value)))
            .into_iter()
            .collect()
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = if self.median < 20.0 { 2 } else { 0 };
        let number = |value: f64| match value {
            value if value.is_nan() => "–".into(),
            value if value.is_infinite() => "∞".into(),
            value => format!("{value:.digits$}"),
        };
        let Self { median, lowest, highest } = *self;
        if lowest == highest {
            return f.pad(&number(median));
        }
        f.pad(&format!("{} ({}–{})", number(median), number(lowest), number(highest)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn median_of(values: &[f64]) -> f64 {
        Spread::of(values.to_vec()).median
    }

    #[test]
    fn medians() {
        assert!(median_of(&[]).is_nan());
        assert_eq!(median_of(&[3.0]), 3.0);
        assert_eq!(median_of(&[9.0, 1.0, 2.0]), 2.0);
        assert_eq!(median_of(&[4.0, 1.0, 9.0, 2.0]), 3.0);
        assert_eq!(median_of(&[f64::INFINITY, f64::INFINITY]), f64::INFINITY);
    }

    #[test]
    fn spreads_read_well() {
        assert_eq!(Spread::of(vec![700.4, 650.0, 688.0]).to_string(), "688 (650–700)");
        assert_eq!(Spread::of(vec![1.234]).to_string(), "1.23");
        assert_eq!(Spread::of(vec![1.5, f64::INFINITY, 1.0]).to_string(), "1.50 (1.00–∞)");
    }

    fn rounds() -> Rounds {
        let godwit = Sample {
            tcp_receive: 6e8,
            tcp_send: 8e8,
            udp_best_paced: 160e3,
            udp_flood: 120e3,
            udp_offered: 200e3,
            boot: 0.5,
        };
        let linux =
            Sample { tcp_receive: 4e8, udp_best_paced: 30e3, udp_flood: 0.0, boot: 5.0, ..godwit };
        Rounds(vec![[godwit, linux], [godwit, Sample { udp_flood: 300.0, ..linux }]])
    }

    #[test]
    fn a_collapse_is_a_figure_and_is_named() {
        let table = rounds().table("igb");
        assert!(table.contains("linux reported nothing of the flood in 1 of 2 rounds"), "{table}");
        assert!(!table.contains("godwit reported"), "{table}");
        assert!(table.contains("150 (0–300)"), "{table}");
        let json = rounds().json();
        assert_eq!(json["linux"]["udp_flood_unreported"], 1);
        assert_eq!(json["linux"]["udp_flood"]["rounds"], json!([0.0, 300.0]));
    }

    #[test]
    fn what_the_source_could_not_exceed_is_called_a_bound() {
        let table = rounds().table("igb");
        let row = |title| table.lines().find(|line| line.contains(title)).unwrap().to_owned();
        assert!(row("best paced, /s").contains("≥ 160000"), "{table}");
        assert_eq!(table.matches('≥').count(), 1, "{table}");
        let json = rounds().json();
        assert_eq!(json["godwit"]["udp_best_paced"]["is_lower_bound"], true);
        assert_eq!(json["godwit"]["udp_flood"]["is_lower_bound"], false);
        assert_eq!(json["linux"]["udp_best_paced"]["is_lower_bound"], false);
    }

    #[test]
    fn ratios_above_one_are_for_godwit() {
        let json = rounds().json();
        assert_eq!(json["ratio"]["tcp_receive"]["median"], 1.5);
        assert_eq!(json["ratio"]["boot"]["median"], 10.0);
        assert_eq!(json["godwit"]["udp_flood_kept_percent"]["median"], 75.0);
    }
}

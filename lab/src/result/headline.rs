//! What is claimed of a live migration in the nested lab, and whether a result bears it out.

use super::{Migration, PhaseName};
use crate::choices::ClockKind;

/// The part of a paced load that the guest receives in the warm-up, at least.
pub const PACED: f64 = 0.98;
/// The part of what it takes when flooded that it takes in the warm-up, at least: what is reached
/// today, in the lab's own time.
pub const SATURATED: f64 = 0.84;
/// Milliseconds that the service is gone for beyond QEMU's own downtime, at most, in the lab's own
/// time (docs/lab.md).
pub const BEYOND_DOWNTIME_MS: f64 = 50.0;
/// The part of its throughput that a guest keeps without its NIC, at most. It has nothing then:
/// more would mean that the measurement does not see a loss.
pub const WITHOUT_NIC: f64 = 0.10;
/// The share of this machine's processors' time from which on others bear on what is measured in
/// its time.
pub const DISTURBED: f64 = 0.05;

/// What does not hold of it, in words for people. In this machine's time a flood and a gap tell as
/// much about the machine, so that only the paced load counts.
pub fn shortfalls(result: &Migration) -> Vec<String> {
    let mut all = Vec::new();
    match result.relative(PhaseName::Warmup) {
        Some(share) if share >= PACED => {}
        Some(share) => all.push(below("paced throughput", share, PACED)),
        None => all.push("throughput in the warm-up was not measured".into()),
    }
    if result.facts.lab_clock == Some(ClockKind::Virtual) {
        match result.saturated.and_then(|saturated| saturated.kept()) {
            Some(share) if share >= SATURATED => {}
            Some(share) => all.push(below("saturated throughput", share, SATURATED)),
            None => all.push("saturated throughput in the warm-up was not measured".into()),
        }
        let gap = result.service_gap_ms;
        match result.migration.downtime_ms {
            Some(downtime) if gap <= downtime as f64 + BEYOND_DOWNTIME_MS => {}
            Some(downtime) => all.push(format!(
                "the service was gone for {gap:.0} ms with a downtime of {downtime} ms, more than \
                 {BEYOND_DOWNTIME_MS} ms longer"
            )),
            None => all.push("the downtime was not measured".into()),
        }
    }
    if let Some(baseline) = result.baseline
        && baseline.warmup_bits_per_s > WITHOUT_NIC * baseline.before_bits_per_s
    {
        all.push("the control kept its throughput without a NIC: the measurement is wrong".into());
    }
    all
}

fn below(what: &str, share: f64, floor: f64) -> String {
    format!(
        "{:.1}% of the {what} was kept in the warm-up, less than {:.0}%",
        100.0 * share,
        100.0 * floor
    )
}

/// The most that others had of this machine in a phase whose figures are in this machine's time, if
/// it was enough to bear on them.
pub fn disturbance(result: &Migration) -> Option<(PhaseName, f64)> {
    if result.facts.lab_clock == Some(ClockKind::Virtual) {
        return None;
    }
    let shares =
        result.phases.iter().filter_map(|phase| Some((phase.name, phase.taken_by_others?)));
    shares.max_by(|(_, a), (_, b)| a.total_cmp(b)).filter(|(_, share)| *share >= DISTURBED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        choices::Strategy,
        result::{Baseline, Phase, Saturated, build::tests::migration},
    };

    fn good() -> Migration {
        let mut result = migration();
        result.facts.lab_clock = Some(ClockKind::Virtual);
        result.saturated =
            Some(Saturated { before: 1e9, warmup: Some(9e8), ..Saturated::default() });
        (result.service_gap_ms, result.migration.downtime_ms) = (170.0, Some(120));
        result.baseline = Some(Baseline {
            strategy: Strategy::Cold,
            before_bits_per_s: 8e6,
            warmup_bits_per_s: 0.0,
            service_gap_ms: 2000.0,
        });
        result
    }

    fn warmup(result: &mut Migration) -> &mut Phase {
        result.phases.iter_mut().find(|phase| phase.name == PhaseName::Warmup).unwrap()
    }

    #[test]
    fn each_claim_can_fail() {
        assert_eq!(shortfalls(&good()), [""; 0]);
        let only = |change: fn(&mut Migration)| {
            let mut result = good();
            change(&mut result);
            let [shortfall] = &shortfalls(&result)[..] else { panic!("{:?}", shortfalls(&result)) };
            shortfall.clone()
        };
        let said = only(|result| warmup(result).rx_bits_per_s = 0.97 * 8e6);
        assert!(said.starts_with("97.0% of the paced throughput"), "{said}");
        let said = only(|result| result.saturated.as_mut().unwrap().warmup = Some(6e8));
        assert!(said.starts_with("60.0% of the saturated throughput"), "{said}");
        assert!(only(|result| result.saturated = None).contains("saturated"));
        assert!(only(|result| result.service_gap_ms = 201.0).contains("201 ms"));
        assert!(only(|result| result.migration.downtime_ms = None).contains("downtime"));
        let said = only(|result| result.baseline.as_mut().unwrap().warmup_bits_per_s = 4e6);
        assert!(said.contains("control"), "{said}");
    }

    #[test]
    fn in_this_machines_time_only_the_paced_load_counts_and_others_are_told() {
        let mut result = good();
        result.facts.lab_clock = Some(ClockKind::Real);
        (result.saturated, result.service_gap_ms) = (None, 2000.0);
        assert_eq!(shortfalls(&result), [""; 0]);
        assert_eq!(disturbance(&result), None);
        warmup(&mut result).taken_by_others = Some(0.3);
        assert_eq!(disturbance(&result), Some((PhaseName::Warmup, 0.3)));
        warmup(&mut result).rx_bits_per_s = 4e6;
        assert_eq!(shortfalls(&result).len(), 1);
        result.facts.lab_clock = Some(ClockKind::Virtual);
        assert_eq!(disturbance(&result), None);
    }
}

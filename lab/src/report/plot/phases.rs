//! How the bands of phases look, and what is said in them.

use crate::report::format::{duration, megabits};
use crate::result::{Migration, PhaseName};

/// What is said in the band of a phase.
pub(super) fn title(result: &Migration, name: PhaseName) -> String {
    let phase = result.phase(name);
    match name {
        PhaseName::Gap => {
            format!("gap {}", duration(phase.map_or(0.0, |phase| phase.end_ms - phase.start_ms)))
        }
        name => {
            let rate = phase.map_or(0.0, |phase| phase.rx_bits_per_s);
            format!("{}  {} Mbit/s", name.title(), megabits(rate))
        }
    }
}

/// Its style.
pub(super) fn class(name: PhaseName) -> &'static str {
    match name {
        PhaseName::Before => "before",
        PhaseName::Warmup => "warmup",
        PhaseName::Gap => "gap",
        PhaseName::After => "after",
    }
}

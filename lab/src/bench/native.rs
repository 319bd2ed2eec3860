//! What a frame costs on this machine's processor, from the driver to the application.

use std::fs;

use anyhow::{Context, Result};
use serde_json::Value;

/// The figures, as the benchmark of the drivers names them, with the bytes that a frame takes on
/// the wire: with preamble and gap, 20 more than it has.
const FIGURES: [(&str, &str, f64); 4] = [
    ("received_64", "64 bytes, received by an application", 84.0),
    ("received_1518", "1,518 bytes, received by an application", 1538.0),
    ("reflected_64", "64 bytes, received and sent back", 84.0),
    ("reflected_1518", "1,518 bytes, received and sent back", 1538.0),
];
/// Bits in a nanosecond.
const TEN_GIGABIT: f64 = 10.0;

/// Measures, and prints a table: nanoseconds and cycles of a frame, and how many times as fast as
/// 10 Gbit/s of such frames that is.
///
/// # Errors
/// The benchmark does not build or run.
pub fn run() -> Result<Value> {
    let figures = super::figures("drivers", "native", "Measuring the receive path")?;
    let gigahertz = gigahertz(&fs::read_to_string("/proc/cpuinfo")?).context("no clock")?;
    for (name, title, bytes) in FIGURES {
        let ns = figures[name].as_f64().with_context(|| name.to_owned())?;
        let (cycles, line) = (ns * gigahertz, bytes * 8.0 / TEN_GIGABIT);
        let of_line = line / ns;
        println!("{title:<42}{ns:>8.1} ns{cycles:>8.0} cycles{of_line:>8.2} of 10 Gbit/s");
    }
    println!();
    Ok(figures)
}

/// The clock of this machine's first processor, as `/proc/cpuinfo` has it.
fn gigahertz(cpuinfo: &str) -> Option<f64> {
    let line = cpuinfo.lines().find(|line| line.starts_with("cpu MHz"))?;
    line.split_once(':')?.1.trim().parse::<f64>().ok().map(|megahertz| megahertz / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_the_first_processors() {
        let text = "processor\t: 0\ncpu MHz\t\t: 2500.000\nprocessor\t: 1\ncpu MHz\t\t: 1.0\n";
        assert_eq!(gigahertz(text), Some(2.5));
        assert_eq!(gigahertz("processor\t: 0\n"), None);
    }
}

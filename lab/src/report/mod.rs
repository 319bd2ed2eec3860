//! A result for people: a table on the terminal, a plot, and a page with both.

mod comparison;
mod page;
mod plot;
mod series;
mod table;
mod words;

pub use table::table;

use crate::result::Migration;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Writes `result.json`, `throughput.svg` and `index.html` into `directory`. Returns the path of the page.
pub fn write(directory: &Path, result: &Migration) -> Result<PathBuf> {
    fs::create_dir_all(directory)
        .with_context(|| format!("cannot create {}", directory.display()))?;
    let put = |name: &str, content: String| {
        let path = directory.join(name);
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        Ok::<_, anyhow::Error>(path)
    };
    write_json(&directory.join("result.json"), result)?;
    put("throughput.svg", plot::svg(result)?)?;
    if let Some(second) = &result.second {
        put("throughput-second.svg", plot::svg(second)?)?;
    }
    put("index.html", page::html(result)?)
}

/// Writes the result alone.
pub fn write_json(path: &Path, result: &Migration) -> Result<()> {
    let mut text = serde_json::to_string_pretty(result)?;
    text.push('\n');
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Megabits a second, with a precision that fits.
fn megabits(bits_per_s: f64) -> String {
    let megabits = bits_per_s / 1e6;
    if megabits.abs() < 9.995 { format!("{megabits:.2}") } else { format!("{megabits:.1}") }
}

/// A part of a whole.
fn percent(part: f64) -> String {
    format!("{:.1}%", 100.0 * part)
}

/// 1,234,567.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The service gap, if it was long enough to be seen.
fn service_gap(run: &Migration) -> String {
    let is_seen = run.losses.is_some() || run.service_gap_ms > 0.0;
    if is_seen { duration(run.service_gap_ms) } else { "none seen".into() }
}

/// A length of time, in milliseconds up to a second and in seconds beyond.
fn duration(ms: f64) -> String {
    if ms < 999.5 { format!("{ms:.0} ms") } else { format!("{:.2} s", ms / 1000.0) }
}

#[cfg(test)]
mod tests;

//! What marking costs on this machine's processor.

use anyhow::{Context, Result};
use serde_json::Value;

/// The figures, as the benchmark of the DMA layer names them.
const FIGURES: [(&str, &str); 7] = [
    ("frame_received_unmarked", "a frame received, not marked"),
    ("frame_received_marked", "a frame received and marked"),
    ("frame_received_unmarked_out_of_cache", "not marked, out of cache"),
    ("frame_received_marked_out_of_cache", "and marked, out of cache"),
    ("mark_per_page", "a mark, per 4 KiB page"),
    ("mark_per_page_out_of_cache", "a mark out of cache, per page"),
    ("catch_up_per_page", "catch-up, per page (2 slots)"),
];

/// Measures, and prints a table.
///
/// # Errors
/// The benchmark does not build or run.
pub fn run() -> Result<Value> {
    let figures = super::figures("unikernel", "dma", "Measuring the DMA layer")?;
    for (name, title) in FIGURES {
        let part = |unit: &str| figures[name][unit].as_f64().with_context(|| name.to_owned());
        println!("{title:<32}{:>10.2} ns{:>10.1} cycles", part("ns")?, part("cycles")?);
    }
    println!();
    Ok(figures)
}

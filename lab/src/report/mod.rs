//! A result for people: a table on the terminal, a plot, and a page with both.

mod comparison;
mod format;
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

/// Writes `result.json`, `throughput.svg` and `index.html` into `directory`. Returns the path of
/// the page.
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

#[cfg(test)]
mod tests;

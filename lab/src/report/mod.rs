//! A result for people: a table on the terminal, a plot, and a page with both.

mod comparison;
mod delays;
mod format;
mod page;
mod pair;
mod place;
mod plot;
mod series;
mod table;
mod words;

pub use pair::{page_of_two, side_by_side};
pub use place::Place;
pub use table::table;

use crate::result::Migration;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Writes `result.json`, the plots and `index.html` there. Returns the path of the page.
pub fn write(place: &Place, result: &Migration) -> Result<PathBuf> {
    let put = |name: &str, content: String| {
        let path = place.directory().join(name);
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        Ok::<_, anyhow::Error>(path)
    };
    write_json(&place.directory().join(place::RESULT), result)?;
    put(place::PLOT, plot::svg(result)?)?;
    if let Some(second) = &result.second {
        put(place::SECOND_PLOT, plot::svg(second)?)?;
    }
    if let Some(zoom) = plot::zoom(result)? {
        put(place::GAP_PLOT, zoom)?;
    }
    put(place::PAGE, page::html(result, &place.files())?)
}

/// Writes the result alone.
pub fn write_json(path: &Path, result: &Migration) -> Result<()> {
    let mut text = serde_json::to_string_pretty(result)?;
    text.push('\n');
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests;

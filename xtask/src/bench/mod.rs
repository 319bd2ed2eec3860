//! `cargo xtask bench`: measurements, and comparisons with others. They judge nothing: on a machine that does other work as
//! well, absolute figures mean little, and ratios of runs that take turns are what to look at.

mod dma;
mod nic;
mod rounds;
mod systems;
mod udp;

use std::{fs, process::ExitCode};

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use crate::cli::{Bench, BenchName};

pub(crate) fn main(options: &Bench) -> Result<ExitCode> {
    let all = [BenchName::Dma, BenchName::Nic];
    let names = if options.names.is_empty() { &all[..] } else { &options.names };
    let mut results = Map::new();
    for name in names {
        let (key, result) = match name {
            BenchName::Dma => ("dma", dma::run()?),
            BenchName::Nic => ("nic", nic::run(options)?),
        };
        results.insert(key.into(), result);
    }
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&Value::from(results))?;
        fs::write(path, text + "\n").with_context(|| path.display().to_string())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A figure with three digits that count, for people and for JSON.
fn rounded(value: f64) -> Value {
    json!((value * 1000.0).round() / 1000.0)
}

//! Measurements, and comparisons with others. They judge nothing: on a machine that does other work
//! as well, absolute figures mean little, and ratios of runs that take turns are what to look at.

pub mod dma;
pub mod instructions;
pub mod native;
pub mod nic;
mod rounds;
pub mod size;
mod systems;
mod udp;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{
    build::crates,
    system::{command, paths, progress::Step},
};

/// What a benchmark of a package prints in the end: its figures as JSON, in a line.
fn figures(package: &str, bench: &str, title: &str) -> Result<Value> {
    let step = Step::new(title);
    let mut cargo = crates::cargo();
    cargo.args(["bench", "--quiet", "--package", package, "--bench", bench]);
    let output = command::run(cargo.current_dir(paths::checkout()))?;
    let text = String::from_utf8(output.stdout)?;
    let line = text.lines().rfind(|line| line.starts_with('{')).context("no figures")?;
    let figures = serde_json::from_str(line).context("the figures are no JSON")?;
    step.finish("done");
    Ok(figures)
}

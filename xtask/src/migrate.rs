//! `cargo xtask migrate`.

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::cli::Migrate;

pub(crate) fn main(_options: &Migrate) -> Result<ExitCode> {
    bail!("`migrate` is not available yet")
}

//! `cargo xtask run`.

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::cli::Run;

pub(crate) fn main(_options: &Run) -> Result<ExitCode> {
    bail!("`run` is not available yet")
}

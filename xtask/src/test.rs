//! `cargo xtask test`.

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::cli::Test;

pub(crate) fn main(_options: &Test) -> Result<ExitCode> {
    bail!("`test` is not available yet")
}

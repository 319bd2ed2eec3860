//! `cargo xtask demo`.

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::cli::Demo;

pub(crate) fn main(_options: &Demo) -> Result<ExitCode> {
    bail!("`demo` is not available yet")
}

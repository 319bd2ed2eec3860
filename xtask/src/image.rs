//! `cargo xtask image`.

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::cli::Image;

pub(crate) fn main(_options: &Image) -> Result<ExitCode> {
    bail!("`image` is not available yet")
}

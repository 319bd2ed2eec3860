//! `cargo xtask doctor`.

use std::process::ExitCode;

use anyhow::{Result, bail};

pub(crate) fn main() -> Result<ExitCode> {
    bail!("`doctor` is not available yet")
}

//! `cargo xtask qemu`.

use std::process::ExitCode;

use anyhow::{Result, bail};

pub(crate) fn main() -> Result<ExitCode> {
    bail!("`qemu` is not available yet")
}

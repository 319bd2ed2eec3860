//! `cargo xtask qemu`.

use std::process::ExitCode;

use anyhow::Result;
use lab::build::qemu;

pub(crate) fn main() -> Result<ExitCode> {
    println!("{}", qemu::get()?.binary.display());
    Ok(ExitCode::SUCCESS)
}

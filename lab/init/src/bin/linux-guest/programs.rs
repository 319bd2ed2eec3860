//! The programs this system came with.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use lab_init::PROGRAMS;

/// Where one of them is.
pub(crate) fn program(name: &str) -> PathBuf {
    Path::new(PROGRAMS).join(name)
}

/// Runs `ip`.
pub(crate) fn ip(arguments: &[&str]) -> Result<()> {
    let status = Command::new(program("ip")).args(arguments).status().context("start ip")?;
    ensure!(status.success(), "`ip {}` failed ({status})", arguments.join(" "));
    Ok(())
}

/// Gives an interface its address, and the way to everybody else.
pub(crate) fn set_address(interface: &str, address: &str, gateway: Option<&str>) -> Result<()> {
    ip(&["addr", "add", address, "dev", interface])?;
    if let Some(gateway) = gateway {
        ip(&["route", "add", "default", "via", gateway])?;
    }
    Ok(())
}

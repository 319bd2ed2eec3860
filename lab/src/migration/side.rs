//! One side of a migration: a machine that is there, and how long it is waited for.

use super::machine::{Lab, Machine};
use crate::console::Console;
use crate::qmp::Qmp;
use anyhow::{Result, bail};
use std::time::Duration;

/// How long the guest may take to notice a change and act on it.
pub(super) const REACTION: Duration = Duration::from_secs(30);
/// Between two looks at a migration.
pub(super) const POLL: Duration = Duration::from_millis(20);

/// A machine with a guest.
pub(super) struct Side {
    pub(super) console: Console,
    pub(super) monitor: Qmp,
}

/// Fails if a machine's QEMU has ended, whose monitor would not answer.
pub(super) fn ensure_running(lab: &mut dyn Lab, machine: Machine) -> Result<()> {
    match lab.ended(machine) {
        None => Ok(()),
        Some(status) => bail!("the {machine}'s QEMU has ended ({status})"),
    }
}

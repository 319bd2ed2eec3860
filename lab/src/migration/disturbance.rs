//! What somebody else does to a migration while it goes on.

use super::machine::{Lab, Machine};
use crate::clock::Clock;
use crate::qmp::Qmp;
use anyhow::Result;

/// What there is to disturb.
pub struct Site<'s> {
    /// Both machines.
    pub lab: &'s mut dyn Lab,
    /// The monitor of the one that the guest is on.
    pub monitor: &'s mut Qmp,
    /// That one.
    pub home: Machine,
    /// What happens there goes by this.
    pub clock: &'s Clock,
}

/// Something done to a migration. What it fails in fails the migration's driver, not the migration.
pub trait Disturbance {
    /// Half-way through the warm-up.
    ///
    /// # Errors
    /// It cannot be done.
    fn in_warmup(&mut self, _site: &mut Site<'_>) -> Result<()> {
        Ok(())
    }

    /// The migration was cancelled or has failed: what would keep the guest from going on has to
    /// end.
    ///
    /// # Errors
    /// It cannot be done.
    fn when_given_up(&mut self, _site: &mut Site<'_>) -> Result<()> {
        Ok(())
    }
}

/// Nothing.
pub(super) struct Undisturbed;

impl Disturbance for Undisturbed {}

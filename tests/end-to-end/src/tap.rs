//! Guests on a tap device of this machine.

use std::{path::Path, process::Command};

use anyhow::{Result, bail};
use lab::{
    guest::{Guest, Net, READY, Wire, nic},
    parts::NicModel,
    system::command,
};

use crate::suite::Skipped;

/// A tap device, for as long as it is.
pub(crate) struct Tap(&'static str);

impl Tap {
    /// With this name, and this machine's address on it, as in `10.0.0.1/24`.
    pub(crate) fn new(name: &'static str, address: &str) -> Result<Self> {
        // What an earlier run has left.
        drop(Self(name));
        if !command::succeeds(&mut ip(&format!("tuntap add {name} mode tap")))? {
            bail!(Skipped("this user may make no tap device on this machine".into()));
        }
        let tap = Self(name);
        command::run(&mut ip(&format!("addr add {address} dev {name}")))?;
        command::run(&mut ip(&format!("link set {name} up")))?;
        Ok(tap)
    }

    /// A guest on it.
    pub(crate) fn boot(&self, log: &Path, append: &str) -> Result<Guest> {
        let wire = Wire::Netdev(nic::backend(&Net::Tap(self.0.into()), &[])?);
        let mut guest = Guest::boot_on(&wire, NicModel::E1000e, log, append, &[])?;
        guest.wait_for(READY)?;
        Ok(guest)
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        let _ = command::succeeds(&mut ip(&format!("tuntap del {} mode tap", self.0)));
    }
}

/// `ip` of iproute2 with these words.
pub(crate) fn ip(words: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(words.split(' '));
    command
}

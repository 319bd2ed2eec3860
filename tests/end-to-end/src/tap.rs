//! Guests on a tap device, in a network of its own.

use std::path::Path;

use anyhow::{Result, bail};
use lab::{
    guest::{Guest, NETDEV, READY, Wire},
    parts::NicModel,
    system::command,
};

use crate::{
    namespace::{Inside, Namespace, ip},
    suite::Skipped,
};

/// A tap device in a namespace, in which this thread is as long as it is.
pub(crate) struct Tap {
    name: &'static str,
    // Left before it goes.
    _inside: Inside,
    _namespace: Namespace,
}

impl Tap {
    /// With this name, as has the namespace, and this machine's address on it, as in `10.0.0.1/24`.
    pub(crate) fn new(name: &'static str, address: &str) -> Result<Self> {
        let namespace = Namespace::new(name)?;
        let inside = namespace.enter()?;
        if !command::succeeds(&mut ip(&format!("tuntap add {name} mode tap")))? {
            bail!(Skipped("this user may make no tap device on this machine".into()));
        }
        for words in [
            "link set lo up".into(),
            format!("addr add {address} dev {name}"),
            format!("link set {name} up"),
        ] {
            command::run(&mut ip(&words))?;
        }
        Ok(Self { name, _inside: inside, _namespace: namespace })
    }

    /// Has the device hold so many packets for the guest, instead of 1,000: what it drops, the
    /// guest has never seen.
    pub(crate) fn hold(&self, packets: usize) -> Result<()> {
        command::run(&mut ip(&format!("link set {} txqueuelen {packets}", self.name)))?;
        Ok(())
    }

    /// The netdev.
    pub(crate) fn netdev(&self) -> String {
        format!("tap,id={NETDEV},ifname={},script=no,downscript=no", self.name)
    }

    /// A guest on it.
    pub(crate) fn boot(&self, log: &Path, append: &str) -> Result<Guest> {
        let wire = Wire::Netdev(self.netdev());
        let mut guest = Guest::boot_on(&wire, NicModel::E1000e, log, append, &[])?;
        guest.wait_for(READY)?;
        Ok(guest)
    }
}

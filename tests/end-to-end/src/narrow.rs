//! A client behind a router whose link is narrower than the guest's.

use std::{fs, process::Command};

use anyhow::{Context, Result};
use lab::system::command;

use crate::namespace::{Namespace, ip};

const NEAR: &str = "godwit-near";
const FAR: &str = "godwit-far";
const MTU: &str = "1300";

/// The client's network. This thread's, in which `tap` leads to the guest, is the router's.
pub(crate) struct Narrow {
    pub(crate) space: Namespace,
    name: String,
}

impl Narrow {
    pub(crate) fn new(tap: &str) -> Result<Self> {
        let name = format!("{tap}-far");
        let space = Namespace::new(&name)?;
        for words in [
            format!("link add {NEAR} mtu {MTU} type veth peer name {FAR} mtu {MTU} netns {name}"),
            format!("addr add 10.85.0.1/24 dev {NEAR}"),
            format!("link set {NEAR} up"),
            format!("-n {name} addr add 10.85.0.2/24 dev {FAR}"),
            format!("-n {name} link set {FAR} up"),
            format!("-n {name} route add default via 10.85.0.1"),
        ] {
            command::run(&mut ip(&words))?;
        }
        for device in [tap, NEAR] {
            let forwarding = format!("/proc/sys/net/ipv4/conf/{device}/forwarding");
            fs::write(&forwarding, "1").with_context(|| forwarding)?;
        }
        Ok(Self { space, name })
    }

    /// A program of the client's.
    pub(crate) fn program(&self, name: &str) -> Command {
        ip(&format!("netns exec {} {name}", self.name))
    }
}

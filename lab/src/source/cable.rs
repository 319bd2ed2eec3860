//! A QEMU without a machine, for its network backends.

use crate::parts::{Qemu, escape};
use crate::system::process::Guard;
use anyhow::{Context, Result};
use std::path::Path;
use std::process::Stdio;

/// Which end of a stream netdev listens on its socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listens {
    /// QEMU does.
    Qemu,
    /// The other one does.
    Peer,
}

/// A netdev of that id that carries frames over the unix socket `path`, as `-netdev` takes it.
#[must_use]
pub fn stream(id: &str, path: &Path, listens: Listens) -> String {
    let server = if listens == Listens::Qemu { "on" } else { "off" };
    let path = escape(path);
    format!("stream,id={id},server={server},addr.type=unix,addr.path={path}")
}

/// The command line of a QEMU that is a cable between two netdevs of these ids.
pub(super) fn cable_line(qemu: &Qemu, ids: [&str; 2], netdevs: [&str; 2]) -> Vec<String> {
    let mut line = qemu.command_line();
    line.extend(["-M", "none", "-nodefaults", "-display", "none"].map(str::to_owned));
    for (id, netdev) in ids.iter().zip(netdevs) {
        // A hub with two ports.
        line.extend(["-netdev".into(), netdev.to_owned()]);
        line.extend(["-netdev".into(), format!("hubport,id=hub-{id},hubid=0,netdev={id}")]);
    }
    line
}

/// A QEMU without a machine, as a cable between two netdevs of these ids. It dies with the calling
/// thread.
///
/// # Errors
/// QEMU cannot be started.
pub fn cable(qemu: &Qemu, ids: [&str; 2], netdevs: [&str; 2]) -> Result<Guard> {
    let line = cable_line(qemu, ids, netdevs);
    let mut command = Guard::command(&line[0]);
    command.args(&line[1..]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Guard::spawn(&mut command).context("cannot start QEMU for its networks")
}

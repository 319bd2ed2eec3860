//! User-mode networking on the segment: how programs of this machine reach the guest.

use crate::parts::{Qemu, escape};
use crate::segment::{Segment, UnknownUnicast};
use crate::system::process::Guard;
use anyhow::{Context, Result};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;

/// A QEMU without a machine, for its slirp. `restrict` keeps the guest from reaching anything
/// through it.
pub struct Slirp {
    forwarded: SocketAddr,
    _qemu: Guard,
}

impl Slirp {
    /// Forwards a free TCP port of this machine to `port` of `guest`. `directory` is for its
    /// socket.
    ///
    /// It dies with the calling thread.
    pub fn start(
        qemu: &Qemu,
        segment: &Segment,
        directory: &Path,
        guest: Ipv4Addr,
        port: u16,
    ) -> Result<Self> {
        let socket = directory.join("slirp");
        segment.listen("slirp", &socket, UnknownUnicast::Block)?;
        let forwarded = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let forward = format!("tcp:127.0.0.1:{}-{guest}:{port}", forwarded.port());
        let user = format!("user,id=user,restrict=on,hostfwd={forward}");
        let stream = stream("port", &socket, Listens::Peer);
        Ok(Self { forwarded, _qemu: cable(qemu, ["user", "port"], [&user, &stream])? })
    }

    /// Where the guest's port is found on this machine.
    pub fn address(&self) -> SocketAddr {
        self.forwarded
    }
}

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

/// A QEMU without a machine, as a cable between two netdevs of these ids. It dies with the calling
/// thread.
///
/// # Errors
/// QEMU cannot be started.
pub fn cable(qemu: &Qemu, ids: [&str; 2], netdevs: [&str; 2]) -> Result<Guard> {
    let line = qemu.command_line();
    let mut command = Guard::command(&line[0]);
    command.args(&line[1..]).args(["-M", "none", "-nodefaults", "-display", "none"]);
    for (id, netdev) in ids.iter().zip(netdevs) {
        // A hub with two ports.
        command.args(["-netdev", netdev]);
        command.args(["-netdev", &format!("hubport,id=hub-{id},hubid=0,netdev={id}")]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Guard::spawn(&mut command).context("cannot start QEMU for its networks")
}

//! User-mode networking on the segment: how programs of this machine reach the guest.

use crate::parts::Qemu;
use crate::process::Guard;
use crate::segment::{Segment, UnknownUnicast};
use anyhow::{Context, Result};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;

/// A QEMU without a machine, for its slirp. `restrict` keeps the guest from reaching anything through it.
pub struct Slirp {
    forwarded: SocketAddr,
    _qemu: Guard,
}

impl Slirp {
    /// Forwards a free TCP port of this machine to `port` of `guest`. `directory` is for its socket.
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
        let line = qemu.command_line();
        let child = Guard::spawn(
            Guard::command(&line[0])
                .args(&line[1..])
                .args(["-M", "none", "-nodefaults", "-display", "none"])
                .args(["-netdev", &format!("user,id=user,restrict=on,hostfwd={forward}")])
                .arg("-netdev")
                .arg(format!(
                    "stream,id=port,server=off,addr.type=unix,addr.path={}",
                    socket.display()
                ))
                // A hub with two ports: a cable between two netdevs.
                .args(["-netdev", "hubport,id=hub1,hubid=0,netdev=user"])
                .args(["-netdev", "hubport,id=hub2,hubid=0,netdev=port"])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        );
        Ok(Self { forwarded, _qemu: child.context("cannot start QEMU for its user-mode network")? })
    }

    /// Where the guest's port is found on this machine.
    pub fn address(&self) -> SocketAddr {
        self.forwarded
    }
}

//! The network, whose NIC may come and go: what is done about it, and what is said of it on the
//! console, in Godwit's words, which those rely on who migrate either.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use crate::programs::{ip, set_address};

const INTERFACES: &str = "/sys/class/net";
/// `RTMGRP_LINK` of Linux' include/uapi/linux/rtnetlink.h: interfaces that come, go or change.
const LINKS: u32 = 1;
/// The driver of a standby. Linux makes a third interface of a NIC and its standby, which has the
/// address (Linux Documentation/networking/net_failover.rst).
const STANDBY: &str = "virtio_net";

/// Says when interfaces come, go or change.
pub(crate) struct Changes(Socket);

impl Changes {
    pub(crate) fn listen() -> Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, LINKS))?;
        Ok(Self(socket))
    }

    /// Waits for the next one. What it was is looked up, so one that is lost costs nothing where
    /// another follows.
    fn wait(&self) {
        let _ = self.0.recv_from_full();
    }
}

/// An interface with a device below it.
pub(crate) struct Interface(PathBuf);

impl Interface {
    fn all() -> impl Iterator<Item = Self> {
        let entries = fs::read_dir(INTERFACES).into_iter().flatten().flatten();
        let interfaces = entries.map(|entry| Self(entry.path()));
        interfaces.filter(|interface| interface.0.join("device").exists())
    }

    /// The one to be used: no part of another.
    pub(crate) fn to_use() -> Option<Self> {
        Self::all().find(|interface| !interface.is_part())
    }

    fn is_part(&self) -> bool {
        self.0.join("master").exists()
    }

    fn take(&self, address: &str, gateway: Option<&str>) -> Result<()> {
        ip(&["link", "set", self.name()?, "up"])?;
        set_address(self.name()?, address, gateway)
    }

    pub(crate) fn name(&self) -> Result<&str> {
        self.0.file_name().and_then(|name| name.to_str()).context("interface name")
    }

    pub(crate) fn driver(&self) -> Result<String> {
        let driver = fs::read_link(self.0.join("device/driver")).context("driver")?;
        Ok(driver.file_name().context("driver name")?.display().to_string())
    }

    fn index(&self) -> Option<String> {
        self.attribute("ifindex")
    }

    pub(crate) fn has_link(&self) -> bool {
        self.attribute("carrier").is_some_and(|carrier| carrier == "1")
    }

    fn attribute(&self, name: &str) -> Option<String> {
        let value = fs::read_to_string(self.0.join(name)).ok()?;
        Some(value.trim_end().into())
    }
}

/// Looks after the network for ever. `address` is that of the interface in use, which another one
/// that takes its place is given.
pub(crate) fn attend(changes: &Changes, address: &str, gateway: Option<&str>) {
    let mut used = Interface::to_use().and_then(|interface| interface.index());
    let mut attached = None;
    loop {
        let is_there = Interface::all().any(|interface| interface.index() == used);
        if let (false, Some(interface)) = (is_there, Interface::to_use()) {
            match interface.take(address, gateway) {
                Ok(()) => used = interface.index(),
                // It may be about to go; that it has gone is heard next.
                Err(error) => println!("linux: not in use: {error:#}"),
            }
        }
        let drivers = || Interface::all().filter(Interface::has_link).flat_map(|nic| nic.driver());
        let nic = drivers().find(|driver| driver != STANDBY);
        if nic != attached {
            let standby = drivers().find(|driver| driver == STANDBY);
            match &nic {
                Some(driver) => println!("nic: attached {driver}"),
                None => println!("nic: detached"),
            }
            if let (Some(_), in_use) = (&standby, nic.as_deref().unwrap_or("virtio")) {
                println!("nic: now using {in_use}");
            }
            attached = nic;
        }
        changes.wait();
    }
}

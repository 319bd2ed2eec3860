//! The two systems that are compared, on the same machine with the same NIC.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{
    addresses::{GATEWAY, GUEST},
    build::{application, qemu},
    guest::{
        self, AttachedNic, Guest, Wire,
        linux::{self, LinuxGuest},
        machine,
    },
    parts::{Accelerator, NicModel, Qemu},
};

const MEMORY_MIB: u32 = 128;

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum System {
    Godwit,
    Linux,
}

impl System {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Godwit => "godwit",
            Self::Linux => "linux",
        }
    }
}

/// Everything to boot either.
pub(super) struct Systems {
    qemu: Qemu,
    image: PathBuf,
    linux: LinuxGuest,
    logs: PathBuf,
}

impl Systems {
    pub(super) fn prepare(kernel: Option<&Path>, logs: &Path) -> Result<Self> {
        std::fs::create_dir_all(logs).with_context(|| logs.display().to_string())?;
        Ok(Self {
            qemu: qemu::get()?,
            image: application::ours()?,
            linux: LinuxGuest::prepare(kernel)?,
            logs: logs.into(),
        })
    }

    /// QEMU's and Linux's version.
    pub(super) fn versions(&self) -> (String, String) {
        let name = |path: &Path| path.file_name().unwrap_or_default().display().to_string();
        let version = std::process::Command::new(&self.qemu.binary).arg("--version").output();
        let version = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        let version = version.unwrap_or_default();
        let version = version.lines().next().unwrap_or_default().to_owned();
        (version, name(&self.linux.kernel.image).replace("vmlinuz-", ""))
    }

    /// Boots `system` until it serves; returns how long that took as well.
    pub(super) fn boot(
        &self,
        system: System,
        nic: NicModel,
        wire: &Wire<'_>,
    ) -> Result<(Guest, Duration)> {
        let address = format!("{}/24", GUEST.ip);
        let qemu = &self.qemu;
        let (line, memory, ready) = match system {
            System::Godwit => {
                let append = format!("ip={address} gw={GATEWAY}");
                let line =
                    machine::command_line(qemu, Accelerator::Tcg, MEMORY_MIB, &self.image, &append);
                (line, MEMORY_MIB, guest::READY)
            }
            System::Linux => {
                let line =
                    self.linux.command_line(qemu, Accelerator::Tcg, &address, &GATEWAY.to_string());
                (line, linux::MEMORY_MIB, linux::READY)
            }
        };
        let nic_options = AttachedNic::emulated(nic, wire, memory)?;
        let log = self.logs.join(format!("{nic}-{}.log", system.name()));
        let started = Instant::now();
        let mut guest = Guest::start(line, Some(nic_options), &log)?;
        let said = guest.wait_for(ready).with_context(|| log.display().to_string())?;
        if !said.contains(&GUEST.ip.to_string()) {
            bail!("{}: {said}", log.display());
        }
        Ok((guest, started.elapsed()))
    }
}

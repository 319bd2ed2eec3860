//! The process that is a machine's 82599 (crate `ixgbe-model`).

use super::memory::PAGE;
use crate::parts::NicModel;
use crate::system::process::Guard;
use anyhow::{Context, Result, bail};
use ixgbe_model::control::{Client, Command};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// How long it may take to be there.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running model of an 82599. It dies with the thread that started it.
#[derive(Debug)]
pub struct Model {
    _process: Guard,
    control: PathBuf,
}

impl Model {
    /// Starts `program`. QEMU finds the device at the unix socket `vfio`; its wire is at the
    /// listening one `wire`, in the framing of `-netdev stream`. What it says is written to `log`.
    ///
    /// # Errors
    /// It ended at once, or does not listen in time: what it said is in the error.
    pub fn start(
        program: &Path,
        nic: NicModel,
        vfio: &Path,
        wire: &Path,
        mac: &str,
        log: &Path,
    ) -> Result<Self> {
        let control = vfio.with_extension("control");
        for socket in [vfio, &control] {
            // Left by the one before.
            let _ = fs::remove_file(socket);
        }
        let output = File::create(log).with_context(|| log.display().to_string())?;
        let mut process = Guard::spawn(
            Guard::command(program)
                .arg("--socket")
                .arg(vfio)
                .arg("--connect")
                .arg(wire)
                .arg("--control")
                .arg(&control)
                .args(["--mac", mac])
                .args((nic == NicModel::Ixgbevf).then_some("--virtual-function"))
                .stdin(Stdio::null())
                .stdout(output.try_clone()?)
                .stderr(output),
        )
        .with_context(|| program.display().to_string())?;
        let deadline = Instant::now() + PATIENCE;
        while !vfio.exists() {
            if let Some(status) = process.try_wait()? {
                let said = fs::read_to_string(log).unwrap_or_default();
                bail!("the model of the 82599 ended ({status}): {}", said.trim_end());
            }
            if Instant::now() > deadline {
                bail!("the model of the 82599 did not come up within {} s", PATIENCE.as_secs());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(Self { _process: process, control })
    }

    /// Numbers of the pages it has written since it was started, in order.
    ///
    /// # Errors
    /// It does not answer.
    pub fn pages_written(&self) -> Result<impl Iterator<Item = u64>> {
        let reply = Client::connect(&self.control)?.send(&Command::Record)?;
        let record = reply.record.context("the model of the 82599 has no record")?;
        let page = PAGE as u64;
        Ok(record.into_iter().flat_map(move |run| run.iova / page..run.iova / page + run.pages))
    }

    /// Plugs or pulls its cable.
    ///
    /// # Errors
    /// It does not answer.
    pub fn set_link(&self, up: bool) -> Result<()> {
        let command = Command::Cable { plugged: up };
        Client::connect(&self.control)?.send(&command).map(drop)
    }
}

//! The machine a result was measured on.

use crate::choices::{ClockKind, QemuKind};
use serde::{Deserialize, Serialize};
use std::fs;

/// Why a lab was started over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crash {
    /// Whose fault it was.
    pub cause: CrashCause,
    /// What was seen of it.
    pub what: String,
}

/// Whose fault it was that a lab was started over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CrashCause {
    /// The host's kernel said that it crashed, in a thread that is no machine's.
    Host,
    /// It said so in a thread of a machine, or not in which: the guest may have had a hand in it.
    HostForMachine,
    /// The host did not answer any more.
    HostSilent,
    /// A guest's processor was reset, and the guest had said nothing that leads to it.
    GuestReset,
}

/// What of a machine bears on its results.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// Model of its processor.
    pub processor: String,
    /// How many of them.
    pub processors: usize,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Release of its kernel.
    pub kernel: String,
    /// Which kind of QEMU ran the two machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qemu_kind: Option<QemuKind>,
    /// Version of that QEMU.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub qemu: String,
    /// Kernel of the lab's host.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host_kernel: String,
    /// What carries out the lab host's instructions: `tcg` or `kvm`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub lab_accelerator: String,
    /// Whose time the figures are in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lab_clock: Option<ClockKind>,
    /// How often the lab was started over because its host crashed under emulation.
    #[serde(default)]
    pub lab_restarts: u32,
    /// What crashed each time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lab_crashes: Vec<Crash>,
    /// The share of its processors' time that went to others while this was measured, be it other
    /// programs or, with what they steal, other machines on the same hardware. More than a few
    /// hundredths, and the figures tell about them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_by_others: Option<f64>,
    /// What the guest and the tool were built of: a commit, with `-dirty` where files differ from
    /// it. Empty outside of a repository.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub revision: String,
    /// What that QEMU was built of, where it is the patched one: a digest of its version, the
    /// patches and the recipe.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub patches: String,
    /// The command that was run.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub command: String,
    /// Seconds since 1970.
    #[serde(default)]
    pub unix_time: u64,
}

impl Facts {
    /// Adds what the lab was started over for, in this run or in one that goes with it.
    pub fn note_crashes(&mut self, crashes: Vec<Crash>) {
        self.lab_crashes.extend(crashes);
        self.lab_restarts = self.lab_crashes.len() as u32;
    }

    /// What this machine says of itself; what it does not say is left empty.
    pub fn of_this_machine() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        let kib: u64 = memory.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self {
            processor: field(&read("/proc/cpuinfo"), "model name"),
            processors: std::thread::available_parallelism().map_or(0, |n| n.get()),
            memory_mib: kib / 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().into(),
            unix_time: now.unwrap_or_default().as_secs(),
            ..Self::default()
        }
    }
}

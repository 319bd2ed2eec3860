//! The machine a result was measured on.

use serde::{Deserialize, Serialize};
use std::fs;

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
    /// Version of QEMU.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub qemu: String,
    /// Kernel of the lab's host.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host_kernel: String,
    /// What carries out the lab host's instructions: `tcg` or `kvm`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub lab_accelerator: String,
    /// How often the lab was started over because its host crashed under emulation.
    #[serde(default)]
    pub lab_restarts: u32,
    /// The command that was run.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub command: String,
    /// Seconds since 1970.
    #[serde(default)]
    pub unix_time: u64,
}

impl Facts {
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

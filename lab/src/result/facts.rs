//! The machine a result was measured on.

use crate::choices::ClockKind;
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
    /// Whose time the figures are in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lab_clock: Option<ClockKind>,
    /// How often the lab was started over because its host crashed under emulation.
    #[serde(default)]
    pub lab_restarts: u32,
    /// The share of its processors' time that went to others while this was measured, be it other
    /// programs or, with what they steal, other machines on the same hardware. More than a few
    /// hundredths, and the figures tell about them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_by_others: Option<f64>,
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

/// Processor time since the machine started, in the ticks of proc(5).
#[derive(Clone, Copy, Debug)]
pub struct ProcessorTime {
    /// Of all processors, idle or not.
    all: u64,
    /// Of these, not idle, or stolen.
    busy: u64,
    /// Of these, spent by this process and those of its children that have ended.
    own: u64,
}

impl ProcessorTime {
    /// Until now; `None` where proc(5) does not say.
    pub fn now() -> Option<Self> {
        let machine = fs::read_to_string("/proc/stat").ok()?;
        let process = fs::read_to_string("/proc/self/stat").ok()?;
        Self::parse(&machine, &process)
    }

    fn parse(machine: &str, process: &str) -> Option<Self> {
        let numbers = |text: &str| -> Option<Vec<u64>> {
            text.split_ascii_whitespace().map(|word| word.parse().ok()).collect()
        };
        // user nice system idle iowait irq softirq steal; guest time, which follows, is in user
        // time.
        let columns = numbers(machine.lines().next()?.strip_prefix("cpu ")?)?;
        let all = columns.get(..8)?.iter().sum();
        let busy = all - columns[3] - columns[4];
        // The name, in parentheses, may hold anything. utime stime cutime cstime are the fields 14
        // to 17, the state is the third.
        let fields: Vec<&str> = process.rsplit_once(") ")?.1.split_ascii_whitespace().collect();
        let own = numbers(&fields.get(11..15)?.join(" "))?.iter().sum();
        Some(Self { all, busy, own })
    }

    /// The share of the time since `earlier` that others had.
    pub fn others_since(self, earlier: Self) -> f64 {
        // Counters of proc(5) may go back a little.
        let own = self.own.saturating_sub(earlier.own);
        let busy = self.busy.saturating_sub(earlier.busy).saturating_sub(own);
        busy as f64 / self.all.saturating_sub(earlier.all).max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_took_is_neither_idle_nor_ours() {
        let process = |own| format!("7 (a) b) R 1 7 7 0 -1 0 0 0 0 0 {own} 30 4 6 20 0 1 0 9");
        let parse = |machine, own| ProcessorTime::parse(machine, &process(own)).unwrap();
        let earlier = parse("cpu  100 10 20 500 5 1 2 3 0 0\ncpu0 1 2", 60);
        let later = parse("cpu  180 10 40 560 25 1 2 23 0 0\ncpu0 1 2", 140);
        // 200 ticks: 80 idle, 80 ours, 20 stolen, 20 somebody else's.
        assert_eq!(later.others_since(earlier), 0.2);
        assert!(ProcessorTime::parse("intr 1", &process(1)).is_none());
        assert!(ProcessorTime::now().is_some());
    }
}

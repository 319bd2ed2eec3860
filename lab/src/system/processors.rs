//! Whose this machine's processors are: this program's, nobody's, or somebody else's.

use std::fs;

use super::process::descendants;

/// Processor time since the machine started, in the ticks of proc(5).
#[derive(Clone, Copy, Debug)]
pub struct ProcessorTime {
    /// Of all processors, idle or not.
    all: u64,
    /// Of these, not idle, or stolen.
    busy: u64,
    /// Of these, spent by this process and all that it started.
    own: u64,
}

impl ProcessorTime {
    /// Until now; `None` where proc(5) does not say.
    pub fn now() -> Option<Self> {
        let machine = fs::read_to_string("/proc/stat").ok()?;
        let mut own = spent(&fs::read_to_string("/proc/self/stat").ok()?)?;
        // Those that have ended are in the account of whoever waited for them.
        own += descendants().ok()?.iter().filter_map(|child| spent(&child.stat)).sum::<u64>();
        Self::parse(&machine, own)
    }

    fn parse(machine: &str, own: u64) -> Option<Self> {
        // user nice system idle iowait irq softirq steal; guest time, which follows, is in user
        // time.
        let columns = numbers(machine.lines().next()?.strip_prefix("cpu ")?)?;
        let all = columns.get(..8)?.iter().sum();
        let busy = all - columns[3] - columns[4];
        Some(Self { all, busy, own })
    }

    /// The share of the time since `earlier` that others had; `None` if none has passed.
    pub fn others_since(self, earlier: Self) -> Option<f64> {
        let all = self.all.checked_sub(earlier.all).filter(|ticks| *ticks > 0)?;
        // Counters of proc(5) may go back a little.
        let own = self.own.saturating_sub(earlier.own);
        let busy = self.busy.saturating_sub(earlier.busy).saturating_sub(own);
        Some(busy as f64 / all as f64)
    }
}

/// What a process and those it has waited for have spent, by its stat (proc(5)).
fn spent(stat: &str) -> Option<u64> {
    // The name, in parentheses, may hold anything. utime stime cutime cstime are the fields 14 to
    // 17, the state is the third.
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split_ascii_whitespace().collect();
    Some(numbers(&fields.get(11..15)?.join(" "))?.iter().sum())
}

fn numbers(text: &str) -> Option<Vec<u64>> {
    text.split_ascii_whitespace().map(|word| word.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::{
        process::Command,
        time::{Duration, Instant},
    };

    use super::*;

    #[test]
    fn what_others_took_is_neither_idle_nor_ours() {
        let process = |own| format!("7 (a) b) R 1 7 7 0 -1 0 0 0 0 0 {own} 30 4 6 20 0 1 0 9");
        let parse =
            |machine, own| ProcessorTime::parse(machine, spent(&process(own)).unwrap()).unwrap();
        let earlier = parse("cpu  100 10 20 500 5 1 2 3 0 0\ncpu0 1 2", 60);
        let later = parse("cpu  180 10 40 560 25 1 2 23 0 0\ncpu0 1 2", 140);
        // 200 ticks: 80 idle, 80 ours, 20 stolen, 20 somebody else's.
        assert_eq!(later.others_since(earlier), Some(0.2));
        assert_eq!(earlier.others_since(earlier), None);
        assert!(ProcessorTime::parse("intr 1", 1).is_none());
    }

    /// Of a child as long as it runs, too: a migration's QEMUs have not ended when it is measured.
    #[test]
    fn what_a_child_spends_is_ours() {
        let own = || ProcessorTime::now().unwrap().own;
        let before = own();
        let mut child = Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while own() < before + 20 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
        }
        let grown = own() - before;
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(grown >= 20, "{grown} ticks");
    }
}

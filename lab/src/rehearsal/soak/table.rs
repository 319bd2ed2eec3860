//! A soak for people.

use std::fmt;

use super::{Round, Soak};

/// As the table begins.
const HEAD: &str = "\
|  # | from        | event                   | outcome   | downtime | gap      | lost  \
| stale of checked | echoed | slots | heap |\n|---|---|---|---|---|---|---|---|---|---|---|\n";

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome = format!("{:?}", self.outcome).to_lowercase();
        let downtime = self.downtime_ms.map_or("–".into(), |ms| format!("{ms} ms"));
        let gap = match self.lost {
            0 => "–".into(),
            _ => format!("{:.0} ms", self.service_gap_ms),
        };
        let check = self.stale.zip(self.checked);
        let check = check.map_or("–".into(), |(stale, checked)| format!("{stale} of {checked}"));
        write!(
            f,
            "| {:>2} | {:<11} | {:<23} | {outcome:<9} | {downtime:>8} | {gap:>8} | {:>5} | \
             {check:>16} | {:>3} MB | {:>5} | {:>4} KiB |",
            self.number,
            self.from,
            self.event,
            self.lost,
            self.returned / 1_000_000,
            self.slots_used,
            self.heap_used >> 10
        )?;
        self.faults.iter().try_for_each(|fault| write!(f, " **{fault}**"))
    }
}

/// All of it in Markdown, with what it was made of.
#[must_use]
pub fn table(soak: &Soak) -> String {
    let rounds: String = soak.rounds.iter().map(|round| format!("{round}\n")).collect();
    let good = soak.rounds.iter().filter(|round| round.faults.is_empty()).count();
    let mut text = format!(
        "{HEAD}{rounds}\nseed {}, {} in the {:?} lab, revision {}: {good} of {} migrations as they \
         should be",
        soak.seed, soak.nic, soak.lab, soak.facts.revision, soak.migrations
    );
    if let Some(transfer) = &soak.transfer {
        text += &format!(", {} bytes there and back over one connection", transfer.bytes);
    }
    if let Some(error) = &soak.error {
        text += &format!("\n**{error}**");
    }
    text
}

//! Whether a guest is as it should be after a migration.

use std::{thread, time::Duration};

use anyhow::Result;

use super::{client::Counts, event::Event};
use crate::{choices::Marking, migration::Outcome, result::Migration};

/// Until the guest is looked at: what the NIC still had to send is buffers too.
const LOOK: Duration = Duration::from_millis(500);
/// For connections that were closed to be forgotten: what each look leaves behind itself for ten
/// seconds (TIME-WAIT), so that looking more often would never find less.
const FORGOTTEN: Duration = Duration::from_secs(11);
/// Looks with that between them.
const LOOKS: u32 = 3;
/// Bytes that the heap may be above its level when nobody has asked anything for that long.
const SLACK: u64 = 16 << 10;
/// The same after a migration: those who asked around the one before may not be forgotten yet. A
/// connection to the status page is 37 KiB.
const LINGERING: u64 = 5 * (38 << 10);

/// What there is to judge.
pub(super) struct Seen<'m> {
    pub(super) event: Event,
    pub(super) migration: &'m Migration,
    pub(super) marking: Marking,
}

/// Remembers what was before.
pub(super) struct Judge {
    /// From before the first migration.
    level: Counts,
    /// From after the last one.
    last: Counts,
    /// Migrations that completed.
    completed: u64,
}

impl Judge {
    /// Of a guest that has been asked nothing before.
    pub(super) fn new(count: impl FnMut() -> Result<Counts>) -> Result<Self> {
        let mut count = count;
        // The first answer may make what is then kept.
        count()?;
        thread::sleep(FORGOTTEN);
        let level = count()?;
        Ok(Self { last: level.clone(), level, completed: 0 })
    }

    /// What is wrong after a migration. `count` asks the guest, more than once if it has not come
    /// to rest yet.
    pub(super) fn judge(
        &mut self,
        seen: &Seen<'_>,
        mut count: impl FnMut() -> Result<Counts>,
    ) -> Result<(Counts, Vec<String>)> {
        let mut faults = of_migration(seen);
        self.completed += u64::from(seen.migration.outcome == Outcome::Completed);
        thread::sleep(LOOK);
        let mut counts = count()?;
        let heard = hears_of_it(seen.migration);
        let mut more = self.of_counts(&counts, LINGERING, heard);
        for _ in 1..LOOKS {
            if more.is_empty() {
                break;
            }
            thread::sleep(FORGOTTEN);
            counts = count()?;
            more = self.of_counts(&counts, SLACK, heard);
        }
        faults.extend(more);
        self.last = counts.clone();
        Ok((counts, faults))
    }

    /// What is wrong in the end, after all migrations, when nobody has asked for long: a little
    /// that each of them left behind would have come to more.
    pub(super) fn in_the_end(
        &mut self,
        mut count: impl FnMut() -> Result<Counts>,
    ) -> Result<Vec<String>> {
        thread::sleep(FORGOTTEN);
        // Nothing has happened since the last look.
        Ok(self.of_counts(&count()?, SLACK, false))
    }

    /// `heard` is whether there was a migration that the guest heard of.
    fn of_counts(&self, counts: &Counts, slack: u64, heard: bool) -> Vec<String> {
        let mut faults = counts.contradictions.clone();
        let mut unless = |is_right: bool, what: String| {
            if !is_right {
                faults.push(what);
            }
        };
        unless(counts.is_idle, "it marks, or believes in a log, with no migration".into());
        let (moves, completed) = (counts.moves, self.completed);
        unless(moves == completed, format!("it counts {moves} moves of {completed}"));
        let (now, then) = (counts.slots_used, self.level.slots_used);
        unless(now == then, format!("{now} slots are in use, and {then} were at first"));
        let (now, then) = (counts.heap_used, self.level.heap_used);
        let has_grown = now > then + slack;
        unless(!has_grown, format!("{now} bytes of heap are in use, and {then} were at first"));
        let (now, then) = (counts.rising, self.last.rising);
        let fell = now.iter().zip(then).any(|(now, then)| *now < then);
        unless(!fell, format!("counters are {now:?}, and were {then:?}"));
        let (now, then) = (counts.epoch, self.last.epoch);
        let is_right = if heard { now > then } else { now >= then };
        unless(is_right, format!("EPOCH is {now}, and was {then}"));
        faults
    }
}

/// Whether the hypervisor's log was on: a migration may be cancelled before that.
fn hears_of_it(migration: &Migration) -> bool {
    migration.outcome != Outcome::Cancelled || migration.integrity.check().is_some()
}

fn of_migration(seen: &Seen<'_>) -> Vec<String> {
    let Seen { event, migration, marking } = seen;
    let mut faults = Vec::new();
    let expected = event.expected();
    if migration.outcome != expected {
        let why = migration.error.as_deref().unwrap_or("no error");
        faults.push(format!("{:?} in place of {expected:?}: {why}", migration.outcome));
    }
    match migration.integrity.check() {
        Some((0, 1..)) => {}
        Some((stale, checked)) => faults.push(format!("{stale} of {checked} stale")),
        None if migration.outcome == Outcome::Completed => faults.push("no check".into()),
        None => {}
    }
    let integrity = &migration.integrity;
    if integrity.memory_differing.is_some_and(|pages| pages > 0) {
        faults.push(format!("{:?} pages of memory differ", integrity.memory_differing));
    }
    let losses = migration.losses.unwrap_or_default();
    if losses.duplicates > 0 {
        faults.push(format!("{} datagrams came twice", losses.duplicates));
    }
    if *marking == Marking::Auto && migration.dma.pages_marked_before.is_some_and(|n| n > 0) {
        faults.push("pages were marked while nobody logged".into());
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts() -> Counts {
        Counts {
            slots_used: 300,
            heap_used: 500_000,
            rising: [10, 10, 10, 10],
            moves: 0,
            epoch: 1,
            is_idle: true,
            contradictions: Vec::new(),
        }
    }

    #[test]
    fn a_guest_that_is_as_it_was_has_no_fault_and_each_difference_is_one() {
        let judge = Judge { level: counts(), last: counts(), completed: 0 };
        let after = Counts { epoch: 3, rising: [11, 11, 10, 10], ..counts() };
        assert_eq!(judge.of_counts(&after, SLACK, true), Vec::<String>::new());
        // Of what was cancelled at once it has not heard. That cannot take an EPOCH back.
        let unheard = Counts { epoch: 1, ..after.clone() };
        assert_eq!(judge.of_counts(&unheard, SLACK, false), Vec::<String>::new());
        let earlier = Counts { epoch: 0, ..after.clone() };
        assert_eq!(judge.of_counts(&earlier, SLACK, false).len(), 1);
        let wrong = [
            Counts { slots_used: 301, ..after.clone() },
            Counts { slots_used: 299, ..after.clone() },
            Counts { heap_used: 500_001 + SLACK, ..after.clone() },
            Counts { rising: [11, 11, 10, 9], ..after.clone() },
            Counts { moves: 1, ..after.clone() },
            Counts { epoch: 1, ..after.clone() },
            Counts { is_idle: false, ..after.clone() },
            Counts { contradictions: vec!["x".into()], ..after },
        ];
        for counts in wrong {
            assert_eq!(judge.of_counts(&counts, SLACK, true).len(), 1, "{counts:?}");
        }
    }
}

//! What the plugin has counted (`lab/instructions`).

use std::{
    collections::HashMap,
    io::{Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
};

use anyhow::{Context, Result};

/// How often the instruction at each address was executed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Counts(HashMap<u64, u64>);

impl Counts {
    /// What was executed since `before`.
    pub(super) fn since(&self, before: &Self) -> Self {
        let old = |address| before.0.get(&address).copied().unwrap_or(0);
        Self(self.0.iter().map(|(&at, &count)| (at, count.saturating_sub(old(at)))).collect())
    }

    pub(super) fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// Those of addresses of which this is true, and the sum of the others.
    pub(super) fn split(&self, is_one: impl Fn(u64) -> bool) -> (Vec<(u64, i64)>, u64) {
        let (ours, others): (Vec<_>, Vec<_>) = self.0.iter().partition(|(at, _)| is_one(**at));
        let ours = ours.into_iter().map(|(&at, &count)| (at, count as i64)).collect();
        (ours, others.into_iter().map(|(_, count)| count).sum())
    }

    /// Each address, with how often more it was executed than in `other`: less, if negative.
    pub(super) fn over(&self, other: &Self) -> Vec<(u64, i64)> {
        let mut all: HashMap<u64, i64> =
            self.0.iter().map(|(&at, &count)| (at, count as i64)).collect();
        for (&at, &count) in &other.0 {
            *all.entry(at).or_default() -= count as i64;
        }
        all.into_iter().filter(|(_, count)| *count != 0).collect()
    }
}

/// Where the plugin will connect to.
pub(super) struct Listener(UnixListener);

impl Listener {
    pub(super) fn new(path: &Path) -> Result<Self> {
        Ok(Self(UnixListener::bind(path).with_context(|| path.display().to_string())?))
    }

    /// The plugin of a machine that runs.
    pub(super) fn accept(self) -> Result<Counter> {
        Ok(Counter(self.0.accept()?.0))
    }
}

/// A running machine's plugin.
pub(super) struct Counter(UnixStream);

impl Counter {
    /// What was executed since the machine began.
    pub(super) fn now(&mut self) -> Result<Counts> {
        self.0.write_all(&[0])?;
        let number = self.word()?;
        let mut counts = HashMap::new();
        for _ in 0..number {
            counts.insert(self.word()?, self.word()?);
        }
        Ok(Counts(counts))
    }

    fn word(&mut self) -> Result<u64> {
        let mut bytes = [0; 8];
        self.0.read_exact(&mut bytes).context("the plugin does not answer")?;
        Ok(u64::from_ne_bytes(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_series_have_in_common_is_in_no_difference() {
        let counts = |all: &[(u64, u64)]| Counts(all.iter().copied().collect());
        let begin = counts(&[(1, 10), (2, 5)]);
        let empty = counts(&[(1, 30), (2, 8), (3, 1)]);
        let full = counts(&[(1, 50), (2, 41), (3, 2), (4, 7)]);
        let (empty, full) = (empty.since(&begin), full.since(&empty));
        assert_eq!((empty.total(), full.total()), (24, 61));
        let mut over = full.over(&empty);
        over.sort_unstable();
        assert_eq!(over, [(2, 30), (4, 7)]);
        assert_eq!(full.split(|address| address == 2), (vec![(2, 33)], 28));
    }
}

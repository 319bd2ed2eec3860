//! The machines' memory, from outside.

use crate::migration::{Comparison, Pages};
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The granularity of a hypervisor's dirty log on x86.
pub(super) const PAGE: usize = 4096;

/// The memory of a machine, by the addresses its devices use: all of it lies below 4 GiB, where a
/// machine's memory begins at address 0 and of its file.
#[derive(Debug)]
pub(super) struct Memory(File);

impl Memory {
    /// That of the QEMU with this process id: the file its `memory-backend-memfd` made, which it
    /// shares.
    pub(super) fn of(qemu: u32) -> Result<Self> {
        let directory = Path::new("/proc").join(qemu.to_string()).join("fd");
        for entry in fs::read_dir(&directory).with_context(|| directory.display().to_string())? {
            let path = entry?.path();
            // The name is that of QEMU's backend (util/memfd.c and backends/hostmem-memfd.c).
            let target = fs::read_link(&path).unwrap_or_default();
            if target.to_string_lossy().starts_with("/memfd:memory-backend-memfd") {
                return Ok(Self(File::open(&path).with_context(|| path.display().to_string())?));
            }
        }
        bail!("QEMU (process {qemu}) has no memory that it shares")
    }

    fn page(&self, page: u64, buffer: &mut [u8; PAGE]) -> Result<()> {
        self.0
            .read_exact_at(buffer, page * PAGE as u64)
            .with_context(|| format!("page {page:#x} of a machine's memory"))
    }
}

/// Compares the pages of these numbers, which each of the NICs wrote.
pub(super) fn compare(
    source: &Memory,
    destination: &Memory,
    nics: &[BTreeSet<u64>],
) -> Result<Comparison> {
    let mut comparison =
        Comparison { by_nic: vec![Pages::default(); nics.len()], ..<_>::default() };
    let (mut before, mut after) = ([0; PAGE], [0; PAGE]);
    let all: BTreeSet<u64> = nics.iter().flatten().copied().collect();
    for page in all {
        source.page(page, &mut before)?;
        destination.page(page, &mut after)?;
        let wrote = nics.iter().zip(&mut comparison.by_nic);
        let counts = wrote.filter(|(pages, _)| pages.contains(&page)).map(|(_, counts)| counts);
        for counts in counts.chain([&mut comparison.all]) {
            counts.written += 1;
            counts.stale += u64::from(before != after);
        }
    }
    Ok(comparison)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(pages: &[u8]) -> Memory {
        let file = tempfile::tempfile().unwrap();
        for (number, &fill) in pages.iter().enumerate() {
            file.write_all_at(&[fill; PAGE], (number * PAGE) as u64).unwrap();
        }
        Memory(file)
    }

    #[test]
    fn pages_that_differ_are_counted_where_the_nic_wrote() {
        let (source, destination) = (memory(&[1, 2, 3, 4, 5]), memory(&[1, 0, 3, 0, 0]));
        let comparison = compare(&source, &destination, &[[0, 1, 3].into()]).unwrap();
        assert_eq!(comparison.all, Pages { written: 3, stale: 2 });
    }

    #[test]
    fn a_page_that_two_nics_wrote_counts_for_both() {
        let (source, destination) = (memory(&[1, 2, 3]), memory(&[1, 0, 0]));
        let nics = [[0, 1].into(), [1, 2].into()];
        let comparison = compare(&source, &destination, &nics).unwrap();
        assert_eq!(comparison.all, Pages { written: 3, stale: 2 });
        let by_nic = [Pages { written: 2, stale: 1 }, Pages { written: 2, stale: 2 }];
        assert_eq!(comparison.by_nic, by_nic);
    }

    #[test]
    fn one_byte_makes_a_page_stale() {
        let (source, destination) = (memory(&[7]), memory(&[7]));
        destination.0.write_all_at(&[8], PAGE as u64 - 1).unwrap();
        assert_eq!(compare(&source, &destination, &[[0].into()]).unwrap().all.stale, 1);
    }

    #[test]
    fn a_page_beyond_memory_is_an_error() {
        let memory = memory(&[0]);
        let error = compare(&memory, &memory, &[[1].into()]).unwrap_err().to_string();
        assert!(error.contains("page 0x1"), "{error}");
    }
}

//! The machines' memory, from outside.

use crate::migration::{Comparison, Pages};
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The granularity of a hypervisor's dirty log on x86.
pub(super) const PAGE: usize = 4096;

/// Pages that are read at once.
const PIECE: usize = 256;

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

    /// How many pages it has.
    fn pages(&self) -> Result<u64> {
        Ok(self.0.metadata().context("a machine's memory")?.len() / PAGE as u64)
    }

    /// Reads from `page` on: as many as fit.
    fn read(&self, page: u64, buffer: &mut [u8]) -> Result<()> {
        self.0
            .read_exact_at(buffer, page * PAGE as u64)
            .with_context(|| format!("page {page:#x} of a machine's memory"))
    }
}

/// Compares all pages, and counts those of these numbers, which each of the NICs wrote, besides.
pub(super) fn compare(
    source: &Memory,
    destination: &Memory,
    nics: &[BTreeSet<u64>],
) -> Result<Comparison> {
    let memory = source.pages()?;
    let there = destination.pages()?;
    if memory != there {
        bail!("the source's memory has {memory} pages, the destination's {there}");
    }
    if let Some(beyond) = nics.iter().filter_map(BTreeSet::last).find(|page| **page >= memory) {
        bail!("a NIC wrote page {beyond:#x} of a memory of {memory:#x} pages");
    }
    let differing = differing(source, destination, memory)?;
    let pages = |written: &BTreeSet<u64>| Pages {
        written: written.len() as u64,
        stale: written.intersection(&differing).count() as u64,
    };
    let all: BTreeSet<u64> = nics.iter().flatten().copied().collect();
    Ok(Comparison {
        memory,
        differing: differing.len() as u64,
        all: pages(&all),
        by_nic: nics.iter().map(pages).collect(),
    })
}

/// The numbers of the pages that are not the same in both, of the first `count`.
fn differing(a: &Memory, b: &Memory, count: u64) -> Result<BTreeSet<u64>> {
    let mut numbers = BTreeSet::new();
    let mut buffers = [(); 2].map(|()| vec![0; PIECE * PAGE]);
    for first in (0..count).step_by(PIECE) {
        let pages = usize::try_from(count - first).unwrap_or(PIECE).min(PIECE);
        let [here, there] = buffers.each_mut().map(|buffer| &mut buffer[..pages * PAGE]);
        a.read(first, here)?;
        b.read(first, there)?;
        if here == there {
            continue;
        }
        let pairs = here.chunks(PAGE).zip(there.chunks(PAGE));
        let differ = (first..).zip(pairs).filter(|(_, (here, there))| here != there);
        numbers.extend(differ.map(|(number, _)| number));
    }
    Ok(numbers)
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
        assert_eq!((comparison.memory, comparison.differing), (5, 3), "page 4 as well");
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
    fn the_last_page_of_a_memory_of_several_pieces_is_looked_at() {
        let pages = vec![7; 2 * PIECE + 1];
        let (source, destination) = (memory(&pages), memory(&pages));
        destination.0.write_all_at(&[8], (2 * PIECE * PAGE) as u64).unwrap();
        let comparison = compare(&source, &destination, &[]).unwrap();
        assert_eq!((comparison.memory, comparison.differing), (2 * PIECE as u64 + 1, 1));
    }

    #[test]
    fn a_page_beyond_memory_is_an_error() {
        let memory = memory(&[0]);
        let error = compare(&memory, &memory, &[[1].into()]).unwrap_err().to_string();
        assert!(error.contains("page 0x1"), "{error}");
    }

    #[test]
    fn memories_of_different_sizes_are_an_error() {
        let error = compare(&memory(&[0]), &memory(&[0, 0]), &[]).unwrap_err().to_string();
        assert!(error.contains("1 pages") && error.contains("2"), "{error}");
    }
}

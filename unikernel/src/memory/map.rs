//! The memory map and how it is divided: pure arithmetic, tested on the host.

use core::fmt;
use core::ops::{Range, RangeInclusive};

use super::PAGE;
use crate::cmdline::Size;

const MIB: u64 = 1 << 20;
/// Memory below this belongs to firmware and the loader's tables and is left alone.
const LOW_MEMORY: u64 = MIB;
/// Devices with 32-bit DMA must reach the pool.
const DMA_LIMIT: u64 = 1 << 32;
/// What 16 connections of a throughput test take (6 MiB), what is to be left beside sockets
/// (1 MiB), and some room.
const HEAP_MIN: u64 = 8 * MIB;
/// The least and the most that the pool has unless `swiotlb=` says otherwise. The rings of a NIC
/// with their buffers, and 1,000 frames on their way; and an application that keeps 4,096 besides.
const POOL: RangeInclusive<u64> = 4 * MIB..=16 * MIB;
/// What the loader may keep at the end of memory; QEMU has 128 KiB of tables there.
const LOADER: u64 = 256 << 10;

/// What a region of physical memory is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// RAM, free for use.
    Usable,
    /// RAM that holds ACPI tables or firmware data.
    Firmware,
    /// Not to be touched as memory: ROM, device windows, holes.
    Reserved,
}

/// A region of physical memory, in bytes, `end` exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// First byte.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
    /// What it is for.
    pub kind: Kind,
}

/// The loader's regions, in its order. Real machines have well under a hundred.
pub type MemoryMap = heapless::Vec<Region, 128>;

/// Who gets which physical memory. All bounds are page-aligned, the ranges disjoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Page tables for all memory.
    pub tables: Range<u64>,
    /// The DMA pool, below 4 GiB.
    pub pool: Range<u64>,
    /// The heap: the largest piece that is left.
    pub heap: Range<u64>,
    /// Usable bytes above 1 MiB that nobody got.
    pub unused: u64,
}

/// Why memory cannot be carved; the text names the remedy.
#[derive(Debug, PartialEq, Eq)]
pub enum CarveError {
    /// A pool of `len` bytes is empty, or no region below 4 GiB holds it and the page tables.
    Pool {
        /// As asked for, in whole pages.
        len: u64,
        /// The memory, in bytes, of a machine that has room for it.
        least: u64,
    },
    /// Too little is left for the heap.
    Heap {
        /// The largest piece, in bytes.
        left: u64,
        /// The memory, in bytes, of a machine where enough is left.
        least: u64,
    },
}

impl fmt::Display for CarveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Pool { len, least } => write!(
                f,
                "no room below 4 GiB for a DMA pool of {}: change swiotlb= or give the machine {} \
                 of memory",
                Size(len),
                Size(least)
            ),
            Self::Heap { left, least } => write!(
                f,
                "{} are left for the heap, which needs {}: lower swiotlb= or give the machine {} \
                 of memory",
                Size(left),
                Size(HEAP_MIN),
                Size(least)
            ),
        }
    }
}

/// The pool's size where nothing is said of it, in bytes: a quarter of the machine, within bounds.
pub fn usual_pool(map: &[Region]) -> u64 {
    let usable = map.iter().filter(|region| region.kind == Kind::Usable);
    let bytes = usable.map(|region| region.end.saturating_sub(region.start));
    let all = bytes.fold(0, u64::saturating_add);
    (all / 4).next_multiple_of(MIB).clamp(*POOL.start(), *POOL.end())
}

/// Divides usable memory between the page tables, the pool and the heap, leaving `image` alone.
///
/// `tables` and `pool` are in bytes. The map is untrusted: regions may overlap, be empty or lie
/// in any order; a byte that any region calls other than usable is not used.
///
/// # Errors
/// When the machine has too little memory for the pool or the heap.
pub fn carve(
    map: &[Region],
    image: Range<u64>,
    tables: u64,
    pool: u64,
) -> Result<Layout, CarveError> {
    let (tables, pool) = (align_up(tables), align_up(pool));
    let least = [tables, pool, HEAP_MIN, LOADER].into_iter().fold(image.end, u64::saturating_add);
    let least = least.checked_next_multiple_of(1 << 20).unwrap_or(u64::MAX);
    let no_pool = CarveError::Pool { len: pool, least };
    let mut pieces = free_pieces(map, image);

    let Some(fixed) = tables.checked_add(pool).filter(|_| pool > 0) else { return Err(no_pool) };
    // The lowest fit keeps the large piece for the heap.
    let home = pieces
        .iter_mut()
        .filter(|piece| {
            piece.start.checked_add(fixed).is_some_and(|end| end <= piece.end.min(DMA_LIMIT))
        })
        .min_by_key(|piece| piece.start)
        .ok_or(no_pool)?;
    let tables = home.start..home.start + tables;
    let pool = tables.end..tables.end + pool;
    home.start = pool.end;

    let heap = pieces.iter().max_by_key(|piece| piece.end - piece.start).cloned().unwrap_or(0..0);
    let len = heap.end - heap.start;
    if len < HEAP_MIN {
        return Err(CarveError::Heap { left: len, least });
    }
    let total: u64 = pieces.iter().map(|piece| piece.end - piece.start).sum();
    Ok(Layout { tables, pool, heap, unused: total - len })
}

/// The page-aligned pieces of usable memory above 1 MiB, outside `image` and every region that
/// is not usable.
fn free_pieces(map: &[Region], image: Range<u64>) -> heapless::Vec<Range<u64>, 256> {
    let mut pieces: heapless::Vec<Range<u64>, 256> = heapless::Vec::new();
    for region in map.iter().filter(|region| region.kind == Kind::Usable) {
        let mut start = align_up(region.start.max(LOW_MEMORY));
        let end = region.end / PAGE * PAGE;
        while start < end {
            let (piece, next) = first_piece(map, &image, &pieces, start..end);
            if let Some(piece) = piece
                && pieces.push(piece).is_err()
            {
                return pieces;
            }
            start = next;
        }
    }
    pieces
}

/// The first piece of `span` that nothing else claims, and where to go on looking.
fn first_piece(
    map: &[Region],
    image: &Range<u64>,
    taken: &[Range<u64>],
    span: Range<u64>,
) -> (Option<Range<u64>>, u64) {
    let claims = map
        .iter()
        .filter(|region| region.kind != Kind::Usable)
        .map(|region| region.start..region.end)
        .chain([image.clone()])
        .chain(taken.iter().cloned())
        .filter(|claim| claim.start < claim.end);
    let mut end = span.end;
    for claim in claims {
        if claim.start <= span.start && span.start < claim.end {
            return (None, align_up(claim.end));
        }
        if claim.start > span.start {
            end = end.min(claim.start / PAGE * PAGE);
        }
    }
    // A claim within the first page leaves nothing of that page.
    if end <= span.start { (None, span.start + PAGE) } else { (Some(span.start..end), end) }
}

/// Up to the next page boundary, or the last one there is.
fn align_up(address: u64) -> u64 {
    address.checked_next_multiple_of(PAGE).unwrap_or(u64::MAX / PAGE * PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;
    const IMAGE: Range<u64> = MIB..2 * MIB;

    fn usable(start: u64, end: u64) -> Region {
        Region { start, end, kind: Kind::Usable }
    }

    fn reserved(start: u64, end: u64) -> Region {
        Region { start, end, kind: Kind::Reserved }
    }

    #[test]
    fn q35_with_256_mib() {
        let map = [
            usable(0, 0x9_fc00),
            reserved(0x9_fc00, 0xa_0000),
            reserved(0xf_0000, MIB),
            usable(MIB, 0xffd_f000),
            reserved(0xffd_f000, 256 * MIB),
            reserved(0xb000_0000, 0xc000_0000),
        ];
        let layout = carve(&map, IMAGE, 64 << 10, 16 * MIB).unwrap();
        assert_eq!(layout.tables, 2 * MIB..2 * MIB + (64 << 10));
        assert_eq!(layout.pool, layout.tables.end..layout.tables.end + 16 * MIB);
        assert_eq!(layout.heap, layout.pool.end..0xffd_f000);
        assert_eq!(layout.unused, 0);
    }

    #[test]
    fn a_large_machine_keeps_the_pool_below_4_gib_and_heaps_above() {
        let map = [usable(MIB, 2 * GIB), usable(4 * GIB, 20 * GIB)];
        let layout = carve(&map, IMAGE, MIB, 64 * MIB).unwrap();
        assert!(layout.pool.end <= 4 * GIB);
        assert_eq!(layout.heap, 4 * GIB..20 * GIB);
        assert_eq!(layout.unused, 2 * GIB - layout.pool.end);
    }

    #[test]
    fn a_pool_that_only_fits_above_4_gib_is_refused() {
        for map in [
            [usable(MIB, 64 * MIB), usable(4 * GIB, 20 * GIB)],
            [usable(MIB, 64 * MIB), usable(4 * GIB - 32 * MIB, 20 * GIB)],
        ] {
            let pool = 64 * MIB;
            let error = CarveError::Pool { len: pool, least: 76 * MIB };
            assert_eq!(carve(&map, IMAGE, MIB, pool), Err(error));
        }
    }

    #[test]
    fn overlapping_and_unaligned_regions_never_hand_out_a_byte_twice() {
        let map = [
            usable(MIB, 64 * MIB),
            usable(32 * MIB, 80 * MIB + 123),
            reserved(40 * MIB + 1, 40 * MIB + 2),
            reserved(10 * MIB, 10 * MIB),
            usable(90 * MIB, 89 * MIB),
            usable(u64::MAX - 10, u64::MAX),
        ];
        let pieces = free_pieces(&map, IMAGE);
        for (i, piece) in pieces.iter().enumerate() {
            assert!(piece.start % PAGE == 0 && piece.end % PAGE == 0 && piece.start < piece.end);
            assert!(piece.end <= IMAGE.start || piece.start >= IMAGE.end);
            assert!(!(piece.start <= 40 * MIB && 40 * MIB < piece.end));
            for other in &pieces[i + 1..] {
                assert!(piece.end <= other.start || other.end <= piece.start);
            }
        }
        let total: u64 = pieces.iter().map(|piece| piece.end - piece.start).sum();
        assert_eq!(total, 78 * MIB - PAGE);
    }

    #[test]
    fn too_little_memory_names_the_remedy() {
        const POOL: u64 = 16 * MIB;
        // As QEMU has it, which keeps tables at the end.
        let machine = |memory: u64| {
            let end = memory - (128 << 10);
            carve(&[usable(MIB, end), reserved(end, memory)], IMAGE, PAGE, POOL)
        };
        let least = 27 * MIB;
        assert_eq!(machine(16 * MIB), Err(CarveError::Pool { len: POOL, least }));
        for memory in 19..27 {
            let error = machine(memory * MIB).unwrap_err();
            let left = memory * MIB - (128 << 10) - (18 * MIB + PAGE);
            assert_eq!(error, CarveError::Heap { left, least }, "{memory} MiB");
            let text = error.to_string();
            assert!(text.contains("swiotlb=") && text.contains("27M"), "{text}");
        }
        assert!(machine(least).is_ok());
    }

    #[test]
    fn a_small_machine_has_a_small_pool() {
        let pool = |memory: u64| usual_pool(&[usable(0, 0x9_fc00), usable(MIB, memory * MIB)]);
        assert_eq!([1, 16, 32, 64, 65, 4096].map(|mib| pool(mib) / MIB), [4, 4, 8, 16, 16, 16]);
        // What is absurd is said when it is carved up.
        assert_eq!(usual_pool(&[usable(5, 4), usable(0, u64::MAX), usable(0, 9)]), *POOL.end());
        for memory in [16, 32] {
            let map = [usable(MIB, memory * MIB - (128 << 10))];
            let layout = carve(&map, MIB..5 * MIB / 2, 96 * PAGE, usual_pool(&map)).unwrap();
            assert!(layout.heap.end - layout.heap.start >= HEAP_MIN);
        }
    }

    #[test]
    fn a_pool_that_no_machine_has_room_for_is_refused() {
        let map = [usable(MIB, 64 * MIB)];
        for pool in [0, u64::MAX] {
            let error = carve(&map, IMAGE, PAGE, pool).unwrap_err();
            assert!(matches!(error, CarveError::Pool { .. }), "{error}");
        }
    }
}

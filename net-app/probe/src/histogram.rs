//! Counts of lengths of time, in buckets that are a quarter wide of what they begin with.

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Of a [`Histogram`].
pub const BUCKETS: usize = 88;
/// Buckets for each doubling.
const PARTS: usize = 4;

/// How many lengths of time, in microseconds, are in which bucket: four for each doubling, up to
/// eight seconds and all beyond. Below 4 µs each has one of its own.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Histogram([U32; BUCKETS]);

impl Default for Histogram {
    fn default() -> Self {
        Self([U32::ZERO; BUCKETS])
    }
}

impl Histogram {
    /// Counts one.
    pub fn add(&mut self, us: u64) {
        let bucket = &mut self.0[bucket(us)];
        *bucket = bucket.get().saturating_add(1).into();
    }

    /// How many there are.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().map(|count| u64::from(count.get())).sum()
    }

    /// Those that have come to it since it was `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut more = *self;
        for (count, before) in more.0.iter_mut().zip(&earlier.0) {
            *count = count.get().saturating_sub(before.get()).into();
        }
        more
    }

    /// What this part of them is not longer than, in microseconds: somewhere in the bucket where
    /// it is, as if they were spread evenly there. 0 of none.
    #[must_use]
    pub fn percentile(&self, part: f64) -> f64 {
        let wanted = part * self.total() as f64;
        let mut below = 0.0;
        let mut highest = 0.0;
        for (index, count) in self.0.iter().enumerate() {
            let count = f64::from(count.get());
            if count == 0.0 {
                continue;
            }
            let (start, end) = (start(index) as f64, start(index + 1) as f64);
            if below + count >= wanted {
                return start + (end - start) * ((wanted - below) / count).clamp(0.0, 1.0);
            }
            below += count;
            highest = end;
        }
        highest
    }
}

fn bucket(us: u64) -> usize {
    if us < PARTS as u64 {
        return us as usize;
    }
    let doublings = us.ilog2() as usize;
    let part = (us >> (doublings - 2)) as usize % PARTS;
    ((doublings - 1) * PARTS + part).min(BUCKETS - 1)
}

/// Where a bucket starts.
fn start(bucket: usize) -> u64 {
    let (doublings, part) = (bucket / PARTS, (bucket % PARTS) as u64);
    if doublings == 0 { part } else { (PARTS as u64 + part) << (doublings - 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_is_in_its_bucket() {
        for us in (0..10_000).chain((14..23).map(|n| 1 << n)).chain((14..23).map(|n| (1 << n) - 1))
        {
            let bucket = bucket(us);
            assert!((start(bucket)..start(bucket + 1)).contains(&us), "{us} in {bucket}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
        assert_eq!(start(BUCKETS), 1 << 23);
    }

    #[test]
    fn percentiles_are_within_a_bucket() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentile(0.5), 0.0);
        (0..1000).for_each(|us| histogram.add(us));
        let earlier = histogram;
        for part in [0.1, 0.5, 0.99, 0.999] {
            let expected = 1000.0 * part;
            let found = histogram.percentile(part);
            assert!((found - expected).abs() <= expected * 0.25, "{part}: {found}");
        }
        histogram.add(5_000_000);
        assert_eq!((histogram.total(), histogram.since(&earlier).total()), (1001, 1));
        assert!(histogram.since(&earlier).percentile(0.5) > 4_000_000.0);
    }
}

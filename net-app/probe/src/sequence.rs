//! Accounting of sequence numbers at the receiver.

/// What has arrived of one stream of numbers that count up from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sequence {
    next: u64,
    missing: u64,
    reordered: u64,
    gap: Gap,
}

/// A run of numbers that were skipped. The source knows when it sent each, which makes a gap a time
/// on one clock, whatever the receiver's own clock went through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gap {
    /// First number skipped.
    pub first: u64,
    /// How many in a row.
    pub length: u64,
}

impl Sequence {
    /// A stream of which nothing has arrived.
    pub const fn new() -> Self {
        Self { next: 0, missing: 0, reordered: 0, gap: Gap { first: 0, length: 0 } }
    }

    /// Takes note of number `seq`.
    ///
    /// A number from below the highest is taken to be one that was missing until now, as iperf3
    /// does: telling it from a duplicate would need a window of all numbers.
    pub fn receive(&mut self, seq: u64) {
        if seq >= self.next {
            let skipped = seq - self.next;
            self.missing += skipped;
            if skipped > self.gap.length {
                self.gap = Gap { first: self.next, length: skipped };
            }
            // A sender can claim any number; the last one must not wrap the count.
            self.next = seq.saturating_add(1);
        } else {
            self.reordered += 1;
            self.missing = self.missing.saturating_sub(1);
        }
    }

    /// Highest number that arrived, 0 before the first.
    pub fn highest(&self) -> u64 {
        self.next.saturating_sub(1)
    }

    /// How many numbers below the highest have not arrived.
    pub fn missing(&self) -> u64 {
        self.missing
    }

    /// The longest run of numbers skipped so far, the earliest of equals. Numbers that arrive late
    /// do not shorten it.
    pub fn longest_gap(&self) -> Gap {
        self.gap
    }

    /// How many numbers came after a higher one.
    pub fn reordered(&self) -> u64 {
        self.reordered
    }
}

#[cfg(test)]
mod tests {
    use super::{Gap, Sequence};

    fn after(numbers: &[u64]) -> (u64, u64, u64) {
        let mut sequence = Sequence::new();
        numbers.iter().for_each(|&n| sequence.receive(n));
        (sequence.highest(), sequence.missing(), sequence.reordered())
    }

    #[test]
    fn counts() {
        assert_eq!(after(&[]), (0, 0, 0));
        assert_eq!(after(&[0, 1, 2]), (2, 0, 0));
        assert_eq!(after(&[3]), (3, 3, 0));
        assert_eq!(after(&[0, 3, 1]), (3, 1, 1));
        assert_eq!(after(&[0, 3, 1, 2]), (3, 0, 2));
    }

    #[test]
    fn the_longest_gap_stays() {
        let mut sequence = Sequence::new();
        [0, 1, 5, 6, 10, 11, 13].iter().for_each(|&n| sequence.receive(n));
        assert_eq!(sequence.longest_gap(), Gap { first: 2, length: 3 });
        sequence.receive(3);
        sequence.receive(100);
        assert_eq!(sequence.longest_gap(), Gap { first: 14, length: 86 });
    }

    #[test]
    fn hostile_numbers_do_not_overflow() {
        assert_eq!(after(&[u64::MAX, u64::MAX, 0, u64::MAX]), (u64::MAX - 1, u64::MAX - 1, 1));
    }
}

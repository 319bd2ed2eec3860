//! Accounting of sequence numbers at the receiver.

/// Numbers below the highest of which it is known one by one whether they have arrived.
pub const WINDOW: u64 = 4096;
const WORDS: usize = WINDOW as usize / 64;

/// What has arrived of one stream of numbers that count up from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequence {
    next: u64,
    missing: u64,
    reordered: u64,
    duplicates: u32,
    gap: Gap,
    /// A bit for each of the [`WINDOW`] numbers below `next`, at its number modulo that.
    arrived: [u64; WORDS],
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
        Self {
            next: 0,
            missing: 0,
            reordered: 0,
            duplicates: 0,
            gap: Gap { first: 0, length: 0 },
            arrived: [0; WORDS],
        }
    }

    /// Takes note of number `seq`.
    ///
    /// One that comes more than [`WINDOW`] numbers late is counted as out of order and stays
    /// missing: whether it is a duplicate is not known any more, and one must not make up for a
    /// loss.
    pub fn receive(&mut self, seq: u64) {
        let (word, bit) = Self::place(seq);
        if seq >= self.next {
            let skipped = seq - self.next;
            self.missing += skipped;
            if skipped > self.gap.length {
                self.gap = Gap { first: self.next, length: skipped };
            }
            self.forget(skipped);
            self.arrived[word] |= bit;
            // A sender can claim any number; the last one must not wrap the count.
            self.next = seq.saturating_add(1);
        } else if self.next - seq > WINDOW {
            self.reordered += 1;
        } else if self.arrived[word] & bit != 0 {
            self.duplicates = self.duplicates.saturating_add(1);
        } else {
            self.arrived[word] |= bit;
            self.reordered += 1;
            self.missing -= 1;
        }
    }

    /// Makes room for so many numbers from `next` on, none of which has arrived.
    fn forget(&mut self, skipped: u64) {
        if skipped >= WINDOW {
            self.arrived = [0; WORDS];
            return;
        }
        // The number itself is among those that come into the window.
        for seq in self.next..=self.next + skipped {
            let (word, bit) = Self::place(seq);
            self.arrived[word] &= !bit;
        }
    }

    fn place(seq: u64) -> (usize, u64) {
        ((seq % WINDOW / 64) as usize, 1 << (seq % 64))
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

    /// How many numbers came after a higher one, each for the first time.
    pub fn reordered(&self) -> u64 {
        self.reordered
    }

    /// How many came once more.
    pub fn duplicates(&self) -> u32 {
        self.duplicates
    }
}

impl Default for Sequence {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::{Gap, Sequence, WINDOW};

    /// Highest, missing, out of order, twice.
    fn after(numbers: &[u64]) -> (u64, u64, u64, u32) {
        let mut sequence = Sequence::new();
        numbers.iter().for_each(|&n| sequence.receive(n));
        (sequence.highest(), sequence.missing(), sequence.reordered(), sequence.duplicates())
    }

    #[test]
    fn counts() {
        assert_eq!(after(&[]), (0, 0, 0, 0));
        assert_eq!(after(&[0, 1, 2]), (2, 0, 0, 0));
        assert_eq!(after(&[3]), (3, 3, 0, 0));
        assert_eq!(after(&[0, 3, 1]), (3, 1, 1, 0));
        assert_eq!(after(&[0, 3, 1, 2]), (3, 0, 2, 0));
    }

    /// Each is counted for itself: a duplicate makes up for no loss.
    #[test]
    fn duplicates_losses_and_what_is_out_of_order_are_told_apart() {
        assert_eq!(after(&[0, 0, 1, 3, 3, 1]), (3, 1, 0, 3));
        assert_eq!(after(&[0, 3, 1, 1, 2, 2]), (3, 0, 2, 2));
        assert_eq!(after(&[63, 64, 63, 62, 62]), (64, 62, 1, 2));
    }

    #[test]
    fn what_comes_too_late_to_be_told_stays_missing() {
        let late = WINDOW + 9;
        assert_eq!(after(&[9, late, 9, 10]), (late, late - 2, 2, 0));
        assert_eq!(after(&[9, late - 1, 9]), (late - 1, late - 2, 0, 1));
    }

    /// A number that has the place of an earlier one is not taken for it.
    #[test]
    fn places_are_used_again() {
        let mut sequence = Sequence::new();
        for seq in (0..3 * WINDOW).filter(|seq| seq % 3 != 1) {
            sequence.receive(seq);
        }
        let lost = sequence.missing();
        assert_eq!((lost, sequence.duplicates()), (WINDOW, 0));
        (2 * WINDOW..3 * WINDOW).for_each(|seq| sequence.receive(seq));
        let expected = (2 * WINDOW..3 * WINDOW).filter(|seq| seq % 3 == 1).count() as u64;
        assert_eq!(lost - sequence.missing(), expected);
        assert_eq!(u64::from(sequence.duplicates()), WINDOW - expected);
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
        let (highest, missing, ..) = after(&[u64::MAX, u64::MAX, 0, u64::MAX]);
        assert_eq!((highest, missing), (u64::MAX - 1, u64::MAX));
    }
}

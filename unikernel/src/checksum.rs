//! The checksum of IPv4, TCP, UDP and ICMP (RFC 1071), eight bytes at a time.
//!
//! The target has no vector registers, so that this is about as fast as its sum can be had: two
//! instructions for eight bytes. A sum of 16-bit words, as RFC 1071 defines it, takes eight.

/// A sum in ones' complement, of bytes in the order of this machine (RFC 1071, section 2 (B)).
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// The sum of `bytes`, which begin at an even place of what is summed.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let (quads, rest) = bytes.as_chunks::<32>();
        let mut sum = 0;
        // Unrolled: the loop would cost as much as the sum.
        for quad in quads {
            for word in quad.as_chunks::<8>().0 {
                sum = add(sum, u64::from_ne_bytes(*word));
            }
        }
        let (words, rest) = rest.as_chunks::<8>();
        for word in words {
            sum = add(sum, u64::from_ne_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        Self(add(sum, u64::from_ne_bytes(last)))
    }

    /// This and another sum.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(add(self.0, other.0))
    }

    /// This and a number, as if it were two bytes in the order of the network.
    #[must_use]
    pub fn and_word(self, word: u16) -> Self {
        self.and(Self(word.to_be().into()))
    }

    /// The sum in 16 bits. Its complement is the checksum of what was summed; of something that
    /// contains its checksum, and is right, this is `0xffff`.
    #[must_use]
    pub fn folded(self) -> u16 {
        let sum = (self.0 & 0xffff_ffff) + (self.0 >> 32);
        let sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
        let sum = (sum & 0xffff) + (sum >> 16);
        u16::from_be((sum + (sum >> 16)) as u16)
    }
}

/// A carry out of the top comes in again at the bottom.
#[inline]
fn add(a: u64, b: u64) -> u64 {
    let (sum, carry) = a.overflowing_add(b);
    sum + u64::from(carry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    /// As RFC 1071 defines it.
    fn by_words(bytes: &[u8]) -> u16 {
        let mut sum = 0u64;
        for pair in bytes.chunks(2) {
            sum += u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0));
        }
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    proptest! {
        #[test]
        fn it_is_the_sum_of_the_words(
            bytes in any::<Vec<u8>>(),
            word in any::<u16>(),
            at in 0..64usize,
        ) {
            prop_assert_eq!(Sum::of(&bytes).folded(), by_words(&bytes));
            // In parts, the first of an even length.
            let (first, second) = bytes.split_at((2 * at).min(bytes.len() / 2 * 2));
            let parts = Sum::of(first).and(Sum::of(second)).and_word(word).folded();
            let whole = [&bytes[..], &[0][..bytes.len() % 2], &word.to_be_bytes()].concat();
            prop_assert_eq!(parts, by_words(&whole));
        }
    }

    #[test]
    fn carries_come_in_again() {
        for len in 0..200 {
            assert_eq!(Sum::of(&std::vec![0xff; len]).folded(), by_words(&std::vec![0xff; len]));
        }
        assert_eq!(Sum(u64::MAX).folded(), 0xffff);
        assert_eq!(Sum(0).folded(), 0);
        // The example of RFC 1071, section 3.
        assert_eq!(Sum::of(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]).folded(), 0xddf2);
    }
}

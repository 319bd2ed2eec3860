//! The Internet checksum (RFC 1071), of headers and of datagrams.

use crate::packet::{Network, Packet, Transport, be16};

/// Sum of 16-bit words in network order, not folded. An odd byte at the end counts as if a zero
/// byte followed.
pub(crate) fn sum(bytes: &[u8]) -> u64 {
    let mut words = bytes.chunks_exact(8);
    // Four words at a time. With end-around carry, neither the width of the addition nor the order
    // of bytes matters until the end (RFC 1071, 2).
    let mut sum = 0u64;
    for word in &mut words {
        let word = u64::from_ne_bytes(word.try_into().expect("chunks of 8"));
        let (wrapped, carry) = sum.overflowing_add(word);
        sum = wrapped + u64::from(carry);
    }
    let mut tail = [0; 8];
    tail[..words.remainder().len()].copy_from_slice(words.remainder());
    let (wrapped, carry) = sum.overflowing_add(u64::from_ne_bytes(tail));
    let folded = fold(wrapped + u64::from(carry));
    u64::from(u16::from_be(folded))
}

/// Folds a sum to 16 bits.
pub(crate) fn fold(mut sum: u64) -> u16 {
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    sum as u16
}

/// The checksum of bytes.
pub(crate) fn of(bytes: &[u8]) -> u16 {
    !fold(sum(bytes))
}

/// The sum of a pseudo header without the length (RFC 9293, 3.1; RFC 8200, 8.1).
pub(crate) fn pseudo_header(frame: &[u8], network: (Network, usize), protocol: u8) -> u64 {
    let addresses = match network {
        (Network::V4 { .. }, at) => frame.get(at + 12..at + 20),
        (Network::V6 { .. }, at) => frame.get(at + 8..at + 40),
    };
    sum(addresses.unwrap_or_default()) + u64::from(protocol)
}

/// The checksum that the TCP or UDP segment in a frame should have, whatever its checksum field
/// holds; `None` when there is no such segment.
#[cfg(test)]
pub(crate) fn transport(frame: &[u8], packet: &Packet) -> Option<u16> {
    let (field, total) = transport_sum(frame, packet)?;
    let stored = u64::from(be16(frame, field));
    // Take the field out of the sum again: subtracting is adding the complement.
    Some(!fold(total + u64::from(!(stored as u16))))
}

/// Whether a frame's TCP or UDP checksum is right; `None` when it has none.
pub(crate) fn transport_is_right(frame: &[u8], packet: &Packet) -> Option<bool> {
    let (field, total) = transport_sum(frame, packet)?;
    // UDP without a checksum (RFC 768).
    if matches!(packet.transport, Some((Transport::Udp, _))) && be16(frame, field) == 0 {
        return None;
    }
    Some(fold(total) == 0xFFFF)
}

/// Where the checksum field is, and the sum of pseudo header and segment, that field included.
fn transport_sum(frame: &[u8], packet: &Packet) -> Option<(usize, u64)> {
    let (transport, at) = packet.transport?;
    let (protocol, field) = match transport {
        Transport::Tcp => (6, 16),
        Transport::Udp => (17, 6),
        Transport::Sctp => return None,
    };
    let segment = frame.get(at..packet.end)?;
    let pseudo = pseudo_header(frame, packet.network?, protocol) + segment.len() as u64;
    Some((at + field, pseudo + sum(segment)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{parse, samples};
    use proptest::prelude::*;

    /// RFC 1071, 3.
    #[test]
    fn the_rfcs_example() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(fold(sum(&bytes)), 0xddf2);
        assert_eq!(of(&bytes), 0x220d);
    }

    proptest! {
        #[test]
        fn the_fast_sum_is_the_sum(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let words = bytes.chunks(2).map(|pair| {
                u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0))
            });
            prop_assert_eq!(fold(sum(&bytes)), fold(words.sum()));
        }
    }

    #[test]
    fn a_flipped_bit_is_noticed() {
        for mut frame in [samples::tcp_v4(b"odd"), samples::tcp_v6(b"even")] {
            assert_eq!(transport_is_right(&frame, &parse(&frame)), Some(true));
            *frame.last_mut().unwrap() ^= 1;
            assert_eq!(transport_is_right(&frame, &parse(&frame)), Some(false));
        }
    }
}

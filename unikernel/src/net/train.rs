//! TCP segments that follow each other, put together into one packet before smoltcp sees them
//! (generic receive offload, GRO).
//!
//! To parse a segment and find what it means for its connection costs far more than to copy it. In
//! a batch the first segment of a connection goes its way as it is, which also keeps smoltcp's rule
//! that the second one is acknowledged at once; those behind it are put together here.
//!
//! What differs between two of them but for the payload and its place in the stream ends a train:
//! acknowledgement, flags, window. So does anything but a plain segment of IPv4 with no options.

use alloc::vec::Vec;

use super::connections::ConnectionId;
use super::frame::TCP_ACK;

/// No options in either header.
const IP_HEADER: usize = 20;
const HEADERS: usize = IP_HEADER + 20;
/// Where the headers have their fields.
const TOTAL_LENGTH: usize = 2;
const SEQUENCE: usize = IP_HEADER + 4;
/// Behind it offset, flags and window.
const ACKNOWLEDGEMENT: usize = IP_HEADER + 8;
const OFFSET: usize = IP_HEADER + 12;
const FLAGS: usize = IP_HEADER + 13;
/// Says nothing that a receiver heeds.
const TCP_PUSH: u8 = 8;
/// A TCP header of five words.
const NO_OPTIONS: u8 = 0x50;
/// The longest packet that IPv4 has.
const LONGEST: usize = u16::MAX as usize;

/// Segments of one connection.
pub(super) struct Train {
    /// The headers of the first segment, and the payload of all.
    packet: Vec<u8>,
    /// 0: there are none.
    len: usize,
    /// The sequence number of the segment that follows.
    next: u32,
    /// Whose they are.
    connection: Option<ConnectionId>,
}

impl Train {
    /// An empty one. Memory for all that it may become is taken here.
    pub(super) fn new() -> Self {
        Self { packet: alloc::vec![0; LONGEST], len: 0, next: 0, connection: None }
    }

    /// Appends a segment if it is one that can be, and follows those that are there. It is of IPv4
    /// with no options, no fragment, and its checksums are right. What is behind it in `packet` is
    /// no part of it.
    #[inline]
    pub(super) fn take(&mut self, packet: &[u8], connection: Option<ConnectionId>) -> bool {
        let Some(head) = packet.first_chunk::<HEADERS>() else { return false };
        let end = usize::from(u16::from_be_bytes([head[TOTAL_LENGTH], head[TOTAL_LENGTH + 1]]));
        let Some(payload) = packet.get(HEADERS..end) else { return false };
        let sequence = u32::from_be_bytes(field(head, SEQUENCE));
        let is_plain = head[OFFSET] == NO_OPTIONS && head[FLAGS] & !TCP_PUSH == TCP_ACK;
        if !is_plain || payload.is_empty() {
            return false;
        }
        if self.len == 0 {
            self.packet[..HEADERS].copy_from_slice(head);
            (self.len, self.connection) = (HEADERS, connection);
        } else if self.connection != connection
            || sequence != self.next
            || meaning(head) != meaning(self.head())
        {
            return false;
        }
        let Some(room) = self.packet.get_mut(self.len..self.len + payload.len()) else {
            return false;
        };
        room.copy_from_slice(payload);
        self.len += payload.len();
        self.next = sequence.wrapping_add(payload.len() as u32);
        true
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Makes one packet of it. Its checksums are wrong, and nobody is to look at them.
    pub(super) fn finish(&mut self) {
        // It fits into the memory, which is that long.
        let length = self.len as u16;
        self.packet[TOTAL_LENGTH..TOTAL_LENGTH + 2].copy_from_slice(&length.to_be_bytes());
    }

    pub(super) fn connection(&self) -> Option<ConnectionId> {
        self.connection
    }

    pub(super) fn packet(&self) -> &[u8] {
        &self.packet[..self.len]
    }

    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    #[inline]
    fn head(&self) -> &[u8; HEADERS] {
        self.packet.first_chunk().expect("there is room for the longest packet")
    }
}

#[inline]
fn field<const LEN: usize>(head: &[u8; HEADERS], at: usize) -> [u8; LEN] {
    core::array::from_fn(|index| head[at + index])
}

/// Acknowledgement, flags and window.
#[inline]
fn meaning(head: &[u8; HEADERS]) -> u64 {
    const PUSH: u64 = (TCP_PUSH as u64) << (8 * (7 - (FLAGS - ACKNOWLEDGEMENT)));
    u64::from_be_bytes(field(head, ACKNOWLEDGEMENT)) & !PUSH
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(sequence: u32, payload: &[u8]) -> Vec<u8> {
        let mut packet = std::vec![0; HEADERS];
        packet[0] = 0x45;
        packet[TOTAL_LENGTH..4].copy_from_slice(&((HEADERS + payload.len()) as u16).to_be_bytes());
        packet[SEQUENCE..SEQUENCE + 4].copy_from_slice(&sequence.to_be_bytes());
        packet[OFFSET..=FLAGS].copy_from_slice(&[NO_OPTIONS, TCP_ACK]);
        packet.extend(payload);
        packet
    }

    /// With some of its bytes others.
    fn other(sequence: u32, payload: &[u8], changes: &[(usize, u8)]) -> Vec<u8> {
        let mut packet = segment(sequence, payload);
        changes.iter().for_each(|&(at, byte)| packet[at] = byte);
        packet
    }

    #[test]
    fn segments_that_follow_each_other_are_one_packet() {
        let mut train = Train::new();
        // Across the end of sequence numbers, and one padded to what a frame has at least.
        let first = u32::MAX - 1;
        assert!(train.is_empty() && train.take(&segment(first, b"abc"), None));
        let mut padded = segment(1, b"d");
        padded.extend([0xee; 5]);
        assert!(train.take(&padded, None));
        assert!(train.take(&other(2, b"ef", &[(FLAGS, TCP_ACK | TCP_PUSH)]), None));
        train.finish();
        assert_eq!(train.packet(), segment(first, b"abcdef"));
        train.clear();
        assert!(train.is_empty() && train.take(&segment(7, b"x"), None));
        assert_eq!(train.packet(), segment(7, b"x"));
    }

    #[test]
    fn what_does_not_follow_is_not_taken() {
        let mut train = Train::new();
        assert!(train.take(&segment(0, b"abc"), None));
        let not = [
            segment(4, b"a gap"),
            segment(2, b"once more"),
            segment(3, b""),
            other(3, b"another acknowledgement", &[(ACKNOWLEDGEMENT + 3, 1)]),
            other(3, b"another window", &[(FLAGS + 2, 1)]),
            other(3, b"the last", &[(FLAGS, TCP_ACK | 1)]),
            other(3, b"urgent", &[(FLAGS, TCP_ACK | 0x20)]),
            other(3, b"options", &[(OFFSET, 0x60)]),
            other(3, b"not all there", &[(TOTAL_LENGTH + 1, 255)]),
            other(3, b"no room for headers", &[(TOTAL_LENGTH + 1, 39)]),
            segment(3, b"cut")[..HEADERS - 1].to_vec(),
        ];
        for packet in not {
            assert!(!train.take(&packet, None), "{packet:?}");
        }
        assert_eq!(train.packet(), segment(0, b"abc"), "none of them has left a trace");
    }

    #[test]
    fn a_train_is_no_longer_than_a_packet_can_be() {
        let (mut train, part) = (Train::new(), [7; 1460]);
        let parts = (0..100).take_while(|n| train.take(&segment(n * 1460, &part), None)).count();
        assert_eq!(parts, (LONGEST - HEADERS) / 1460);
        train.finish();
        let length = train.packet().len();
        assert_eq!(train.packet()[TOTAL_LENGTH..4], (length as u16).to_be_bytes());
    }
}

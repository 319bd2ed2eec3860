//! Generic receive offload (GRO): TCP segments that follow each other are coalesced into one packet
//! before smoltcp sees them.
//!
//! To parse a segment and find what it means for its connection costs far more than to copy it. In
//! a turn the first two segments of a connection go up as they are, of which smoltcp acknowledges
//! the second at once. If the payload of the last is what the connection waited for, those behind
//! it are coalesced here.
//!
//! Behind a hole they go up one by one, until it is filled: each is to be answered by a duplicate
//! acknowledgement, since a sender tells a loss by how many there are (RFC 5681, 4.2).
//!
//! Where anything differs but for the payload and its place in the stream, what there is is
//! flushed: acknowledgement, flags, window. The same goes for anything but a plain segment of IPv4
//! with no options.

use alloc::vec::Vec;

use super::frame::{
    IPV4_HEADER, IPV4_TOTAL_LENGTH, TCP_ACK, TCP_ACKNOWLEDGEMENT, TCP_FLAGS, TCP_OFFSET, TCP_PUSH,
    TCP_SEQUENCE,
};

/// No options in either header.
const HEADERS: usize = IPV4_HEADER + 20;
const SEQUENCE: usize = IPV4_HEADER + TCP_SEQUENCE;
/// Behind it offset, flags and window.
const ACKNOWLEDGEMENT: usize = IPV4_HEADER + TCP_ACKNOWLEDGEMENT;
const OFFSET: usize = IPV4_HEADER + TCP_OFFSET;
const FLAGS: usize = IPV4_HEADER + TCP_FLAGS;
/// A TCP header of five words.
const NO_OPTIONS: u8 = 0x50;
/// The longest packet that IPv4 has.
const LONGEST: usize = u16::MAX as usize;

/// Segments of one connection.
#[derive(Default)]
pub(super) struct Gro {
    /// The headers of the first segment, and the payload of all. Empty where nothing is coalesced.
    packet: Vec<u8>,
    /// 0: there are none.
    len: usize,
    /// The sequence number that the connection waits for, if that is known.
    next: Option<u32>,
    /// Segments that became part of another's packet.
    #[cfg(test)]
    pub(super) coalesced: usize,
}

/// One that may be coalesced with others.
struct Segment<'a> {
    head: &'a [u8; HEADERS],
    payload: &'a [u8],
}

impl<'a> Segment<'a> {
    /// That of a packet of IPv4 with no options, which is no fragment. What is behind it in
    /// `packet` is no part of it.
    #[inline]
    fn of(packet: &'a [u8]) -> Option<Self> {
        let head = packet.first_chunk::<HEADERS>()?;
        let length = field(head, IPV4_TOTAL_LENGTH);
        let payload = packet.get(HEADERS..usize::from(u16::from_be_bytes(length)))?;
        let is_plain = head[OFFSET] == NO_OPTIONS && head[FLAGS] & !TCP_PUSH == TCP_ACK;
        (is_plain && !payload.is_empty()).then_some(Self { head, payload })
    }

    #[inline]
    fn sequence(&self) -> u32 {
        u32::from_be_bytes(field(self.head, SEQUENCE))
    }

    /// The sequence number of what follows.
    #[inline]
    fn end(&self) -> u32 {
        self.sequence().wrapping_add(self.payload.len() as u32)
    }
}

/// The sequence number of what follows the segment in a packet, if that may be coalesced.
#[inline]
pub(super) fn end(packet: &[u8]) -> Option<u32> {
    Segment::of(packet).map(|segment| segment.end())
}

impl Gro {
    /// Takes the memory for all that a packet may become, or gives it back. Nobody is to look at
    /// the checksums of what is coalesced.
    pub(super) fn enable(&mut self, enabled: bool) {
        let len = if enabled { LONGEST } else { 0 };
        self.next = None;
        if self.packet.len() != len {
            self.packet = alloc::vec![0; len];
        }
    }

    #[inline]
    pub(super) fn is_enabled(&self) -> bool {
        !self.packet.is_empty()
    }

    /// What the connection waits for, from now on: `None` where that is not known, or segments are
    /// to go up one by one.
    #[inline]
    pub(super) fn expect(&mut self, next: Option<u32>) {
        self.next = next.filter(|_| self.is_enabled());
    }

    /// Appends a segment, of a packet as [`Segment::of`] wants it with checksums that are right.
    /// Returns whether it is one that can be, follows, and differs in nothing from those that are
    /// there.
    #[inline]
    pub(super) fn push(&mut self, packet: &[u8]) -> bool {
        let Some(next) = self.next else { return false };
        let Some(segment) = Segment::of(packet) else { return false };
        if segment.sequence() != next {
            return false;
        }
        if self.len == 0 {
            self.packet[..HEADERS].copy_from_slice(segment.head);
            self.len = HEADERS;
        } else if meaning(segment.head) != meaning(self.head()) {
            return false;
        }
        let Some(room) = self.packet.get_mut(self.len..self.len + segment.payload.len()) else {
            return false;
        };
        room.copy_from_slice(segment.payload);
        #[cfg(test)]
        {
            self.coalesced += usize::from(self.len != HEADERS);
        }
        self.len += segment.payload.len();
        self.next = Some(segment.end());
        true
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Makes one packet of it. Its checksums are wrong.
    pub(super) fn finish(&mut self) {
        // It fits into the memory, which is that long.
        let length = (self.len as u16).to_be_bytes();
        self.packet[IPV4_TOTAL_LENGTH..IPV4_TOTAL_LENGTH + 2].copy_from_slice(&length);
    }

    pub(super) fn packet(&self) -> &[u8] {
        &self.packet[..self.len]
    }

    /// Begins another packet with what follows.
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

    const LENGTH: usize = IPV4_TOTAL_LENGTH;

    fn segment(sequence: u32, payload: &[u8]) -> Vec<u8> {
        let mut packet = std::vec![0; HEADERS];
        packet[0] = 0x45;
        packet[LENGTH..4].copy_from_slice(&((HEADERS + payload.len()) as u16).to_be_bytes());
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

    /// For a connection that waits for that.
    fn gro(next: u32) -> Gro {
        let mut gro = Gro::default();
        gro.enable(true);
        gro.expect(Some(next));
        gro
    }

    #[test]
    fn segments_that_follow_each_other_are_one_packet() {
        // Across the end of sequence numbers, and one padded to what a frame has at least.
        let first = u32::MAX - 1;
        let mut gro = gro(first);
        assert!(gro.is_empty() && gro.push(&segment(first, b"abc")));
        let mut padded = segment(1, b"d");
        padded.extend([0xee; 5]);
        assert!(gro.push(&padded));
        assert!(gro.push(&other(2, b"ef", &[(FLAGS, TCP_ACK | TCP_PUSH)])));
        gro.finish();
        assert_eq!(gro.packet(), segment(first, b"abcdef"));
        gro.clear();
        assert!(!gro.push(&segment(7, b"a gap")), "no packet begins with it either");
        assert!(gro.is_empty() && gro.push(&segment(4, b"x")));
        assert_eq!(gro.packet(), segment(4, b"x"));
    }

    #[test]
    fn nothing_is_coalesced_before_it_is_known_what_follows() {
        let mut gro = gro(3);
        gro.expect(None);
        assert!(!gro.push(&segment(3, b"abc")) && gro.is_empty());
        gro.expect(end(&segment(3, b"abc")));
        gro.enable(false);
        assert!(!gro.push(&segment(6, b"def")));
        gro.expect(Some(6));
        assert!(!gro.push(&segment(6, b"def")), "there is no memory for it");
    }

    #[test]
    fn what_does_not_follow_is_not_taken() {
        let mut gro = gro(0);
        assert!(gro.push(&segment(0, b"abc")));
        let not = [
            segment(4, b"a gap"),
            segment(2, b"once more"),
            segment(3, b""),
            other(3, b"another acknowledgement", &[(ACKNOWLEDGEMENT + 3, 1)]),
            other(3, b"another window", &[(FLAGS + 2, 1)]),
            other(3, b"the last", &[(FLAGS, TCP_ACK | 1)]),
            other(3, b"urgent", &[(FLAGS, TCP_ACK | 0x20)]),
            other(3, b"options", &[(OFFSET, 0x60)]),
            other(3, b"not all there", &[(LENGTH + 1, 255)]),
            other(3, b"no room for headers", &[(LENGTH + 1, 39)]),
            segment(3, b"cut")[..HEADERS - 1].to_vec(),
        ];
        for packet in not {
            assert!(!gro.push(&packet), "{packet:?}");
        }
        assert_eq!(gro.packet(), segment(0, b"abc"), "none of them has left a trace");
    }

    #[test]
    fn what_is_coalesced_is_no_longer_than_a_packet_can_be() {
        let (mut gro, part) = (gro(0), [7; 1460]);
        let parts = (0..100).take_while(|n| gro.push(&segment(n * 1460, &part))).count();
        assert_eq!(parts, (LONGEST - HEADERS) / 1460);
        gro.finish();
        let length = gro.packet().len();
        assert_eq!(gro.packet()[LENGTH..4], (length as u16).to_be_bytes());
    }
}

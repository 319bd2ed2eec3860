//! Frames as they travel over a QEMU `-netdev stream` socket: a length in network byte order, then
//! the Ethernet frame (QEMU `net/net.c`, `net_fill_rstate`, and `net/stream.c`,
//! `net_stream_receive`).

use super::table::Mac;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::fmt;
use std::time::Duration;

/// Bytes of the length before each frame.
pub const PREFIX: usize = 4;
/// Shortest frame that has addresses and a type.
const SHORTEST: usize = 14;
/// Longest frame a peer may send; QEMU's own limit (`NET_BUFSIZE`, `include/net/net.h`).
pub const LONGEST: usize = 4096 + 65536;

/// An Ethernet frame without its check sequence. Cloning shares the bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    wire: Bytes,
}

impl Frame {
    /// Wraps the Ethernet frame that `fill` appends to a buffer with room for `capacity` bytes.
    pub fn build(capacity: usize, fill: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut wire = Vec::with_capacity(PREFIX + capacity);
        wire.put_u32(0);
        fill(&mut wire);
        let length = (wire.len() - PREFIX) as u32;
        wire[..PREFIX].copy_from_slice(&length.to_be_bytes());
        Self { wire: wire.into() }
    }

    /// The Ethernet frame, from the destination address on.
    pub fn ethernet(&self) -> &[u8] {
        &self.wire[PREFIX..]
    }

    /// Length prefix and frame.
    pub fn wire(&self) -> &[u8] {
        &self.wire
    }

    /// Destination and source address; `None` when the frame is too short to be one.
    pub fn addresses(&self) -> Option<(Mac, Mac)> {
        let (destination, rest) = self.ethernet().split_first_chunk()?;
        let source = rest.first_chunk()?;
        (self.ethernet().len() >= SHORTEST).then_some((*destination, *source))
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({:02x?})", self.ethernet())
    }
}

/// What a peer sends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Item {
    Frame(Frame),
    /// A peer with a clock of its own tells the time, and waits for an answer: frames, and an empty
    /// one at their end (`qemu/lab`, `net/lockstep.c`).
    Tick(Tick),
}

/// The time of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tick {
    /// Since it began.
    pub(super) time: Duration,
    /// Frames that its NIC has not taken yet.
    pub(super) waiting: usize,
}

/// What ends an answer to a tick: the length of an empty frame.
pub(super) const END: [u8; PREFIX] = [0; PREFIX];
/// Behind the length of the empty frame that a tick is: nanoseconds and a count.
const TICK: usize = 8 + 4;

/// A peer claimed a frame longer than any: the stream has lost its framing.
#[derive(Debug)]
pub(super) struct Malformed;

/// Takes the next whole frame, or tick, off the front of `received`.
pub(super) fn split(received: &mut BytesMut) -> Result<Option<Item>, Malformed> {
    let Some(prefix) = received.first_chunk::<PREFIX>() else { return Ok(None) };
    let length = u32::from_be_bytes(*prefix) as usize;
    if length > LONGEST {
        return Err(Malformed);
    }
    if length == 0 {
        if received.len() < PREFIX + TICK {
            return Ok(None);
        }
        received.advance(PREFIX);
        let time = Duration::from_nanos(received.get_u64());
        return Ok(Some(Item::Tick(Tick { time, waiting: received.get_u32() as usize })));
    }
    if received.len() < PREFIX + length {
        return Ok(None);
    }
    Ok(Some(Item::Frame(Frame { wire: received.split_to(PREFIX + length).freeze() })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_any_cut_of_the_stream() {
        let frames =
            [60usize, 14, 1514].map(|n| Frame::build(n, |b| b.resize(PREFIX + n, n as u8)));
        let mut stream: Vec<u8> = frames.iter().flat_map(|f| f.wire().to_vec()).collect();
        stream.extend(END);
        stream.extend(250_000_u64.to_be_bytes());
        stream.extend(3_u32.to_be_bytes());
        let tick = Tick { time: Duration::from_micros(250), waiting: 3 };
        let items: Vec<Item> =
            frames.into_iter().map(Item::Frame).chain([Item::Tick(tick)]).collect();
        for cut in 0..stream.len() {
            let mut buffer = BytesMut::new();
            let mut got = Vec::new();
            for part in [&stream[..cut], &stream[cut..]] {
                buffer.extend_from_slice(part);
                while let Some(item) = split(&mut buffer).unwrap() {
                    got.push(item);
                }
            }
            assert_eq!(got, items, "cut at {cut}");
        }
    }

    #[test]
    fn an_impossible_length_is_refused() {
        let mut buffer = BytesMut::from(&[0xff, 0, 0, 0, 1, 2][..]);
        assert!(split(&mut buffer).is_err());
    }

    #[test]
    fn short_frames_have_no_addresses() {
        assert!(Frame::build(13, |b| b.resize(PREFIX + 13, 0)).addresses().is_none());
        let frame = Frame::build(14, |b| b.extend(0..14));
        assert_eq!(frame.addresses(), Some(([0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11])));
    }
}

//! The wire: Ethernet frames over a stream socket in the format of QEMU's `-netdev stream`, which
//! puts a length in network byte order before each frame (QEMU `net/stream.c` and `net/net.c`,
//! `net_fill_rstate`).

use std::{
    io::{self, ErrorKind, Write},
    os::unix::net::UnixStream,
};

/// Bytes of the length before each frame.
const PREFIX: usize = 4;
/// Longest frame that a peer may send: QEMU's own limit (`NET_BUFSIZE`, `include/net/net.h`).
const LONGEST: usize = 4096 + 65536;
/// Bytes that may wait for the peer before transmission pauses: more than the frames of one
/// segmented packet of 64 KiB.
const WAITING: usize = 256 << 10;

/// Frames on their way out.
#[derive(Default)]
pub(crate) struct Wire {
    peer: Option<UnixStream>,
    waiting: Vec<u8>,
    /// How many of the waiting bytes the peer has taken.
    gone: usize,
}

impl Wire {
    /// Connects a peer, by a non-blocking socket, or disconnects it.
    pub(crate) fn connect(&mut self, peer: Option<UnixStream>) {
        self.peer = peer;
        self.waiting.clear();
        self.gone = 0;
    }

    /// Adds a frame. Without a peer it is dropped.
    pub(crate) fn put(&mut self, frame: &[u8]) {
        if self.peer.is_some() {
            self.waiting.extend_from_slice(&(frame.len() as u32).to_be_bytes());
            self.waiting.extend_from_slice(frame);
        }
    }

    /// Whether there is room for more.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting.len() - self.gone < WAITING
    }

    /// Whether something waits for the peer.
    pub(crate) fn is_waiting(&self) -> bool {
        self.gone < self.waiting.len()
    }

    /// Sends as much as the peer takes. The engine, which reads, notices when a peer is gone.
    pub(crate) fn flush(&mut self) {
        let Some(peer) = &mut self.peer else { return };
        while self.gone < self.waiting.len() {
            match peer.write(&self.waiting[self.gone..]) {
                Ok(written) => self.gone += written,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => break,
            }
        }
        self.waiting.clear();
        self.gone = 0;
    }
}

/// Hands each whole frame at the front of `stream` to `take`, and returns how many bytes they were.
pub(crate) fn split(stream: &[u8], mut take: impl FnMut(&[u8])) -> io::Result<usize> {
    let mut at = 0;
    while let Some(prefix) = stream[at..].first_chunk::<PREFIX>() {
        let length = u32::from_be_bytes(*prefix) as usize;
        if length > LONGEST {
            return Err(io::Error::new(
                ErrorKind::InvalidData,
                format!("the peer announces a frame of {length} bytes"),
            ));
        }
        let Some(frame) = stream[at + PREFIX..].get(..length) else { break };
        take(frame);
        at += PREFIX + length;
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn frames_come_out_as_they_went_in() {
        let (mut here, there) = UnixStream::pair().unwrap();
        there.set_nonblocking(true).unwrap();
        let mut wire = Wire::default();
        wire.put(b"nobody is there");
        wire.connect(Some(there));
        let frames = [vec![1; 60], vec![2; 1514], vec![]];
        for frame in &frames {
            wire.put(frame);
        }
        wire.flush();
        assert!(!wire.is_waiting());
        let mut stream = vec![0; 60 + 1514 + 3 * PREFIX];
        here.read_exact(&mut stream).unwrap();
        let mut seen = Vec::new();
        assert_eq!(split(&stream, |frame| seen.push(frame.to_vec())).unwrap(), stream.len());
        assert_eq!(seen, frames);
        // A frame of which a part is missing stays.
        assert_eq!(split(&stream[..70], |_| {}).unwrap(), 64);
        assert!(split(&[0xff; 4], |_| {}).is_err());
    }

    #[test]
    fn a_slow_peer_makes_it_wait() {
        let (mut here, there) = UnixStream::pair().unwrap();
        there.set_nonblocking(true).unwrap();
        let mut wire = Wire::default();
        wire.connect(Some(there));
        let mut put = 0;
        while wire.has_room() {
            wire.put(&[7; 1514]);
            wire.flush();
            put += 1;
        }
        let reader = std::thread::spawn(move || {
            let mut stream = vec![0; put * 1518];
            here.read_exact(&mut stream).map(|()| stream)
        });
        while wire.is_waiting() {
            wire.flush();
        }
        let stream = reader.join().unwrap().unwrap();
        let mut count = 0;
        split(&stream, |frame| count += usize::from(frame == [7; 1514])).unwrap();
        assert_eq!(count, put);
    }
}

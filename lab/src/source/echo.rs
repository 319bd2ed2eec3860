//! A checked transfer over one TCP connection: bytes nobody could guess go to the guest's echo
//! service (RFC 862) from a [`Peer`](super::Peer), and each of them has to come back.

use super::meter::Transfer;
use super::pace::Bucket;
use super::tcp::TcpTrace;
use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{Relaxed, SeqCst},
};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Bytes written at a time.
const BLOCK: usize = 16 << 10;
/// Between two looks whether a block is due.
const TICK: Duration = Duration::from_millis(1);
/// How long nothing may come back before the connection counts as broken.
const PATIENCE: Duration = Duration::from_secs(60);
/// How finely what came back is timed.
const RESOLUTION: Duration = Duration::from_millis(10);

/// The transfer under way.
pub struct EchoSource {
    stream: UnixStream,
    shared: Arc<Shared>,
    writer: JoinHandle<Result<Sum>>,
    reader: JoinHandle<Result<(Sum, TcpTrace)>>,
}

#[derive(Default)]
struct Shared {
    /// No more than `least` bytes, if these have been sent.
    enough: AtomicBool,
    /// Nothing more for now.
    rests: AtomicBool,
    /// The writer has seen that.
    is_resting: AtomicBool,
    sent: AtomicU64,
    returned: AtomicU64,
}

/// What went through one end.
struct Sum {
    bytes: u64,
    sha256: String,
}

impl EchoSource {
    /// Sends by `stream`, a connection to an echo server, at most `bits_per_s` if given, until told
    /// to end, and in any case `least` bytes.
    ///
    /// # Errors
    /// The threads for it cannot be started.
    pub fn start(stream: UnixStream, bits_per_s: Option<u64>, least: u64) -> Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let shared = Arc::<Shared>::default();
        let (to, from) = (stream.try_clone()?, stream.try_clone()?);
        let (sending, receiving) = (shared.clone(), shared.clone());
        let writer = spawn("echo-send", move || send(to, bits_per_s, least, &sending))?;
        let reader = spawn("echo-receive", move || receive(from, &receiving))?;
        Ok(Self { stream, shared, writer, reader })
    }

    /// Sends nothing more until [`goes_on`](Self::goes_on), and waits for all that was sent to come
    /// back. Returns how many bytes that were so far.
    ///
    /// # Errors
    /// They do not.
    pub fn rest(&self) -> Result<u64> {
        self.shared.is_resting.store(false, SeqCst);
        self.shared.rests.store(true, SeqCst);
        let deadline = Instant::now() + PATIENCE;
        loop {
            // First: what has been sent does not grow any more once it is set.
            let is_resting = self.shared.is_resting.load(SeqCst);
            let [sent, returned] =
                [&self.shared.sent, &self.shared.returned].map(|count| count.load(SeqCst));
            if is_resting && sent == returned {
                return Ok(sent);
            }
            if self.reader.is_finished() || Instant::now() > deadline {
                bail!("of {sent} bytes that were sent, {returned} came back");
            }
            std::thread::sleep(TICK);
        }
    }

    /// After [`rest`](Self::rest).
    pub fn goes_on(&self) {
        self.shared.rests.store(false, SeqCst);
    }

    /// Ends the transfer and says what became of it.
    ///
    /// # Errors
    /// The connection broke, or a byte came back that was not sent.
    pub fn finish(self) -> Result<(TcpTrace, Transfer)> {
        self.shared.enough.store(true, Relaxed);
        let received = join(self.reader);
        if received.is_err() {
            // What the reader says is the reason; the writer must not wait for room for ever.
            let _ = self.stream.shutdown(Shutdown::Both);
        }
        let sent = join(self.writer);
        let (received, trace) = received?;
        let sent = sent?;
        if (sent.bytes, &sent.sha256) != (received.bytes, &received.sha256) {
            bail!(
                "{} bytes were sent (SHA-256 {}), and {} came back (SHA-256 {})",
                sent.bytes,
                sent.sha256,
                received.bytes,
                received.sha256
            );
        }
        Ok((trace, Transfer { bytes: sent.bytes, sha256: sent.sha256 }))
    }
}

impl super::meter::Traffic for EchoSource {
    fn flows_since(&self, _: Instant) -> bool {
        // What comes back from now on comes from where the guest is now.
        let before = self.shared.returned.load(Relaxed);
        std::thread::sleep(Duration::from_millis(500));
        self.shared.returned.load(Relaxed) > before
    }
}

fn spawn<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>> {
    std::thread::Builder::new()
        .name(name.into())
        .spawn(body)
        .with_context(|| format!("cannot start the thread {name}"))
}

fn join<T>(thread: JoinHandle<Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|_| bail!("the transfer's thread panicked"))
}

fn send(mut to: UnixStream, bits_per_s: Option<u64>, least: u64, shared: &Shared) -> Result<Sum> {
    let mut pattern = Pattern::default();
    let mut digest = Sha256::new();
    let mut block = [0; BLOCK];
    let mut bytes = 0;
    let mut bucket = bits_per_s.map(|rate| Bucket::new(rate, Instant::now()));
    while bytes < least || !shared.enough.load(Relaxed) {
        let rests = shared.rests.load(SeqCst) && !shared.enough.load(Relaxed);
        if rests {
            shared.is_resting.store(true, SeqCst);
            std::thread::sleep(TICK);
            continue;
        }
        let due = bucket.as_mut().map_or(1, |bucket| bucket.take(BLOCK, Instant::now()));
        for _ in 0..due {
            pattern.fill(&mut block);
            digest.update(block);
            to.write_all(&block).with_context(|| format!("sending after {bytes} bytes"))?;
            bytes += BLOCK as u64;
            shared.sent.store(bytes, SeqCst);
        }
        if due == 0 {
            std::thread::sleep(TICK);
        }
    }
    to.shutdown(Shutdown::Write)?;
    Ok(Sum { bytes, sha256: format!("{:x}", digest.finalize()) })
}

/// Compares what comes back with what was sent, up to its end. The first byte that differs ends it.
fn receive(mut from: UnixStream, shared: &Shared) -> Result<(Sum, TcpTrace)> {
    let mut pattern = Pattern::default();
    let mut digest = Sha256::new();
    let (mut block, mut expected) = ([0; BLOCK], [0; BLOCK]);
    let mut bytes = 0;
    let mut points = vec![(Instant::now(), 0.0)];
    loop {
        let len = from
            .read(&mut block)
            .with_context(|| format!("nothing came back any more after {bytes} bytes"))?;
        if len == 0 {
            let sha256 = format!("{:x}", digest.finalize());
            return Ok((Sum { bytes, sha256 }, TcpTrace::new(points)));
        }
        pattern.fill(&mut expected[..len]);
        if block[..len] != expected[..len] {
            let at = block.iter().zip(&expected).position(|(a, b)| a != b).unwrap_or(0);
            bail!(
                "byte {} is {:#04x}, and was sent as {:#04x}",
                bytes + at as u64,
                block[at],
                expected[at]
            );
        }
        digest.update(&block[..len]);
        bytes += len as u64;
        shared.returned.store(bytes, Relaxed);
        note(&mut points, Instant::now(), bytes as f64);
    }
}

/// Adds that `bytes` in all had arrived `now`, without making more of it than is worth knowing.
fn note(points: &mut Vec<(Instant, f64)>, now: Instant, bytes: f64) {
    if let [.., (before, _), last] = &mut points[..]
        && now - *before < RESOLUTION
    {
        *last = (now, bytes);
        return;
    }
    if let Some(&(last, known)) = points.last()
        && now - last > RESOLUTION
    {
        // Nothing came in between, and then all at once.
        points.push((now, known));
    }
    points.push((now, bytes));
}

/// Bytes without a period to hide a lost or repeated block in, the same for both ends: Marsaglia's
/// xorshift64.
struct Pattern {
    state: u64,
    /// Bytes of `state` that have been used.
    used: usize,
}

impl Default for Pattern {
    fn default() -> Self {
        Self { state: 0x9e37_79b9_7f4a_7c15, used: 0 }
    }
}

impl Pattern {
    fn fill(&mut self, bytes: &mut [u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let word = self.state.to_le_bytes();
            let len = rest.len().min(word.len() - self.used);
            let (now, later) = rest.split_at_mut(len);
            now.copy_from_slice(&word[self.used..][..len]);
            rest = later;
            self.used += len;
            if self.used == word.len() {
                self.used = 0;
                self.state ^= self.state << 13;
                self.state ^= self.state >> 7;
                self.state ^= self.state << 17;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Meter;

    /// An echo service that changes, drops or keeps a byte.
    fn server(change: impl Fn(u64, &mut Vec<u8>) + Send + 'static) -> UnixStream {
        let (mut stream, client) = UnixStream::pair().unwrap();
        std::thread::spawn(move || {
            let (mut block, mut bytes) = (vec![0; 1000], 0);
            while let Ok(len @ 1..) = stream.read(&mut block) {
                let mut piece = block[..len].to_vec();
                change(bytes, &mut piece);
                bytes += len as u64;
                if stream.write_all(&piece).is_err() {
                    break;
                }
            }
        });
        client
    }

    #[test]
    fn what_comes_back_unchanged_is_summed_up() {
        let source = EchoSource::start(server(|_, _| {}), None, 1_000_000).unwrap();
        let (trace, transfer) = source.finish().unwrap();
        assert!(transfer.bytes >= 1_000_000 && transfer.sha256.len() == 64, "{transfer:?}");
        let (from, to) = (Instant::now() - Duration::from_secs(60), Instant::now());
        let bits = trace.received(from, to).bits_per_s * (to - from).as_secs_f64();
        assert_eq!((bits / 8.0).round() as u64, transfer.bytes);
    }

    #[test]
    fn a_transfer_that_rests_has_all_of_it_back_and_goes_on() {
        let source = EchoSource::start(server(|_, _| {}), Some(80_000_000), 0).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        let first = source.rest().unwrap();
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(source.rest().unwrap(), first, "it sent while it rested");
        source.goes_on();
        std::thread::sleep(Duration::from_millis(50));
        assert!(source.rest().unwrap() > first && first > 0);
        assert_eq!(source.rest().unwrap(), source.finish().unwrap().1.bytes);
    }

    #[test]
    fn a_transfer_that_broke_does_not_come_to_rest() {
        let short = server(|bytes, piece| {
            if bytes > 100_000 {
                piece[0] ^= 1;
            }
        });
        let source = EchoSource::start(short, None, 0).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        assert!(source.rest().is_err());
        assert!(source.finish().is_err());
    }

    #[test]
    fn a_wrong_byte_is_named_and_so_is_a_missing_one() {
        let wrong = server(|bytes, piece| {
            if bytes > 500_000 {
                piece[0] ^= 1;
            }
        });
        let error = EchoSource::start(wrong, None, 1_000_000).unwrap().finish().unwrap_err();
        assert!(format!("{error:#}").contains("was sent as"), "{error:#}");
        let short = server(|bytes, piece| {
            if bytes == 0 {
                piece.clear();
            }
        });
        assert!(EchoSource::start(short, None, 100_000).unwrap().finish().is_err());
    }

    #[test]
    fn silence_is_a_gap() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut points = vec![(start, 0.0)];
        for ms in (1..=500).chain(900..1200) {
            note(&mut points, at(ms), ms as f64);
        }
        assert!(points.len() < 200, "{}", points.len());
        let gap = TcpTrace::new(points).longest_gap(start, at(1200)).unwrap();
        assert_eq!((gap.start, gap.end), (at(500), at(900)));
    }

    #[test]
    fn a_pattern_is_the_same_in_pieces() {
        let (mut whole, mut pieces) = ([0; 1000], [0; 1000]);
        Pattern::default().fill(&mut whole);
        let mut pattern = Pattern::default();
        for piece in pieces.chunks_mut(13) {
            pattern.fill(piece);
        }
        assert_eq!(whole, pieces);
        assert_ne!(whole[..500], whole[500..]);
    }
}

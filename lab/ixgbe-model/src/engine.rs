//! The thread that takes frames from the wire, and does what the device could not do at once.

use std::{
    io::{ErrorKind, Read},
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::{shared::Shared, wire};

/// Bytes read at a time. Not more, for nobody else can use the device while they are delivered.
const READ: usize = 64 << 10;
/// Room for one read and for a frame of which only a part had come before it.
const BUFFER: usize = READ + (128 << 10);
/// Time between attempts to connect to the peer.
const RETRY: Duration = Duration::from_millis(50);

/// Where the frames come from and go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Connects to the socket at this path, and tries again until that succeeds.
    Connect(PathBuf),
    /// Listens at this path. A new peer replaces the one before.
    Listen(PathBuf),
}

/// This process's end of the wire.
pub(crate) enum WireEnd {
    Connect(PathBuf),
    Listen(UnixListener),
}

/// Runs until the model stops.
pub(crate) fn run(shared: &Arc<Shared>, end: WireEnd) {
    let mut engine =
        Engine { end, peer: None, retry: Instant::now(), buffer: vec![0; BUFFER], filled: 0 };
    while !shared.is_stopping() {
        engine.turn(shared);
    }
}

struct Engine {
    end: WireEnd,
    peer: Option<UnixStream>,
    retry: Instant,
    buffer: Vec<u8>,
    filled: usize,
}

impl Engine {
    /// Waits for something to happen, and acts on it.
    fn turn(&mut self, shared: &Arc<Shared>) {
        self.connect(shared);
        let plan = shared.plan();
        let mut wanted = PollFlags::empty();
        wanted.set(PollFlags::IN, plan.readable);
        wanted.set(PollFlags::OUT, plan.writable);
        let mut until = plan.at;
        if self.peer.is_none() && matches!(self.end, WireEnd::Connect(_)) {
            until = Some(until.map_or(self.retry, |until| until.min(self.retry)));
        }
        let timeout = until.map(|until| {
            let left = until.saturating_duration_since(Instant::now());
            Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() }
        });
        let mut events = vec![PollFd::new(&shared.wake, PollFlags::IN)];
        if let Some(peer) = &self.peer {
            events.push(PollFd::new(peer, wanted));
        }
        if let WireEnd::Listen(listener) = &self.end {
            events.push(PollFd::new(listener, PollFlags::IN));
        }
        // An error is a signal's doing: then this turn finds nothing, and the next one follows.
        let _ = poll(&mut events, timeout.as_ref());
        let happened: Vec<PollFlags> = events.iter().map(PollFd::revents).collect();
        drop(events);
        if happened[0].contains(PollFlags::IN) {
            let _ = rustix::io::read(&shared.wake, &mut [0; 8]);
        }
        let input = PollFlags::IN | PollFlags::HUP | PollFlags::ERR;
        if self.peer.is_some() && happened[1].intersects(input) {
            self.take_in(shared);
        }
    }

    /// Connects to a peer, or accepts one, if there is one.
    fn connect(&mut self, shared: &Arc<Shared>) {
        let found = match &self.end {
            WireEnd::Listen(listener) => listener.accept().ok().map(|(peer, _)| peer),
            WireEnd::Connect(path) if self.peer.is_none() && Instant::now() >= self.retry => {
                self.retry = Instant::now() + RETRY;
                UnixStream::connect(path).ok()
            }
            WireEnd::Connect(_) => None,
        };
        let Some(peer) = found else { return };
        let ready = peer.set_nonblocking(true).and_then(|()| peer.try_clone());
        match ready {
            Ok(other) => {
                self.peer = Some(peer);
                self.filled = 0;
                shared.with(|device| device.connect(Some(other)));
            }
            Err(error) => log::error!("the peer's socket: {error}"),
        }
    }

    /// Reads frames and gives them to the device.
    fn take_in(&mut self, shared: &Arc<Shared>) {
        let Some(peer) = &mut self.peer else { return };
        let room = self.filled..(self.filled + READ).min(self.buffer.len());
        match peer.read(&mut self.buffer[room]) {
            Ok(0) => return self.disconnect(shared),
            Ok(count) => self.filled += count,
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                return;
            }
            Err(_) => return self.disconnect(shared),
        }
        let stream = &self.buffer[..self.filled];
        let taken = shared.with(|device| wire::split(stream, |frame| device.received(frame)));
        match taken {
            Ok(taken) => {
                self.buffer.copy_within(taken..self.filled, 0);
                self.filled -= taken;
            }
            Err(error) => {
                log::error!("{error}: disconnected");
                self.disconnect(shared);
            }
        }
    }

    fn disconnect(&mut self, shared: &Arc<Shared>) {
        self.peer = None;
        self.retry = Instant::now() + RETRY;
        shared.with(|device| device.connect(None));
    }
}

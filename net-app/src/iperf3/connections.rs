//! The data streams of a test over TCP.
//!
//! Which connection is which iperf3 does not say. The client opens those that it sends on first,
//! and servers go by the order in which they accept them (`iperf_run_server`). But networks
//! complete handshakes in another one, where a segment is lost or the backlog of QEMU's user
//! network is full; both sides then wait for the other, or both send (esnet/iperf, issue 2029). So
//! that order is what a test begins with, and what the client sends on is what it sends on.

use alloc::vec::Vec;
use core::cell::Cell;

use futures_util::stream::{FuturesUnordered, StreamExt};
use godwit::futures::select::{Either, select};
use godwit::net::{TcpListener, TcpStream};
use godwit::time::{Duration, Instant, TimeoutError, Timer, with_deadline};
use godwit::watch::Watch;

use super::control::{OPENING, read_cookie, turn_away};
use super::pace::{PACING, Pace};
use super::protocol::{Cookie, Parameters};

/// How long a connection may take to say which test it is for. Its word may be lost, and be
/// repeated ever more rarely; others are not kept out meanwhile.
const FIRST_WORD: Duration = Duration::from_secs(30);
/// How many of those that have not said so there may be beyond the streams of the test.
const STRANGERS: usize = 8;

/// The open connections of a test.
pub(super) struct Connections {
    all: Vec<Connection>,
    /// Of a test both ways, those that the client has sent on by now.
    heard: Watch<usize>,
}

struct Connection {
    stream: TcpStream,
    sends: Cell<bool>,
    bytes: Cell<u64>,
}

impl Connections {
    /// Accepts the streams of a test.
    pub(super) async fn open(
        listener: &TcpListener,
        cookie: &Cookie,
        parameters: &Parameters,
    ) -> Result<Self, TimeoutError> {
        let wanted = parameters.streams();
        let (mut accepted, mut opening) = (0, FuturesUnordered::new());
        let mut all = Vec::new();
        let mut deadline = Instant::now() + OPENING;
        while all.len() < wanted {
            let has_room = opening.len() < wanted + STRANGERS;
            let next = async {
                match has_room {
                    true => listener.accept().await,
                    false => core::future::pending().await,
                }
            };
            let opened = async {
                match opening.next().await {
                    Some(opened) => opened,
                    None => core::future::pending().await,
                }
            };
            match with_deadline(deadline, select(next, opened)).await? {
                Either::First(mut stream) => {
                    let place = accepted;
                    accepted += 1;
                    opening.push(async move {
                        let theirs = read_cookie(&mut stream, FIRST_WORD).await;
                        (place, stream, theirs)
                    });
                }
                Either::Second((place, stream, Ok(theirs))) if theirs == *cookie => {
                    stream.set_nagle(!parameters.nodelay);
                    all.push((place, stream));
                    deadline = Instant::now() + OPENING;
                }
                Either::Second((_, stream, Ok(_))) => turn_away(stream).await,
                // Whoever it was, the client itself would have sent a cookie.
                Either::Second((_, stream, Err(why))) => {
                    godwit::log::trace!("iperf3: {}: no stream: {why}", stream.peer());
                }
            }
        }
        all.sort_by_key(|(place, _)| *place);
        let open = |(index, (_, stream))| {
            let sends = Cell::new(index >= parameters.receiving);
            Connection { stream, sends, bytes: Cell::new(0) }
        };
        Ok(Self { all: all.into_iter().enumerate().map(open).collect(), heard: Watch::new(0) })
    }

    /// Moves data until they are closed.
    pub(super) async fn run(&self, parameters: &Parameters) {
        let run = |connection| self.run_one(connection, parameters);
        let mut all: FuturesUnordered<_> = self.all.iter().map(run).collect();
        while all.next().await.is_some() {}
    }

    /// Forgets what was counted so far.
    pub(super) fn restart(&self) {
        self.all.iter().for_each(|connection| connection.bytes.set(0));
    }

    /// What each has moved, in the client's order: those that it sends on come first.
    pub(super) fn bytes(&self) -> impl Iterator<Item = u64> {
        let of = |sends| self.all.iter().filter(move |connection| connection.sends.get() == sends);
        of(false).chain(of(true)).map(|connection| connection.bytes.get())
    }

    async fn run_one(&self, connection: &Connection, parameters: &Parameters) {
        if parameters.receiving == 0 {
            return connection.send(parameters.rate).await;
        }
        if parameters.sending == 0 {
            return connection.receive().await;
        }
        let send = async {
            if !connection.sends.get() {
                // It is ours to send on if the client sends on as many others as it has to.
                self.heard.watcher().wait_for(|&heard| heard == parameters.receiving).await;
                connection.sends.set(true);
            }
            connection.send(parameters.rate).await;
        };
        if let Either::First(Some(first)) = select(connection.receive_some(), send).await {
            if connection.sends.replace(false) {
                godwit::log::info!("iperf3: a stream came in another order than it was opened");
            }
            connection.bytes.set(first);
            self.heard.update(|heard| *heard += 1);
            connection.receive().await;
        }
    }
}

impl Connection {
    fn count(&self, bytes: u64) {
        self.bytes.set(self.bytes.get() + bytes);
    }

    /// Receives some bytes, and returns how many; `None` when there will be no more.
    async fn receive_some(&self) -> Option<u64> {
        self.stream.read_with(|data| (data.len(), data.len() as u64)).await.ok().flatten()
    }

    async fn receive(&self) {
        while let Some(received) = self.receive_some().await {
            self.count(received);
        }
    }

    /// Sends as fast as the window allows, or so many bits a second. The payload means nothing, so
    /// it is left as it is in the socket buffer.
    async fn send(&self, rate: Option<u64>) {
        match rate {
            None => while self.send_up_to(u64::MAX).await.is_some() {},
            Some(rate) => self.send_paced(rate).await,
        }
    }

    /// Sends that many bytes at most; `None` when there is nobody to send to.
    async fn send_up_to(&self, most: u64) -> Option<u64> {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let write = self.stream.write_with(|room| {
            let len = room.len().min(most);
            (len, len as u64)
        });
        let sent = write.await.ok()?;
        self.count(sent);
        Some(sent)
    }

    async fn send_paced(&self, rate: u64) {
        let pace = Pace::new(rate);
        let mut sent = 0;
        loop {
            let due = pace.due().saturating_sub(sent);
            if due == 0 {
                Timer::after(PACING).await;
                continue;
            }
            let Some(more) = self.send_up_to(due).await else { return };
            sent += more;
        }
    }
}

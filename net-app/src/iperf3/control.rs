//! The control connection: state bytes, JSON messages, refusals.

use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;
use core::time::Duration;

use godwit::futures::select::{Either, select};
use godwit::io::{Read, ReadExactError, Write};
use godwit::net::{Error, TcpListener, TcpStream};
use godwit::time::with_timeout;

use super::protocol::{Cookie, MAX_JSON, Refusal, state};

/// How long the client may take over one message. On a busy machine more than 10 s were seen. Until
/// a client that is gone is given up, it takes as long.
const PATIENCE: godwit::time::Duration = godwit::time::Duration::from_secs(30);
/// How long it may take to say who it is. Clients do that at once, and others are kept out
/// meanwhile.
const COOKIE: godwit::time::Duration = godwit::time::Duration::from_secs(2);
/// How long the client may take to open its next stream. A connection whose first SYNs are lost
/// takes 63 s with the sixth that follows them (RFC 6298, section 2), and some networks lose many
/// of a burst: QEMU's user network has a backlog of 1.
pub(super) const OPENING: godwit::time::Duration = godwit::time::Duration::from_secs(70);
/// How long a connection that is told to go away may take to say who it is.
const DENIAL: godwit::time::Duration = godwit::time::Duration::from_secs(1);

/// Why a test ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The client closed or reset the control connection, or vanished.
    ClientGone,
    /// The client terminated the test.
    ClientTerminated,
    /// The client stopped talking in the middle of the protocol.
    Silent,
    /// Out of place in the protocol.
    UnknownMessage(u8),
    /// The test was not possible; the client was told why.
    Refused(Refusal),
    /// The test ran far longer than the client said.
    Overdue,
}

impl Failure {
    /// What it means that the client has this state, where the test does not go on with it.
    pub(super) fn unexpected(state: u8) -> Self {
        match state {
            state::CLIENT_TERMINATE => Self::ClientTerminated,
            other => Self::UnknownMessage(other),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClientGone => f.write_str("client gone"),
            Self::ClientTerminated => f.write_str("terminated by the client"),
            Self::Silent => f.write_str("client stopped talking"),
            Self::UnknownMessage(byte) => write!(f, "unexpected message {byte} from the client"),
            Self::Refused(why) => write!(f, "refused: {why:?}"),
            Self::Overdue => f.write_str("the client did not end the test in time"),
        }
    }
}

impl From<Error> for Failure {
    fn from(_: Error) -> Self {
        Self::ClientGone
    }
}

impl From<ReadExactError<Error>> for Failure {
    fn from(_: ReadExactError<Error>) -> Self {
        Self::ClientGone
    }
}

/// The control connection of a test.
pub(super) struct Control {
    stream: TcpStream,
    pub(super) cookie: Cookie,
    /// Where the client is.
    pub(super) client: IpAddr,
}

impl Control {
    /// Takes a connection that says it wants a test.
    pub(super) async fn new(mut stream: TcpStream) -> Result<Self, Failure> {
        stream.set_nagle(false);
        // A client can vanish without a word in the middle of a UDP or reverse test.
        stream.set_keep_alive(Some(Duration::from_secs(5)));
        stream.set_timeout(Some(Duration::from_secs(30)));
        let (cookie, client) = (read_cookie(&mut stream, COOKIE).await?, stream.peer().ip());
        Ok(Self { stream, cookie, client })
    }

    /// Tells the client the new state.
    pub(super) async fn send_state(&mut self, state: u8) -> Result<(), Failure> {
        Ok(self.stream.write_all(&[state]).await?)
    }

    /// Waits for the client's next state, however long the test takes. May be dropped and called
    /// again.
    pub(super) async fn state(&self) -> Result<u8, Failure> {
        self.stream.read_with(|data| (1, data[0])).await?.ok_or(Failure::ClientGone)
    }

    /// Receives a JSON message: its length as 32 bits in network order, then the text.
    pub(super) async fn json(&mut self) -> Result<Vec<u8>, Failure> {
        let read = async {
            let mut length = [0; 4];
            self.stream.read_exact(&mut length).await?;
            let length = u32::from_be_bytes(length) as usize;
            if length > MAX_JSON {
                return Err(Failure::Refused(Refusal::Parameters));
            }
            let mut text = vec![0; length];
            self.stream.read_exact(&mut text).await?;
            Ok(text)
        };
        with_timeout(PATIENCE, read).await.unwrap_or(Err(Failure::Silent))
    }

    /// Sends a JSON message.
    pub(super) async fn send_json(&mut self, json: &[u8]) -> Result<(), Failure> {
        self.stream.write_all(&(json.len() as u32).to_be_bytes()).await?;
        Ok(self.stream.write_all(json).await?)
    }

    /// Tells the client why there will be no test.
    pub(super) async fn refuse(&mut self, why: Refusal) {
        let mut message = [0; 9];
        message[0] = state::SERVER_ERROR;
        message[1..5].copy_from_slice(&(why as u32).to_be_bytes());
        // The errno that follows is 0: no system call failed. If the client is gone, it need not
        // know.
        let _ = self.stream.write_all(&message).await;
    }
}

/// Reads the cookie each connection starts with.
pub(super) async fn read_cookie(
    stream: &mut TcpStream,
    patience: godwit::time::Duration,
) -> Result<Cookie, Failure> {
    let mut cookie = [0; size_of::<Cookie>()];
    with_timeout(patience, stream.read_exact(&mut cookie)).await.map_err(|_| Failure::Silent)??;
    Ok(cookie)
}

/// Sends a connection away: the server is busy.
pub(super) async fn deny(mut stream: TcpStream) {
    // Its cookie is read first, so that closing the connection is no reset that overtakes the
    // answer.
    let _ = read_cookie(&mut stream, DENIAL).await;
    turn_away(stream).await;
}

/// The same for one whose cookie has been read.
pub(super) async fn turn_away(mut stream: TcpStream) {
    let _ = stream.write_all(&[state::ACCESS_DENIED]).await;
}

/// Runs `work` while every new connection is told that the server is busy.
pub(super) async fn busy<T>(listener: &TcpListener, work: impl Future<Output = T>) -> T {
    let deny = async {
        loop {
            deny(listener.accept().await).await;
        }
    };
    match select(work, deny).await {
        Either::First(result) => result,
        Either::Second(never) => never,
    }
}

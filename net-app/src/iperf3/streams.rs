//! The data streams of a test, TCP and UDP.

use alloc::vec::Vec;
use core::cell::RefCell;
use core::net::{IpAddr, SocketAddr};

use godwit::Interface;
use godwit::futures::select::{Either, select};
use godwit::futures::yield_now;
use godwit::net::{Error, TcpListener, UdpOptions, UdpSocket};
use godwit::time::{Duration, Instant, TimeoutError, Timer, with_deadline};

use super::connections::Connections;
use super::control::{Control, Failure, OPENING};
use super::datagram::{self, CONNECT_REPLY, Header};
use super::pace::{PACING, Pace};
use super::protocol::{PORT, Parameters, Protocol, Refusal, StreamResult, state, stream_id};

/// UDP socket buffers: a few milliseconds of a 10 Gbit/s burst.
const OPTIONS: UdpOptions = UdpOptions { datagrams: 1024, bytes: 1024 * 1024 };

/// How long there may be no memory for a socket, and how often it is asked for.
const MEMORY: Duration = Duration::from_secs(3);
const AGAIN: Duration = Duration::from_millis(100);

/// The open streams of a test.
pub(super) enum Streams {
    Tcp(Connections),
    Udp(UdpData),
}

impl Streams {
    /// Has the client open all streams. Until it has, it may say no more than that it gives up, or
    /// just go.
    pub(super) async fn open(
        interface: &Interface,
        listener: &TcpListener,
        control: &mut Control,
        parameters: &Parameters,
    ) -> Result<Self, Failure> {
        // Bound before the client is asked: its first datagram is not repeated.
        let datagrams = match parameters.protocol {
            Protocol::Tcp => None,
            Protocol::Udp => {
                Some(UdpData::new(interface).await.ok_or(Failure::Refused(Refusal::Accept))?)
            }
        };
        control.send_state(state::CREATE_STREAMS).await?;
        let open = async {
            Ok(match datagrams {
                None => Self::Tcp(Connections::open(listener, &control.cookie, parameters).await?),
                Some(data) => {
                    data.open(control.client, parameters).await?;
                    Self::Udp(data)
                }
            })
        };
        match select(open, control.state()).await {
            Either::First(streams) => {
                streams.map_err(|TimeoutError| Failure::Refused(Refusal::Accept))
            }
            Either::Second(state) => Err(state.map_or_else(|why| why, Failure::unexpected)),
        }
    }

    /// Moves data until dropped.
    pub(super) async fn run(&self, parameters: &Parameters) {
        match self {
            Self::Tcp(connections) => connections.run(parameters).await,
            Self::Udp(data) => {
                select(data.receive(parameters), data.send(parameters)).await;
            }
        }
    }

    /// Forgets what was counted so far.
    pub(super) fn restart(&self) {
        match self {
            Self::Tcp(connections) => connections.restart(),
            Self::Udp(data) => data.flows.borrow_mut().iter_mut().for_each(Flow::restart),
        }
    }

    /// What each stream moved in `seconds`.
    pub(super) fn results(&self, seconds: f64) -> Vec<StreamResult> {
        let blank = |index, bytes| StreamResult {
            id: stream_id(index),
            bytes,
            retransmits: 0,
            jitter: 0.0,
            errors: 0,
            omitted_errors: 0,
            packets: 0,
            omitted_packets: 0,
            start_time: 0.0,
            end_time: seconds,
        };
        match self {
            Self::Tcp(connections) => {
                connections.bytes().enumerate().map(|(index, bytes)| blank(index, bytes)).collect()
            }
            Self::Udp(data) => {
                let report = |(index, flow): (usize, &Flow)| {
                    let mut result = blank(index, flow.bytes_sent);
                    if flow.sends {
                        (result.packets, result.omitted_packets) = (flow.sent, flow.omitted);
                    } else {
                        flow.receiver.report(&mut result);
                    }
                    result
                };
                data.flows.borrow().iter().enumerate().map(report).collect()
            }
        }
    }
}

/// All UDP streams of a test. They share a socket, told apart by where the client sends from.
pub(super) struct UdpData {
    socket: UdpSocket,
    flows: RefCell<Vec<Flow>>,
}

/// One UDP stream.
struct Flow {
    peer: SocketAddr,
    sends: bool,
    receiver: datagram::Receiver,
    /// Datagrams sent, and those of them that do not count.
    sent: u64,
    omitted: u64,
    bytes_sent: u64,
}

impl Flow {
    fn restart(&mut self) {
        self.receiver.restart();
        self.omitted = self.sent;
        self.bytes_sent = 0;
    }
}

impl UdpData {
    /// `None` if there can be no socket, nor soon: the connections of the test before have memory
    /// until they have said goodbye. What those have that are over, a socket takes by itself.
    async fn new(interface: &Interface) -> Option<Self> {
        let deadline = Instant::now() + MEMORY;
        loop {
            match interface.udp().bind_with(PORT, OPTIONS) {
                Ok(socket) => return Some(Self { socket, flows: RefCell::new(Vec::new()) }),
                Err(Error::NoMemory) if Instant::now() <= deadline => Timer::after(AGAIN).await,
                Err(_) => return None,
            }
        }
    }

    /// Waits for the first datagram of each stream and answers it. Only the client's: whoever may
    /// pretend to be somebody else could have this send to him.
    async fn open(&self, client: IpAddr, parameters: &Parameters) -> Result<(), TimeoutError> {
        let mut answer = Vec::new();
        let mut deadline = Instant::now() + OPENING;
        while self.flows.borrow().len() < parameters.streams() {
            let opened = self.flows.borrow().len();
            let received = self.socket.receive_each(|peer, payload| {
                let mut flows = self.flows.borrow_mut();
                let is_ours = peer.ip() == client && datagram::is_connect(payload);
                if !is_ours || flows.len() == parameters.streams() {
                    return;
                }
                if flows.iter().all(|flow| flow.peer != peer) {
                    let sends = flows.len() >= parameters.receiving;
                    let receiver = datagram::Receiver::default();
                    flows.push(Flow { peer, sends, receiver, sent: 0, omitted: 0, bytes_sent: 0 });
                }
                answer.push(peer);
            });
            with_deadline(deadline, received).await?;
            if self.flows.borrow().len() > opened {
                deadline = Instant::now() + OPENING;
            }
            for peer in answer.drain(..) {
                // A client that gets none asks again.
                let _ = self.socket.send_to(&CONNECT_REPLY, peer).await;
            }
        }
        Ok(())
    }

    async fn receive(&self, parameters: &Parameters) {
        loop {
            let now = Instant::now().as_micros();
            self.socket
                .receive_each(|peer, payload| {
                    let mut flows = self.flows.borrow_mut();
                    let flow = flows.iter_mut().find(|flow| flow.peer == peer && !flow.sends);
                    if let Some(flow) = flow {
                        flow.receiver.receive(payload, parameters.wide_counters, now);
                    }
                })
                .await;
        }
    }

    /// Sends on all sending streams in turn: the socket can wake one sender only.
    async fn send(&self, parameters: &Parameters) {
        let pace = parameters.rate.map(Pace::new);
        let count = self.flows.borrow().len();
        if parameters.sending == 0 {
            return core::future::pending().await;
        }
        let mut sent_each = 0;
        loop {
            if pace.as_ref().is_some_and(|pace| sent_each >= pace.due()) {
                Timer::after(PACING).await;
                continue;
            }
            for index in count - parameters.sending..count {
                self.send_one(index, parameters).await;
            }
            sent_each += parameters.datagram as u64;
        }
    }

    async fn send_one(&self, index: usize, parameters: &Parameters) {
        let (peer, number) = {
            let flows = self.flows.borrow();
            (flows[index].peer, flows[index].sent + 1)
        };
        let header = Header { sent_us: Instant::now().as_micros(), number };
        let emit = |payload: &mut [u8]| header.emit(payload, parameters.wide_counters);
        if self.socket.send_with(peer, parameters.datagram, emit).await.is_ok() {
            let mut flows = self.flows.borrow_mut();
            flows[index].sent = number;
            flows[index].bytes_sent += parameters.datagram as u64;
        } else {
            // Not possible at all; the client will see nothing arrive.
            yield_now().await;
        }
    }
}

/// Runs `work` until `end` is ready, and returns what `end` says.
pub(super) async fn until<T>(work: impl Future<Output = ()>, end: impl Future<Output = T>) -> T {
    let work = async {
        work.await;
        core::future::pending::<()>().await;
    };
    match select(end, work).await {
        Either::First(result) => result,
        Either::Second(()) => unreachable!("the work never ends"),
    }
}

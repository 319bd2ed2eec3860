//! Clients of the demo's services, over a wire to the machine that has them: what they say on up to
//! four connections, cut short and mixed up as they like.
//!
//! The machine is the same for all inputs of a thread, as it is for the clients of a network, and
//! after each input the next client has to be served.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::{Duration as StdDuration, Instant as StdInstant};

use godwit::System;
use godwit::cmdline::Size;
use godwit::futures::join::join;
use godwit::futures::yield_now;
use godwit::host::{run, wired_machines};
use godwit::io::{Read, Write};
use godwit::net::{Tcp, TcpStream};
use godwit::time::{Duration, Instant, with_timeout};

use crate::steps::{Step, input, steps};

const HTTP: u16 = 80;
const IPERF3: u16 = 5201;
const COOKIE: [u8; 37] = *b"abcdefghijklmnopqrstuvwxyz0123456789\0";
/// The server's word that it wants the parameters of a test (`PARAM_EXCHANGE`).
const PARAMETERS: u8 = 9;

/// Of a step's control byte, the low bits say on which connection. After the bytes …
const CONNECTIONS: usize = 4;
/// … what has arrived is read,
const READ: u8 = 2;
/// … there will be no more of them,
const SHUT: u8 = 3;
/// … the connection is reset,
const RESET: u8 = 4;
/// … and so many turns are waited for.
const WAIT: u8 = 5;
const TURNS: usize = 100;
/// What a server may take to take a step's bytes: not at all, if it has no use for them.
const PATIENCE: Duration = Duration::from_millis(5);
/// What the next client may be kept waiting for, on a busy machine.
const SERVED: Duration = Duration::from_secs(20);
/// The same, of a machine that does nothing any more.
const STUCK: StdDuration = StdDuration::from_secs(60);

/// What is to be done by the client's machine.
type Job = (u16, Vec<u8>);

struct Machines {
    both: Pin<Box<dyn Future<Output = ()>>>,
    job: Rc<RefCell<Option<Job>>>,
    is_done: Rc<Cell<bool>>,
}

thread_local! {
    static MACHINES: RefCell<Machines> = RefCell::new(Machines::new());
}

impl Machines {
    fn new() -> Self {
        let [(pool_a, a), (pool_b, b)] = wired_machines();
        let (job, is_done) = (Rc::default(), Rc::<Cell<bool>>::default());
        let (next, done) = (Rc::<RefCell<Option<Job>>>::clone(&job), is_done.clone());
        let serve = async |system: System| {
            let net = system.interface(0).await;
            net_app::serve(&system, net, system.recorder(Size(64 << 10)));
        };
        let visit = async move |system: System| {
            let net = system.interface(0).await;
            net.ready().await;
            while Rc::strong_count(&next) > 1 {
                let job = next.borrow_mut().take();
                if let Some((port, input)) = job {
                    talk(&net.tcp(), port, &input).await;
                    check(&net.tcp(), port).await;
                    done.set(true);
                }
                yield_now().await;
            }
        };
        let both = async move {
            join(
                run(pool_a, "ip=10.9.0.1/24 ip6=off", a, serve),
                run(pool_b, "ip=10.9.0.2/24 ip6=off", b, visit),
            )
            .await;
        };
        Self { both: Box::pin(both), job, is_done }
    }

    /// Has it done.
    fn carry_out(&mut self, job: Job) {
        self.is_done.set(false);
        *self.job.borrow_mut() = Some(job);
        let start = StdInstant::now();
        while !self.is_done.get() {
            let ended = self.both.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert!(ended.is_pending(), "a machine has ended");
            assert!(start.elapsed() < STUCK, "the machine does nothing any more");
        }
    }
}

fn visit(port: u16, input: &[u8]) {
    MACHINES.with_borrow_mut(|machines| machines.carry_out((port, input.to_vec())));
}

/// Clients of the iperf3 server.
pub(crate) fn iperf3(input: &[u8]) {
    visit(IPERF3, input);
}

/// Clients of the status page.
pub(crate) fn http(input: &[u8]) {
    visit(HTTP, input);
}

async fn connect(tcp: &Tcp, port: u16) -> TcpStream {
    let server = SocketAddr::from(([10, 9, 0, 1], port));
    with_timeout(SERVED, tcp.connect(server)).await.expect("an answer").expect("a connection")
}

async fn talk(tcp: &Tcp, port: u16, input: &[u8]) {
    let mut streams = [const { None }; CONNECTIONS];
    for step in steps(input) {
        let place = &mut streams[usize::from(step.control) % CONNECTIONS];
        let stream = match place {
            Some(stream) => stream,
            None => place.insert(connect(tcp, port).await),
        };
        say(stream, step).await;
        if step.has(RESET) {
            stream.abort();
            *place = None;
        }
        if step.has(WAIT) {
            for _ in 0..TURNS {
                yield_now().await;
            }
        }
    }
    // Who is told so frees what is kept for them at once.
    streams.iter().flatten().for_each(TcpStream::abort);
}

async fn say(stream: &mut TcpStream, step: Step<'_>) {
    let talk = async {
        stream.write_all(step.bytes).await?;
        if step.has(SHUT) {
            stream.shutdown().await?;
        }
        if step.has(READ) {
            let mut answer = [0; 2048];
            stream.read(&mut answer).await?;
        }
        Ok::<_, godwit::net::Error>(())
    };
    // However it ends.
    let _ = with_timeout(PATIENCE, talk).await;
}

/// Whether the next client is served.
async fn check(tcp: &Tcp, port: u16) {
    let deadline = Instant::now() + SERVED;
    loop {
        let answer = match port {
            HTTP => status(tcp).await,
            _ => offer(tcp).await,
        };
        match answer {
            Some(()) => return,
            None => assert!(Instant::now() < deadline, "the next client is not served"),
        }
        yield_now().await;
    }
}

async fn status(tcp: &Tcp) -> Option<()> {
    let mut stream = connect(tcp, HTTP).await;
    let mut answer = Vec::new();
    let ask = async {
        let request = b"GET /status.json HTTP/1.1\r\nHost: guest\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.ok()?;
        let mut piece = [0; 512];
        loop {
            match stream.read(&mut piece).await.ok()? {
                0 => return Some(()),
                len => answer.extend_from_slice(&piece[..len]),
            }
        }
    };
    with_timeout(SERVED, ask).await.ok()??;
    (answer.starts_with(b"HTTP/1.1 200") && answer.ends_with(b"}")).then_some(())
}

async fn offer(tcp: &Tcp) -> Option<()> {
    let mut stream = connect(tcp, IPERF3).await;
    let mut state = [0];
    let ask = async {
        stream.write_all(&COOKIE).await.ok()?;
        stream.read_exact(&mut state).await.ok()
    };
    let answered = with_timeout(SERVED, ask).await.ok().flatten();
    stream.abort();
    answered.filter(|()| state == [PARAMETERS])
}

fn on(connection: u8, more: u8) -> u8 {
    connection | 1 << WAIT | more
}

/// Tests, of which some are asked for only.
pub(crate) fn iperf3_seeds() -> Vec<Vec<u8>> {
    let wanting = |json: &[u8]| [&(json.len() as u32).to_be_bytes(), json].concat();
    let one = wanting(br#"{"tcp":true,"omit":0,"time":1,"parallel":1,"len":131072}"#);
    let both = wanting(br#"{"tcp":true,"time":1,"parallel":1,"bidirectional":true,"omit":1}"#);
    let back = wanting(br#"{"tcp":true,"time":1,"parallel":2,"reverse":true,"bandwidth":1e6}"#);
    let udp = wanting(br#"{"udp":true,"omit":1e3,"parallel":-1,"len":1e99}"#);
    let results = wanting(br#"{"cpu_util_total":1,"streams":[]}"#);
    let (hello, read) = (&COOKIE[..], 1 << READ);
    vec![
        input([
            (on(0, read), hello),
            (on(0, read), &one),
            (on(1, 0), hello),
            (on(0, read), b""),
            (on(1, 0), &[7; 500]),
            (on(0, read), &[4]),
            (on(0, read), &results),
            (on(0, 1 << SHUT), &[16]),
        ]),
        input([
            (on(0, read), hello),
            (on(0, read), &both),
            (on(1, 0), hello),
            (on(2, 0), hello),
            (on(2, 0), &[7; 500]),
            (on(1, read), b""),
            (on(0, 1 << RESET), &[12]),
        ]),
        input([
            (on(0, read), hello),
            (on(0, read), &back),
            (on(1, 0), hello),
            (on(2, 1 << RESET), hello),
            (on(3, 0), &[0; 37]),
            (on(1, read), b""),
        ]),
        input([(on(0, 0), &[hello, &udp, &[4, 12, 13, 16]].concat()[..])]),
        input([(on(0, read), hello), (on(0, read), &[&[0xff; 4][..], &[b'['; 3000]].concat())]),
        input([(on(0, 0), &hello[..9]), (on(1, 0), hello), (on(0, 0), &hello[9..])]),
    ]
}

/// Requests, of which some are none.
pub(crate) fn http_seeds() -> Vec<Vec<u8>> {
    let requests: [&[u8]; 9] = [
        b"GET / HTTP/1.1\r\nHost: guest\r\nConnection: close\r\n\r\n",
        b"GET /metrics HTTP/1.0\r\n\r\n",
        b"GET /capture.pcapng HTTP/1.1\r\nHost: guest\r\nRange: bytes=0-9\r\n\r\n",
        b"GET /events HTTP/1.1\r\nAccept: text/event-stream\r\n\r\n",
        b"GET /status.json HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\n\r\n",
        b"POST /check?a=%2 HTTP/1.1\r\nAuthorization: Bearer x\r\n\
          Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        b"POST /reset HTTP/1.1\r\nExpect: 100-continue\r\n\
          Content-Length: 18446744073709551615\r\n\r\n",
        b"HEAD /../%00 HTTP/9.9\r\n: \r\n a\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
    ];
    let long = [&b"GET /"[..], &[b'a'; 5000], b" HTTP/1.1\r\n\r\n"].concat();
    let mut seeds: Vec<_> = requests
        .iter()
        .map(|request| {
            let (head, tail) = request.split_at(request.len() / 2);
            input([(on(0, 0), head), (on(0, 1 << READ), tail), (on(1, 1 << RESET), head)])
        })
        .collect();
    seeds.push(input([(on(0, 1 << SHUT), &long[..])]));
    seeds
}

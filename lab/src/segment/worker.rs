//! The thread that moves frames between ports.

use super::frame::{self, Frame, Item, Tick};
use super::local::{Inbox, WhenFull};
use super::pcap;
use super::port::Port;
use super::queue::{LIFETIME, Queue};
use super::table::{self, Table};
use crate::clock::Clock;
use bytes::BytesMut;
use mio::net::{UnixListener, UnixStream};
use mio::{Events, Interest, Poll, Token};
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// Token of the waker.
pub(super) const WAKE: Token = Token(usize::MAX);
/// Addresses the switch learns at most.
const ADDRESSES: usize = 1024;
/// How many frames a peer in lockstep is given beyond what its NIC takes: in one of its periods, a
/// NIC takes fewer.
const AHEAD: usize = 128;
/// How much is read from a socket before others have their turn.
const READ: usize = 64 << 10;
/// How long frames may sit without another look at their age.
const TICK: Duration = Duration::from_millis(20);

pub(super) enum Command {
    Listen {
        port: Arc<Port>,
        listener: UnixListener,
    },
    Local {
        port: Arc<Port>,
        inbox: Arc<Inbox>,
        outbox: mpsc::SyncSender<(Frame, Instant)>,
    },
    /// Said of the next frame, in the capture.
    Remark(String),
    Stop,
}

enum Peer {
    Socket { listener: UnixListener, stream: Option<Stream>, queue: Queue },
    Local { inbox: Arc<Inbox>, outbox: mpsc::SyncSender<(Frame, Instant)>, blocked: bool },
}

struct Stream {
    socket: UnixStream,
    received: BytesMut,
    /// More may be waiting than was read; edge-triggered polling will not say so again.
    more: bool,
    lockstep: Lockstep,
}

/// Whether a peer has the time of the segment's clock.
enum Lockstep {
    /// It has its own, or has not told yet.
    No,
    /// It told and was answered, and runs until it tells again.
    Answered,
    /// It told, and stands still until it is answered.
    Waits(Tick),
}

struct Member {
    port: Arc<Port>,
    peer: Peer,
}

pub(super) struct Worker {
    clock: Clock,
    /// The time that peers in lockstep have told last, and were answered for.
    told: Option<Duration>,
    poll: Poll,
    commands: mpsc::Receiver<Command>,
    tap: Option<pcap::Writer>,
    members: Vec<Member>,
    table: Table<usize>,
    /// Whether the last round got frames out, so that one that had no room may have some now.
    progress: bool,
}

impl Worker {
    pub(super) fn new(
        poll: Poll,
        commands: mpsc::Receiver<Command>,
        tap: Option<pcap::Writer>,
        clock: Clock,
    ) -> Self {
        Self {
            clock,
            told: None,
            poll,
            commands,
            tap,
            members: Vec::new(),
            table: Table::new(ADDRESSES),
            progress: false,
        }
    }

    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(64);
        while self.obey() {
            for index in 0..self.members.len() {
                self.take_in(index);
            }
            self.progress = false;
            self.keep_step();
            for index in 0..self.members.len() {
                self.put_out(index, self.clock.now());
            }
            match self.poll.poll(&mut events, self.patience()) {
                Err(error) if error.kind() != ErrorKind::Interrupted => break,
                _ => {}
            }
            for event in events.iter().filter(|event| event.token() != WAKE) {
                let index = event.token().0 / 2;
                if event.token() == listener_token(index) {
                    self.accept(index);
                } else if event.is_readable() {
                    self.readable(index);
                }
            }
        }
        for member in &self.members {
            if let Peer::Local { inbox, .. } = &member.peer {
                inbox.close();
            }
        }
    }

    /// Carries out commands. `false`: stop.
    fn obey(&mut self) -> bool {
        while let Ok(command) = self.commands.try_recv() {
            let index = self.members.len();
            let member = match command {
                Command::Stop => return false,
                Command::Remark(what) => {
                    if let Some(tap) = &mut self.tap {
                        tap.remark(&what);
                    }
                    continue;
                }
                Command::Local { port, inbox, outbox } => {
                    Member { port, peer: Peer::Local { inbox, outbox, blocked: false } }
                }
                Command::Listen { port, mut listener } => {
                    let token = listener_token(index);
                    if self
                        .poll
                        .registry()
                        .register(&mut listener, token, Interest::READABLE)
                        .is_err()
                    {
                        return false;
                    }
                    let peer = Peer::Socket { listener, stream: None, queue: Queue::default() };
                    Member { port, peer }
                }
            };
            if let Some(tap) = &mut self.tap {
                tap.port(&member.port.name);
            }
            self.members.push(member);
            // Edge-triggered: a connection from before the registration is not announced.
            self.accept(index);
        }
        true
    }

    fn accept(&mut self, index: usize) {
        let member = &mut self.members[index];
        let Peer::Socket { listener, stream, queue } = &mut member.peer else { return };
        while let Ok((mut socket, _)) = listener.accept() {
            let both = Interest::READABLE | Interest::WRITABLE;
            if self.poll.registry().register(&mut socket, stream_token(index), both).is_err() {
                continue;
            }
            // Another peer, or one that was restarted: what stood behind the port need not be there
            // any more.
            self.table.forget(index);
            queue.clear();
            *stream = Some(Stream {
                socket,
                received: BytesMut::new(),
                more: true,
                lockstep: Lockstep::No,
            });
            member.port.connected.store(true, Relaxed);
        }
    }

    fn readable(&mut self, index: usize) {
        if let Peer::Socket { stream: Some(stream), .. } = &mut self.members[index].peer {
            stream.more = true;
        }
    }

    /// How long the poll may sleep.
    fn patience(&self) -> Option<Duration> {
        let mut patience = None;
        for member in &self.members {
            match &member.peer {
                Peer::Socket { stream: Some(stream), .. } if stream.more => {
                    return Some(Duration::ZERO);
                }
                Peer::Socket { queue, .. } if !queue.is_empty() => patience = Some(TICK),
                Peer::Local { blocked: true, .. } if self.progress => return Some(Duration::ZERO),
                Peer::Local { blocked: true, .. } => patience = Some(TICK),
                _ => {}
            }
        }
        patience
    }

    /// Takes what a port has for others.
    fn take_in(&mut self, index: usize) {
        let now = self.clock.now();
        let mut items = Vec::new();
        match &mut self.members[index].peer {
            Peer::Socket { stream: Some(stream), .. } if stream.more => {
                let outcome = read(stream, &mut items);
                if outcome.is_err() {
                    self.disconnect(index);
                }
            }
            Peer::Local { inbox, .. } => {
                let inbox = inbox.clone();
                let left = inbox.drain(|frame, when_full| {
                    if when_full == WhenFull::Wait && self.full(&frame, now) {
                        return Some(frame);
                    }
                    self.forward(index, frame, now);
                    None
                });
                let Peer::Local { blocked, .. } = &mut self.members[index].peer else { return };
                *blocked = left;
            }
            _ => {}
        }
        for item in items {
            match item {
                Item::Frame(frame) => self.forward(index, frame, now),
                Item::Tick(tick) => {
                    if let Some(stream) = self.members[index].stream() {
                        stream.lockstep = Lockstep::Waits(tick);
                    }
                }
            }
        }
    }

    /// Once all peers that tell the time have told it: moves the clock, carries what was sent at
    /// that moment, and answers them. They are parts of one machine, which stands still meanwhile.
    fn keep_step(&mut self) {
        let (mut time, mut runs) = (None, false);
        for index in 0..self.members.len() {
            match self.members[index].stream().map(|stream| &stream.lockstep) {
                // The first time that it tells comes when another was answered already, since
                // nobody knew that there was one more to wait for.
                Some(Lockstep::Waits(tick)) if self.told >= Some(tick.time) => {
                    self.answer(index);
                    runs = true;
                }
                Some(Lockstep::Waits(tick)) => time = time.max(Some(tick.time)),
                Some(Lockstep::Answered) => runs = true,
                Some(Lockstep::No) | None => {}
            }
        }
        let Some(time) = time.filter(|_| !runs) else { return };
        self.told = Some(time);
        self.clock.advance(time);
        for index in 0..self.members.len() {
            if matches!(self.members[index].peer, Peer::Local { .. }) {
                self.take_in(index);
            }
        }
        for index in 0..self.members.len() {
            self.answer(index);
        }
    }

    /// Lets a peer that waits for it go on.
    fn answer(&mut self, index: usize) {
        if self.members[index].answer(self.clock.now()).is_err() {
            self.disconnect(index);
        }
        // Whoever waited for room in a port may have some.
        self.progress = true;
    }

    /// Whether the one port `frame` is for has no room.
    fn full(&mut self, frame: &Frame, now: Instant) -> bool {
        let Some((destination, _)) = frame.addresses() else { return false };
        let Some(port) = self.table.lookup(destination, now) else { return false };
        let Peer::Socket { queue, stream: Some(_), .. } = &mut self.members[port].peer else {
            return false;
        };
        queue.expire(now);
        !queue.has_room()
    }

    fn forward(&mut self, from: usize, frame: Frame, now: Instant) {
        let Some((destination, source)) = frame.addresses() else { return };
        let port = &self.members[from].port;
        port.received.fetch_add(1, Relaxed);
        port.received_bytes.fetch_add(frame.ethernet().len() as u64, Relaxed);
        if let Some(tap) = &mut self.tap {
            tap.frame(from, &frame);
        }
        self.table.learn(source, from, now);
        let known =
            if table::is_group(destination) { None } else { self.table.lookup(destination, now) };
        match known {
            Some(to) if to == from => {}
            Some(to) => self.members[to].push(frame, now),
            None => {
                for (index, member) in self.members.iter_mut().enumerate() {
                    if index != from {
                        member.push(frame.clone(), now);
                    }
                }
            }
        }
    }

    /// Gives a port's peer what waits for it.
    fn put_out(&mut self, index: usize, now: Instant) {
        let member = &mut self.members[index];
        let Peer::Socket { stream, queue, .. } = &mut member.peer else { return };
        queue.expire(now);
        if matches!(stream, Some(Stream { lockstep: Lockstep::Answered | Lockstep::Waits(_), .. }))
        {
            member.port.dropped.store(queue.dropped(), Relaxed);
            return;
        }
        let Some(stream) = stream else {
            queue.clear();
            member.port.dropped.store(queue.dropped(), Relaxed);
            return;
        };
        let mut gone = false;
        while !queue.is_empty() {
            let mut slices = [IoSlice::new(&[]); 64];
            let used = queue.slices(&mut slices);
            match stream.socket.write_vectored(&slices[..used]) {
                Ok(written) => {
                    member.port.sent.fetch_add(queue.advance(written), Relaxed);
                    self.progress = true;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    gone = true;
                    break;
                }
            }
        }
        member.port.dropped.store(queue.dropped(), Relaxed);
        if gone {
            self.disconnect(index);
        }
    }

    fn disconnect(&mut self, index: usize) {
        let member = &mut self.members[index];
        if let Peer::Socket { stream, queue, .. } = &mut member.peer {
            if stream.as_ref().is_some_and(|stream| !matches!(stream.lockstep, Lockstep::No)) {
                self.clock.let_go();
            }
            *stream = None;
            queue.clear();
            member.port.connected.store(false, Relaxed);
            self.table.forget(index);
        }
    }
}

impl Member {
    fn stream(&mut self) -> Option<&mut Stream> {
        match &mut self.peer {
            Peer::Socket { stream, .. } => stream.as_mut(),
            Peer::Local { .. } => None,
        }
    }

    /// Gives a peer that waits for it what there is, as far as its NIC takes it.
    fn answer(&mut self, now: Instant) -> Result<(), Gone> {
        let Peer::Socket { stream: Some(stream), queue, .. } = &mut self.peer else {
            return Ok(());
        };
        let Lockstep::Waits(tick) = stream.lockstep else { return Ok(()) };
        queue.expire(now);
        let mut answer = Vec::new();
        for _ in tick.waiting..AHEAD {
            let Some(frame) = queue.take() else { break };
            answer.extend_from_slice(frame.wire());
            self.port.sent.fetch_add(1, Relaxed);
        }
        answer.extend(frame::END);
        stream.lockstep = Lockstep::Answered;
        let mut left = &answer[..];
        while !left.is_empty() {
            match stream.socket.write(left) {
                Ok(written) => left = &left[written..],
                // It is reading.
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(Gone),
            }
        }
        Ok(())
    }

    fn push(&mut self, frame: Frame, now: Instant) {
        match &mut self.peer {
            Peer::Socket { queue, .. } => queue.push(frame, now),
            Peer::Local { outbox, .. } => {
                let count = if outbox.try_send((frame, now)).is_ok() {
                    &self.port.sent
                } else {
                    &self.port.dropped
                };
                count.fetch_add(1, Relaxed);
            }
        }
    }
}

/// Reads a turn's worth of frames. `Err`: the peer is gone or makes no sense.
fn read(stream: &mut Stream, items: &mut Vec<Item>) -> Result<(), Gone> {
    let mut total = 0;
    while total < READ {
        let mut chunk = [0; READ];
        match stream.socket.read(&mut chunk) {
            Ok(0) => return Err(Gone),
            Ok(count) => {
                total += count;
                stream.received.extend_from_slice(&chunk[..count]);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                stream.more = false;
                break;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Err(Gone),
        }
    }
    while let Some(item) = frame::split(&mut stream.received).map_err(|_| Gone)? {
        items.push(item);
    }
    Ok(())
}

struct Gone;

fn listener_token(index: usize) -> Token {
    Token(index * 2)
}

fn stream_token(index: usize) -> Token {
    Token(index * 2 + 1)
}

/// The tick has to be short against the age it enforces.
const _: () = assert!(TICK.as_millis() * 2 < LIFETIME.as_millis());

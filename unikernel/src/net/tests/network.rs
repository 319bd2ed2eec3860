//! Two stacks, a wire between them, and a clock that the tests turn.

use core::cell::{Cell, RefCell};
use core::future::Future;
use core::num::NonZeroU16;
use core::pin::{Pin, pin};
use core::task::{Context, Poll, Waker};
use std::boxed::Box;
use std::collections::VecDeque;
use std::rc::Rc;
use std::vec;
use std::vec::Vec;

use embassy_futures::yield_now;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, IpProtocol, Ipv4Address,
    Ipv4Packet, Ipv4Repr, TcpPacket, TcpRepr, TcpSeqNumber,
};

use crate::dma::{MAX_RUN, Policy, Pool, RxBuffer, TxBuffer, fake};
use crate::irq::{self, Interrupt};
use crate::net::{Addressing, Addressing6, Config, Observer, Stack};
use crate::nic::{
    Capabilities, Checksums, Link, LocalBoxFuture, Nic, ResetError, Segmentation, Statistics,
};

pub(super) const POOL: usize = 1 << 20;

/// Time for IPv6 addresses to be probed for.
pub(super) const PROBED: Duration = Duration::from_millis(1100);

/// One direction of a wire.
#[derive(Clone, Default)]
pub(super) struct Wire(Rc<Line>);

#[derive(Default)]
struct Line {
    frames: RefCell<VecDeque<Vec<u8>>>,
    /// Every so many-th frame is lost; 0: none.
    lose: Cell<usize>,
    sent: Cell<usize>,
}

impl Wire {
    pub(super) fn lose_every(&self, nth: usize) {
        self.0.lose.set(nth);
    }

    pub(super) fn send(&self, frame: Vec<u8>) {
        self.0.sent.set(self.0.sent.get() + 1);
        if self.0.lose.get() == 0 || !self.0.sent.get().is_multiple_of(self.0.lose.get()) {
            self.0.frames.borrow_mut().push_back(frame);
        }
    }

    pub(super) fn take(&self) -> Option<Vec<u8>> {
        self.0.frames.borrow_mut().pop_front()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.frames.borrow().is_empty()
    }
}

/// A NIC that moves its data by DMA: through device addresses, behind the CPU's back.
pub(super) struct FakeNic {
    pool: &'static Pool,
    mac: u8,
    rx: Wire,
    tx: Wire,
    link: Rc<Cell<bool>>,
    interrupt: Interrupt,
    /// Frames the transmit ring takes until the next flush.
    room: usize,
    /// So many.
    pub(super) ring: usize,
    /// Its neighbour asks for a pause: what is queued stays where it is.
    pauses: Rc<Cell<bool>>,
    /// What it is part of was reset, and this has to be as well.
    pub(super) forgotten: Rc<Cell<bool>>,
    /// How often it was to be armed.
    pub(super) arms: Rc<Cell<usize>>,
    pub(super) offload: bool,
    pub(super) standby: bool,
    /// The port of a switch it is plugged into.
    pub(super) port: Option<Port>,
    /// It cuts TCP packets, too; segments it made of them so far.
    pub(super) segments: Option<Rc<Cell<usize>>>,
}

/// One of the ports of a switch that have a wire in common: what comes along it leaves by the port
/// that last sent.
#[derive(Clone)]
pub(super) struct Port {
    pub(super) number: usize,
    pub(super) learned: Rc<Cell<usize>>,
}

const RING: usize = 256;

/// How often other tasks have their turn while it is being reset.
pub(super) const RESET_TURNS: usize = 100;

impl FakeNic {
    pub(super) fn new(pool: &'static Pool, mac: u8, rx: &Wire, tx: &Wire) -> Self {
        Self {
            pool,
            mac,
            rx: rx.clone(),
            tx: tx.clone(),
            link: Rc::new(Cell::new(true)),
            interrupt: irq::allocate().expect("an interrupt"),
            room: RING,
            ring: RING,
            pauses: Rc::default(),
            forgotten: Rc::default(),
            arms: Rc::default(),
            offload: false,
            standby: false,
            port: None,
            segments: None,
        }
    }

    /// The cable.
    pub(super) fn link_switch(&self) -> Rc<Cell<bool>> {
        self.link.clone()
    }

    /// The neighbour.
    pub(super) fn pause_switch(&self) -> Rc<Cell<bool>> {
        self.pauses.clone()
    }
}

impl Nic for FakeNic {
    fn family(&self) -> &'static str {
        "fake"
    }

    fn mac(&self) -> [u8; 6] {
        [0x52, 0x54, 0, 0, 0, self.mac]
    }

    fn link(&self) -> Link {
        let up = self.link.get();
        Link { up, speed: if up { 1000 } else { 0 }, full_duplex: up }
    }

    fn capabilities(&self) -> Capabilities {
        let sums = Checksums { ipv4: self.offload, tcp: self.offload, udp: self.offload };
        Capabilities {
            max_frame: 1514,
            receive_checksums: sums,
            transmit_checksums: sums,
            segmentation: self.segments.as_ref().map(|_| Segmentation { max_frame: MAX_RUN }),
        }
    }

    fn receive(&mut self) -> Option<RxBuffer> {
        let is_here = |port: &Port| port.learned.get() == port.number;
        if !self.port.as_ref().is_none_or(is_here) {
            return None;
        }
        if !self.link.get() {
            if self.port.is_some() {
                // Sent into a port without a link.
                while self.rx.take().is_some() {}
            }
            return None;
        }
        let stream = self.pool.receive_stream()?;
        let frame = self.rx.take()?;
        self.pool.device().write(stream.device_address(), &frame);
        Some(stream.receive(&fake::completed(), frame.len()).expect("a frame fits a slot"))
    }

    fn transmit_ready(&mut self) -> bool {
        self.room != 0
    }

    fn transmit(&mut self, frame: TxBuffer, len: usize, segment: Option<NonZeroU16>) {
        assert!(self.room != 0, "transmit without transmit_ready");
        self.room -= 1;
        let stream = frame.into_stream(len).expect("a frame fits a slot");
        let mut data = vec![0; len];
        self.pool.device().read(stream.device_address(), &mut data);
        if !self.link.get() {
            return;
        }
        if let Some(port) = &self.port {
            port.learned.set(port.number);
        }
        let Some(size) = segment else {
            assert!(data.len() <= 1514, "a frame longer than the MTU");
            return self.tx.send(data);
        };
        let segments = self.segments.as_ref().expect("a NIC that cuts");
        for segment in cut(&data, size.get().into()) {
            segments.set(segments.get() + 1);
            self.tx.send(segment);
        }
    }

    fn flush(&mut self) {
        if !self.pauses.get() {
            self.room = self.ring;
        }
    }

    fn arm(&mut self) -> bool {
        self.arms.set(self.arms.get() + 1);
        self.rx.is_empty() && !self.forgotten.get()
    }

    fn interrupt(&self) -> Interrupt {
        self.interrupt.clone()
    }

    fn accept_multicast(&mut self, _: &[[u8; 6]]) {}

    fn reset(&mut self) -> LocalBoxFuture<'_, Result<(), ResetError>> {
        let result = if self.link.get() { Ok(()) } else { Err(ResetError::Stuck) };
        Box::pin(async move {
            for _ in 0..RESET_TURNS {
                yield_now().await;
            }
            self.forgotten.set(false);
            result
        })
    }

    fn needs_reset(&self) -> bool {
        self.forgotten.get()
    }

    fn is_standby(&self) -> bool {
        self.standby
    }

    fn stop(&mut self) -> LocalBoxFuture<'_, ()> {
        Box::pin(async {})
    }

    fn statistics(&mut self) -> Statistics {
        Statistics::default()
    }
}

/// A stack with a pool of its own.
pub(super) struct Host {
    pub(super) stack: Stack,
    pub(super) pool: &'static Pool,
    mac: u8,
    rx: Wire,
    pub(super) tx: Wire,
}

impl Host {
    pub(super) fn attach(&self) -> Rc<Cell<bool>> {
        let nic = FakeNic::new(self.pool, self.mac, &self.rx, &self.tx);
        let switch = nic.link_switch();
        assert!(self.stack.attach(Box::new(nic)).is_ok());
        switch
    }

    /// A NIC for this host's wires, not attached yet.
    pub(super) fn nic(&self) -> FakeNic {
        FakeNic::new(self.pool, self.mac, &self.rx, &self.tx)
    }

    pub(super) fn attach_offloading(&self) {
        let mut nic = FakeNic::new(self.pool, self.mac, &self.rx, &self.tx);
        nic.offload = true;
        assert!(self.stack.attach(Box::new(nic)).is_ok());
    }

    /// Attaches a NIC that cuts TCP packets; returns its count of segments.
    pub(super) fn attach_segmenting(&self) -> Rc<Cell<usize>> {
        let segments = Rc::new(Cell::new(0));
        let mut nic = FakeNic::new(self.pool, self.mac, &self.rx, &self.tx);
        nic.offload = true;
        nic.segments = Some(segments.clone());
        assert!(self.stack.attach(Box::new(nic)).is_ok());
        segments
    }
}

pub(super) fn host(mac: u8, addressing: &str, rx: &Wire, tx: &Wire) -> Host {
    let addressing: Addressing = addressing.parse().expect("an address");
    let config = Config { addressing, addressing6: Addressing6::Off, ..Config::default() };
    host_with(mac, config, rx, tx)
}

/// The same with IPv6.
pub(super) fn host6(mac: u8, addressing6: Addressing6, rx: &Wire, tx: &Wire) -> Host {
    let addressing = "10.0.0.9/24".parse().expect("an address");
    host_with(mac, Config { addressing, addressing6, ..Config::default() }, rx, tx)
}

/// The same with any configuration.
pub(super) fn host_with(mac: u8, config: Config, rx: &Wire, tx: &Wire) -> Host {
    let pool = fake::pool(POOL, Policy::Auto);
    let stack = Stack::new(pool, Config { seed: mac.into(), ..config });
    Host { stack, pool, mac, rx: rx.clone(), tx: tx.clone() }
}

/// 10.0.0.1 and 10.0.0.2, connected and up.
pub(super) fn pair() -> (Host, Host) {
    let (there, back) = (Wire::default(), Wire::default());
    let a = host(1, "10.0.0.1/24", &back, &there);
    let b = host(2, "10.0.0.2/24", &there, &back);
    a.attach();
    b.attach();
    (a, b)
}

/// What a device makes of a TCP packet over IPv4, checksums left out: the other end does not look
/// at them.
fn cut(frame: &[u8], size: usize) -> Vec<Vec<u8>> {
    let header = EthernetFrame::<&[u8]>::header_len();
    let ip = Ipv4Packet::new_unchecked(&frame[header..]);
    let tcp = TcpPacket::new_unchecked(ip.payload());
    let headers = header + usize::from(ip.header_len()) + usize::from(tcp.header_len());
    let mut sequence = tcp.seq_number();
    let last = frame.len() - headers;
    let one = |part: &[u8]| {
        let mut segment = [&frame[..headers], part].concat();
        let mut ip = Ipv4Packet::new_unchecked(&mut segment[header..]);
        ip.set_total_len((headers - header + part.len()) as u16);
        let mut tcp = TcpPacket::new_unchecked(ip.payload_mut());
        tcp.set_seq_number(sequence);
        sequence += part.len();
        if sequence - tcp_start(frame) != last {
            tcp.set_psh(false);
            tcp.set_fin(false);
        }
        segment
    };
    frame[headers..].chunks(size).map(one).collect()
}

fn tcp_start(frame: &[u8]) -> TcpSeqNumber {
    let ip = Ipv4Packet::new_unchecked(&frame[EthernetFrame::<&[u8]>::header_len()..]);
    TcpPacket::new_unchecked(ip.payload()).seq_number()
}

/// Turns stacks and polls futures, in virtual time.
pub(super) struct World {
    pub(super) now: Instant,
    pub(super) stacks: Vec<Stack>,
}

impl World {
    pub(super) fn new(hosts: &[&Host]) -> Self {
        let stacks = hosts.iter().map(|host| host.stack.clone()).collect();
        Self { now: Instant::from_secs(1), stacks }
    }

    /// Polls `future` until it is ready.
    ///
    /// # Panics
    /// If that takes more than `limit`.
    pub(super) fn run<T>(&mut self, limit: Duration, future: impl Future<Output = T>) -> T {
        let end = self.now + limit;
        let mut future = pin!(future);
        loop {
            assert!(self.now < end, "not finished after {limit}");
            if let Poll::Ready(result) = self.step(future.as_mut()) {
                return result;
            }
        }
    }

    /// Lets time pass.
    pub(super) fn idle(&mut self, time: Duration) {
        let end = self.now + time;
        let mut never = pin!(core::future::pending::<()>());
        while self.now < end {
            let _ = self.step(never.as_mut());
        }
    }

    pub(super) fn step<F: Future>(&mut self, future: Pin<&mut F>) -> Poll<F::Output> {
        for stack in &self.stacks {
            stack.turn(self.now);
        }
        self.now += Duration::from_micros(500);
        future.poll(&mut Context::from_waker(Waker::noop()))
    }
}

/// Keeps what it is given.
#[derive(Clone, Default)]
pub(super) struct Keeper(pub(super) Rc<RefCell<Vec<RxBuffer>>>);

impl Observer for Keeper {
    fn received(&mut self, frame: RxBuffer, _: embassy_time::Instant) -> Option<RxBuffer> {
        self.0.borrow_mut().push(frame);
        None
    }
}

/// A frame with a TCP segment to 10.0.0.2, the second of a [`pair`].
pub(super) fn segment(
    from: Ipv4Address,
    tcp: &TcpRepr<'_>,
    sums: &ChecksumCapabilities,
) -> Vec<u8> {
    let to = Ipv4Address::new(10, 0, 0, 2);
    let ip = Ipv4Repr {
        src_addr: from,
        dst_addr: to,
        next_header: IpProtocol::Tcp,
        payload_len: tcp.buffer_len(),
        hop_limit: 64,
    };
    let [src_addr, dst_addr] = [1, 2].map(|last| EthernetAddress([0x52, 0x54, 0, 0, 0, last]));
    let ethernet = EthernetRepr { src_addr, dst_addr, ethertype: EthernetProtocol::Ipv4 };
    let mut bytes = vec![0; 14 + ip.buffer_len() + tcp.buffer_len()];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes[..]);
    ethernet.emit(&mut frame);
    let mut packet = Ipv4Packet::new_unchecked(frame.payload_mut());
    ip.emit(&mut packet, sums);
    let mut packet = TcpPacket::new_unchecked(packet.payload_mut());
    tcp.emit(&mut packet, &from.into(), &to.into(), sums);
    bytes
}

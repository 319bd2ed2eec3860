//! The NIC in use as smoltcp sees it: received buffers and transmit buffers as tokens, used in
//! place.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::num::NonZeroUsize;

use smoltcp::iface::{Interface, SocketSet};
use smoltcp::phy::{self, Checksum, DeviceCapabilities, Medium};
use smoltcp::time::Instant;
use smoltcp::wire::EthernetAddress;

use super::frame;
use super::intake::Intake;
use super::ipv6::Advertisement;
use super::listen::{Arrival, HalfOpen, Listeners, Verdict};
use super::path_mtu::{Paths, TooBig};
use super::reassembly::Reassembly;
use super::sequence::Sequence;
use super::traffic::Traffic;
use super::transmit::{Spares, TxToken};
use crate::dma::{Pool, RxBuffer, TxBuffer};
use crate::nic::{Capabilities, Nic};
use crate::watch::{Watch, Watcher};

/// Ethernet header and an IP MTU of 1500: what counts while there is no NIC.
const MAX_FRAME: usize = 14 + 1500;

/// What frames said that smoltcp does not pass on, since this was last taken.
#[derive(Default)]
pub(super) struct Notes {
    /// What a router advertised.
    pub(super) advertised: Option<Advertisement>,
    /// A hypervisor has announced our address on another port of the network.
    pub(super) own_rarp: bool,
    /// A connection may have been reset.
    pub(super) tcp_reset: bool,
}

pub(super) struct Device {
    nic: Option<Box<dyn Nic>>,
    pub(super) intake: Intake,
    pub(super) listeners: Listeners,
    traffic: Traffic,
    /// Whether what is sent arrives anywhere. What is held back until it does need not be
    /// repeated.
    pub(super) link_up: bool,
    /// The NIC's, so as not to ask it for each frame.
    mac: [u8; 6],
    capabilities: Capabilities,
    notes: Notes,
    /// Set when there is room to send, for those who wait for that.
    room: Watch<()>,
    room_is_awaited: bool,
    /// What is smoltcp's turn.
    pending: Option<Pending>,
    reassembly: Reassembly,
    pub(super) paths: Paths,
    pool: &'static Pool,
    spares: Spares,
    /// Where a reply goes that cannot be sent.
    scratch: Vec<u8>,
}

/// What smoltcp is to process.
enum Pending {
    Frame(RxBuffer),
    /// What came in fragments, by its place.
    Datagram(usize),
}

impl Device {
    pub(super) fn new(pool: &'static Pool, sequence: Sequence) -> Self {
        Self {
            nic: None,
            intake: Intake::new(pool),
            listeners: Listeners::new(sequence),
            traffic: Traffic::default(),
            mac: [0; 6],
            capabilities: Capabilities::default(),
            room: Watch::new(()),
            room_is_awaited: false,
            link_up: false,
            notes: Notes::default(),
            pending: None,
            reassembly: Reassembly::new(),
            paths: Paths::default(),
            pool,
            spares: Spares::default(),
            scratch: Vec::new(),
        }
    }

    /// The NIC in use.
    pub(super) fn nic(&self) -> Option<&dyn Nic> {
        self.nic.as_deref()
    }

    /// The NIC in use, for more than looking at it.
    pub(super) fn nic_mut(&mut self) -> Option<&mut (dyn Nic + 'static)> {
        self.nic.as_deref_mut()
    }

    /// What frames said since this was last called.
    pub(super) fn take_notes(&mut self) -> Notes {
        core::mem::take(&mut self.notes)
    }

    /// Makes `nic` the NIC.
    pub(super) fn insert(&mut self, nic: Box<dyn Nic>) {
        let capabilities = nic.capabilities();
        let segmented = capabilities.segmentation.map_or(0, |segmentation| segmentation.max_frame);
        self.spares = Spares::new(self.pool, capabilities.max_frame.max(segmented));
        if segmented > capabilities.max_frame && !self.spares.has_long() {
            log::warn!("net: no DMA memory to send long packets from; a larger swiotlb= has it");
            self.spares = Spares::new(self.pool, capabilities.max_frame);
        }
        self.scratch.resize(self.spares.longest(), 0);
        (self.mac, self.capabilities) = (nic.mac(), capabilities);
        self.nic = Some(nic);
    }

    /// The longest frame there is memory to send.
    pub(super) fn longest(&self) -> usize {
        self.spares.longest()
    }

    /// Takes the NIC out, with every buffer that was held for it.
    pub(super) fn remove(&mut self) -> Option<Box<dyn Nic>> {
        self.spares = Spares::default();
        self.link_up = false;
        self.nic.take()
    }

    /// Rings the doorbells for everything sent and received since the last call.
    pub(super) fn flush(&mut self) {
        if let Some(nic) = &mut self.nic {
            nic.flush();
        }
    }

    /// Has the stack process the next frame that the NIC has received. `false` if there is none.
    pub(super) fn receive_one(
        &mut self,
        interface: &mut Interface,
        sockets: &mut SocketSet<'static>,
        now: Instant,
    ) -> bool {
        let Some(frame) = self.nic.as_mut().and_then(|nic| nic.receive()) else { return false };
        self.process(frame, interface, sockets, now);
        true
    }

    /// Has the stack process a frame, whichever NIC received it.
    pub(super) fn process(
        &mut self,
        frame: RxBuffer,
        interface: &mut Interface,
        sockets: &mut SocketSet<'static>,
        now: Instant,
    ) {
        self.traffic.rx_frames += 1;
        self.traffic.rx_bytes += frame.len() as u64;
        let tcp = frame::tcp_flags(&frame);
        self.note(&frame, tcp);
        let verified = self.capabilities.receive_checksums;
        let verified = verified.ipv4 && verified.udp;
        let Some(frame) = self.intake.divert(frame, self.mac, verified) else { return };
        if tcp.is_some_and(|flags| self.listeners.concerns(flags))
            && self.handshake(&frame, interface, sockets, now)
        {
            return self.intake.observe(frame);
        }
        if tcp.is_none()
            && TooBig::is_likely(&frame)
            && let Some(said) = TooBig::parse(&frame)
        {
            self.paths.learn(&said, interface, sockets, now);
        }
        self.pending = if frame::is_fragment(&frame) {
            let is_destination = |address| self.intake.is_destination(address);
            let place = self.reassembly.receive(&frame, is_destination, now);
            self.intake.observe(frame);
            place.map(Pending::Datagram)
        } else {
            Some(Pending::Frame(frame))
        };
        if self.pending.is_some() {
            interface.poll_ingress_single(now, self, sockets);
        }
    }

    /// Takes in a segment that may be part of a handshake. Returns whether it is dealt with.
    fn handshake(
        &mut self,
        frame: &[u8],
        interface: &Interface,
        sockets: &mut SocketSet<'static>,
        now: Instant,
    ) -> bool {
        let checksums = self.capabilities.receive_checksums;
        let arrival = Arrival {
            now,
            mac: EthernetAddress(self.mac),
            mtu: self.mtu(),
            verified: checksums.ipv4 && checksums.tcp,
            paths: &self.paths,
        };
        match self.listeners.receive(frame, &arrival, interface, sockets) {
            Verdict::Pass => false,
            Verdict::Drop => true,
            Verdict::Answer(handshake) => {
                // If there is no room for the answer, it is repeated later.
                self.answer(&handshake, now);
                true
            }
        }
    }

    /// Answers a SYN. `false` if there is no room for it.
    fn answer(&mut self, handshake: &HalfOpen, now: Instant) -> bool {
        let (mac, mtu) = (EthernetAddress(self.mac), self.mtu());
        let checksums = phy::Device::capabilities(self).checksum;
        let Some(token) = phy::Device::transmit(self, now) else { return false };
        phy::TxToken::consume(token, handshake.answer_len(mtu), |frame| {
            handshake.write_answer(mac, mtu, &checksums, frame);
        });
        true
    }

    /// Forgets what has run out: handshakes, and what routers said of paths. Repeats answers to
    /// SYNs that may have been lost.
    pub(super) fn tend(&mut self, now: Instant) {
        if !self.paths.is_empty() {
            self.paths.expire(now);
        }
        if self.listeners.tend_at().is_none_or(|at| now < at) {
            return;
        }
        // Answering needs the whole device.
        let mut listeners = core::mem::take(&mut self.listeners);
        listeners.tend(now, |handshake| self.answer(handshake, now));
        self.listeners = listeners;
    }

    /// The longest IP packet that can be sent.
    pub(super) fn mtu(&self) -> usize {
        phy::Device::capabilities(self).ip_mtu()
    }

    /// Notes what a frame says that smoltcp does not pass on.
    #[inline]
    fn note(&mut self, frame: &[u8], tcp: Option<u8>) {
        if Advertisement::is_likely(frame) {
            self.notes.advertised = Advertisement::parse(frame).or(self.notes.advertised);
        } else if frame::is_rarp(frame) {
            self.notes.own_rarp |= frame[6..12] == self.mac;
        } else if tcp.is_some_and(|flags| flags & frame::TCP_RST != 0) {
            self.notes.tcp_reset = true;
        }
    }

    /// What was counted so far.
    pub(super) fn traffic(&self) -> Traffic {
        Traffic {
            kept_refused: self.intake.refused(),
            reassembled: self.reassembly.reassembled(),
            reassembly_abandoned: self.reassembly.abandoned(),
            handshakes_evicted: self.listeners.evicted(),
            connections_deferred: self.listeners.deferred(),
            ..self.traffic
        }
    }

    /// The DMA memory.
    pub(super) fn pool(&self) -> &'static Pool {
        self.pool
    }

    /// The longest frame that can be sent, with a NIC.
    pub(super) fn max_frame(&self) -> usize {
        self.nic.as_ref().map_or(usize::MAX, |_| self.capabilities.max_frame)
    }

    /// Sends the first `len` bytes of a frame, or gives it back if there is no room.
    pub(super) fn send(&mut self, frame: TxBuffer, len: usize) -> Result<(), TxBuffer> {
        let Some(nic) = self.nic.as_mut().filter(|_| self.link_up) else { return Err(frame) };
        if !nic.transmit_ready() {
            return Err(frame);
        }
        nic.transmit(frame, len, None);
        self.traffic.tx_frames += 1;
        self.traffic.tx_bytes += len as u64;
        Ok(())
    }

    /// Sends the first `len` bytes of a frame, or drops and counts it. Returns whether it was sent.
    pub(super) fn send_or_drop(&mut self, frame: TxBuffer, len: usize) -> bool {
        let fits = len <= frame.len().min(self.max_frame());
        let sent = fits && self.send(frame, len).is_ok();
        if !sent {
            self.count_dropped();
        }
        sent
    }

    /// Counts a frame that could not be sent.
    pub(super) fn count_dropped(&mut self) {
        self.traffic.tx_dropped += 1;
    }

    /// Learns when there is room again.
    pub(super) fn wait_for_room(&mut self) -> Watcher<()> {
        self.room_is_awaited = true;
        self.room.watcher()
    }

    /// Tells those who wait if there is room now. Returns whether somebody goes on waiting.
    pub(super) fn tell_of_room(&mut self) -> bool {
        if self.room_is_awaited && self.transmit_ready() {
            self.room_is_awaited = false;
            self.room.set(());
        }
        self.room_is_awaited
    }

    /// Whether a frame could be sent now.
    pub(super) fn transmit_ready(&mut self) -> bool {
        let Some(nic) = &mut self.nic else { return false };
        self.spares.fill(self.pool) && self.link_up && nic.transmit_ready()
    }
}

impl phy::Device for Device {
    type RxToken<'a> = RxToken<'a>;
    type TxToken<'a> = TxToken<'a>;

    fn receive(&mut self, _: Instant) -> Option<(RxToken<'_>, TxToken<'_>)> {
        let pending = self.pending.take()?;
        // Receiving must go on when the transmit side is full: the reply is what gets lost, as it
        // would on the wire.
        let ready = self.transmit_ready();
        let received = match pending {
            Pending::Frame(frame) => RxToken::Frame(frame, &mut self.intake),
            Pending::Datagram(place) => RxToken::Datagram(self.reassembly.whole(place)),
        };
        let token = TxToken {
            nic: self.nic.as_deref_mut(),
            spares: ready.then_some(&mut self.spares),
            scratch: &mut self.scratch,
            traffic: &mut self.traffic,
            segment: None,
            checksums: self.capabilities.transmit_checksums,
            paths: &self.paths,
            pool: self.pool,
        };
        Some((received, token))
    }

    fn transmit(&mut self, _: Instant) -> Option<TxToken<'_>> {
        self.transmit_ready().then(|| TxToken {
            nic: self.nic.as_deref_mut(),
            spares: Some(&mut self.spares),
            scratch: &mut self.scratch,
            traffic: &mut self.traffic,
            segment: None,
            checksums: self.capabilities.transmit_checksums,
            paths: &self.paths,
            pool: self.pool,
        })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = MAX_FRAME;
        if self.nic.is_some() {
            let nic = self.capabilities;
            let (receive, transmit) = (nic.receive_checksums, nic.transmit_checksums);
            capabilities.max_transmission_unit = nic.max_frame;
            capabilities.checksum.ipv4 = software(receive.ipv4, transmit.ipv4);
            capabilities.checksum.tcp = software(receive.tcp, transmit.tcp);
            capabilities.checksum.udp = software(receive.udp, transmit.udp);
            // smoltcp 0.14 drops what is longer than the MTU over IPv6, also if it is to be
            // segmented.
            capabilities.segmentation.tcpv4 = nic
                .segmentation
                .and_then(|segmentation| NonZeroUsize::new(segmentation.max_frame))
                .filter(|max| max.get() <= self.spares.longest());
        }
        capabilities
    }
}

/// What is left for software when the NIC handles a checksum on `receive` and on `transmit`.
fn software(receive: bool, transmit: bool) -> Checksum {
    match (receive, transmit) {
        (false, false) => Checksum::Both,
        (false, true) => Checksum::Rx,
        (true, false) => Checksum::Tx,
        (true, true) => Checksum::None,
    }
}

pub(super) enum RxToken<'a> {
    Frame(RxBuffer, &'a mut Intake),
    Datagram(&'a [u8]),
}

impl phy::RxToken for RxToken<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        match self {
            Self::Frame(frame, intake) => {
                let result = f(&frame);
                intake.observe(frame);
                result
            }
            Self::Datagram(frame) => f(frame),
        }
    }
}

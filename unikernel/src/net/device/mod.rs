//! The NIC in use. To smoltcp it is a device for IP packets: Ethernet is dealt with here, since
//! neighbours, routes and what waits for them are ours (see [`Discovery`]).

mod receive;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::num::NonZeroUsize;

use smoltcp::phy::{self, Checksum, DeviceCapabilities, Medium};
use smoltcp::time::Instant;
use smoltcp::wire::EthernetAddress;

use super::connections::ConnectionId;
use super::dhcp;
use super::discovery::{Discovery, write_header};
use super::flow::Flow;
use super::fragments6::LONGEST_PACKET;
use super::frame::ETHERNET_HEADER;
use super::gro::Gro;
use super::intake::Intake;
use super::ipv6::Advertisement;
use super::listen::{HalfOpen, Listeners};
use super::path_mtu::Paths;
use super::reassembly::Reassembly;
use super::sequence::Sequence;
use super::spares::Spares;
use super::tokens::{Room, RxToken, TxToken};
use super::traffic::Traffic;
use crate::dma::{Pool, RxBuffer, TxBuffer};
use crate::nic::{Capabilities, Nic};
use crate::watch::{Watch, Watcher};

/// What the interface answers to before there ever was a NIC. Nothing is sent with it.
const NO_NIC: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 0]);
/// What counts while there is no NIC, and without a word of the network.
const MTU: usize = 1500;
/// Advertisements of routers, and answers of DHCP servers, between two turns of the engine.
const NOTES: usize = 4;

/// What frames said that smoltcp does not pass on, since this was last cleared.
#[derive(Default)]
pub(super) struct Notes {
    /// What routers advertised.
    pub(super) advertised: heapless::Vec<Advertisement, NOTES>,
    /// What DHCP servers said.
    pub(super) dhcp: heapless::Vec<dhcp::Reply, NOTES>,
    /// A hypervisor has announced our address on another port of the network.
    pub(super) own_rarp: bool,
}

impl Notes {
    pub(super) fn clear(&mut self) {
        self.advertised.clear();
        self.dhcp.clear();
        self.own_rarp = false;
    }
}

pub(super) struct Device {
    nic: Option<Box<dyn Nic>>,
    pub(super) intake: Intake,
    pub(super) listeners: Listeners,
    traffic: Traffic,
    /// Whether what is sent arrives anywhere. What is held back until it does need not be
    /// repeated.
    pub(super) link_up: bool,
    /// Who is where on the link.
    pub(super) discovery: Discovery,
    /// The NIC's, so as not to ask it for each frame.
    capabilities: Capabilities,
    /// The longest packet the network takes, if it said so.
    mtu_limit: Option<usize>,
    /// Somebody waits for the answers of DHCP servers.
    pub(super) dhcp: bool,
    pub(super) notes: Notes,
    /// That of the last frame, if it may go on.
    flow: Option<Flow>,
    /// The connection in the flow that the last segment was for, and its ports. It lasts no longer
    /// than the flow does: within a turn, no connection gives its place to another.
    connection: Option<(u32, ConnectionId)>,
    /// Segments of that connection, while there are more of the batch to come.
    gro: Gro,
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
    /// A frame, and where its packet is.
    Frame(RxBuffer, usize),
    /// What came in fragments, by its place.
    Datagram(usize),
    /// Segments that were coalesced.
    Coalesced,
}

impl Device {
    pub(super) fn new(pool: &'static Pool, sequence: Sequence) -> Self {
        Self {
            nic: None,
            intake: Intake::new(pool),
            listeners: Listeners::new(sequence),
            traffic: Traffic::default(),
            discovery: Discovery::new(NO_NIC),
            capabilities: Capabilities::default(),
            mtu_limit: None,
            dhcp: false,
            flow: None,
            connection: None,
            gro: Gro::default(),
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

    /// Makes `nic` the NIC.
    pub(super) fn insert(&mut self, nic: Box<dyn Nic>) {
        let capabilities = nic.capabilities();
        let segmented = capabilities.segmentation.map_or(0, |segmentation| segmentation.max_frame);
        self.spares = Spares::new(self.pool, capabilities.max_frame.max(segmented));
        if segmented > capabilities.max_frame && self.spares.lacks_long() {
            log::warn!("net: no DMA memory to send long packets from; a larger swiotlb= has it");
            self.spares = Spares::new(self.pool, capabilities.max_frame);
        }
        self.scratch.resize(self.spares.longest().max(LONGEST_PACKET), 0);
        (self.discovery.mac, self.capabilities) = (EthernetAddress(nic.mac()), capabilities);
        // smoltcp looks at no checksum that the NIC looks at.
        let verified = capabilities.receive_checksums;
        self.gro.enable(verified.ipv4 && verified.tcp);
        self.nic = Some(nic);
        self.end_flow();
    }

    /// Segments that became part of another's packet.
    #[cfg(test)]
    pub(super) fn coalesced(&self) -> usize {
        self.gro.coalesced
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

    /// Answers a SYN. `false` if there is no room for it.
    fn answer(&mut self, handshake: &HalfOpen) -> bool {
        let (mac, mtu) = (self.discovery.mac, self.mtu());
        let checksums = phy::Device::capabilities(self).checksum;
        self.emit(handshake.answer_len(mtu), |frame| {
            handshake.write_answer(mac, mtu, &checksums, frame);
        })
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
        listeners.tend(now, |handshake| self.answer(handshake));
        self.listeners = listeners;
    }

    /// The longest packet that is sent, whatever the NIC could: what routers or DHCP say. Takes
    /// effect when the interface is made anew.
    pub(super) fn set_mtu_limit(&mut self, limit: Option<usize>) {
        self.mtu_limit = limit;
    }

    /// The longest packet that is sent.
    pub(super) fn mtu(&self) -> usize {
        let nic = self.nic.as_ref().map_or(MTU, |_| self.capabilities.max_frame - ETHERNET_HEADER);
        self.mtu_limit.map_or(nic, |limit| limit.min(nic))
    }

    /// Sends a frame of `len` bytes that `write` fills. `false` if there is no room for it.
    pub(super) fn emit(&mut self, len: usize, write: impl FnOnce(&mut [u8])) -> bool {
        let buffer = self.transmit_ready().then(|| self.spares.take(len)).flatten();
        let Some(mut buffer) = buffer else { return false };
        write(&mut buffer[..len]);
        self.send(buffer, len).is_ok()
    }

    /// Sends the packets whose neighbours have answered. Those that there is no room for are
    /// dropped, as any reply is.
    pub(super) fn send_ready(&mut self) {
        while let Some((mut kept, station)) = self.discovery.neighbors.next_ready() {
            write_header(&mut kept.frame, station, self.discovery.mac);
            let ready = self.link_up && self.nic.as_mut().is_some_and(|nic| nic.transmit_ready());
            let Some(nic) = self.nic.as_mut().filter(|_| ready) else {
                self.count_dropped();
                continue;
            };
            nic.transmit(kept.frame, kept.len, kept.segment);
            self.traffic.tx_frames += 1;
            self.traffic.tx_bytes += kept.len as u64;
        }
    }

    /// What was counted so far.
    pub(super) fn traffic(&self) -> Traffic {
        let tx_dropped = self.traffic.tx_dropped + self.discovery.neighbors.dropped();
        Traffic {
            tx_dropped,
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
    #[inline]
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

    fn receive(&mut self, now: Instant) -> Option<(RxToken<'_>, TxToken<'_>)> {
        let mtu = self.mtu();
        let received = RxToken(match self.pending.as_ref()? {
            Pending::Frame(frame, packet) => &frame[*packet..],
            Pending::Datagram(place) => self.reassembly.whole(*place),
            Pending::Coalesced => self.gro.packet(),
        });
        let token = TxToken {
            // Most packets have no reply. Whether there is room for one is asked when there is.
            room: if self.link_up { Room::Unknown } else { Room::None },
            nic: self.nic.as_deref_mut(),
            spares: &mut self.spares,
            scratch: &mut self.scratch,
            traffic: &mut self.traffic,
            discovery: &mut self.discovery,
            checksums: self.capabilities.transmit_checksums,
            paths: &self.paths,
            pool: self.pool,
            mtu,
            segment: None,
            now,
        };
        Some((received, token))
    }

    fn transmit(&mut self, now: Instant) -> Option<TxToken<'_>> {
        let mtu = self.mtu();
        self.transmit_ready().then(|| TxToken {
            room: Room::Some,
            nic: self.nic.as_deref_mut(),
            spares: &mut self.spares,
            scratch: &mut self.scratch,
            traffic: &mut self.traffic,
            discovery: &mut self.discovery,
            checksums: self.capabilities.transmit_checksums,
            paths: &self.paths,
            pool: self.pool,
            mtu,
            segment: None,
            now,
        })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.mtu();
        if self.nic.is_some() {
            let nic = self.capabilities;
            let (receive, transmit) = (nic.receive_checksums, nic.transmit_checksums);
            capabilities.checksum.ipv4 = software(receive.ipv4, transmit.ipv4);
            capabilities.checksum.tcp = software(receive.tcp, transmit.tcp);
            capabilities.checksum.udp = software(receive.udp, transmit.udp);
            // smoltcp 0.14 drops what is longer than the MTU over IPv6, also if it is to be
            // segmented.
            capabilities.segmentation.tcpv4 = nic
                .segmentation
                .filter(|segmentation| segmentation.max_frame <= self.spares.longest())
                .and_then(|segmentation| {
                    NonZeroUsize::new(segmentation.max_frame - ETHERNET_HEADER)
                });
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

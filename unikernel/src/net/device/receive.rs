//! What becomes of a received frame: who gets it, and what it says to the stack itself.

use smoltcp::iface::{Interface, SocketSet};
use smoltcp::time::Instant;
use smoltcp::wire::DHCP_CLIENT_PORT;

use super::{Device, Pending};
use crate::dma::RxBuffer;
use crate::net::dhcp;
use crate::net::flow::Flow;
use crate::net::frame::{self, ETHERNET_HEADER, Header};
use crate::net::gro;
use crate::net::ipv6::Advertisement;
use crate::net::listen::{Arrival, Verdict};
use crate::net::ndisc::Message;
use crate::net::path_mtu::TooBig;
use crate::net::sockets::Sockets;
use crate::nic::Batch;

/// Where a frame of the flow goes.
enum FlowsTo {
    /// A UDP socket's inbox.
    Inbox,
    /// The connection with these ports.
    Connection(u32),
}

impl Device {
    /// Has the stack process frames that the NIC has received, a batch at most. Returns how many.
    pub(in crate::net) fn receive_batch(
        &mut self,
        interface: &mut Interface,
        sockets: &mut Sockets,
        now: Instant,
    ) -> usize {
        let Some(nic) = &mut self.nic else { return 0 };
        let mut batch = Batch::new();
        nic.receive_batch(&mut batch);
        let received = batch.len();
        for frame in batch.drain(..) {
            self.process(frame, interface, sockets, now);
        }
        self.flush_gro(interface, sockets, now);
        received
    }

    /// What was asked of the last frame may have other answers from now on.
    pub(in crate::net) fn end_flow(&mut self) {
        (self.flow, self.connection) = (None, None);
    }

    /// Has the stack process a frame, whichever NIC received it.
    #[inline]
    pub(in crate::net) fn process(
        &mut self,
        frame: RxBuffer,
        interface: &mut Interface,
        sockets: &mut Sockets,
        now: Instant,
    ) {
        self.traffic.rx_frames += 1;
        self.traffic.rx_bytes += frame.len() as u64;
        if self.intake.reflects(&frame) {
            return self.reflect(frame);
        }
        match self.way_of_flow(&frame) {
            Some(FlowsTo::Inbox) => self.intake.observe(frame, now),
            Some(FlowsTo::Connection(ports)) => {
                self.process_segment(frame, ports, interface, sockets, now);
            }
            None => self.process_first(frame, interface, sockets, now),
        }
    }

    /// Has the stack process a segment of the flow, between these ports.
    #[inline]
    fn process_segment(
        &mut self,
        frame: RxBuffer,
        ports: u32,
        interface: &mut Interface,
        sockets: &mut Sockets,
        now: Instant,
    ) {
        let packet = &frame[ETHERNET_HEADER..];
        let is_same = self.connection.is_some_and(|(last, _)| last == ports);
        if is_same && self.coalesces(packet, interface, sockets, now) {
            return self.intake.observe(frame, now);
        }
        self.flush_gro(interface, sockets, now);
        if !is_same {
            let id = sockets.connections.id_for(packet);
            self.connection = id.map(|id| (ports, id));
        }
        let connection = self.connection.map(|(_, id)| id);
        let end = self.gro.is_enabled().then(|| gro::end(packet)).flatten();
        let unread = |sockets: &Sockets| connection.map(|id| sockets.connections.unread(id));
        let before = end.and_then(|_| unread(sockets));
        self.pending = Some(Pending::Frame(frame, ETHERNET_HEADER));
        self.hand_on(interface, sockets.set_of(connection), now);
        // Of what came behind a hole, a connection has nothing to be read yet.
        self.gro.expect(end.filter(|_| unread(sockets) > before));
    }

    /// Coalesces a segment with those before it, or begins another packet with it. Returns whether
    /// it did: otherwise the segment goes up by itself.
    #[inline]
    fn coalesces(
        &mut self,
        packet: &[u8],
        interface: &mut Interface,
        sockets: &mut Sockets,
        now: Instant,
    ) -> bool {
        self.gro.push(packet) || {
            self.flush_gro(interface, sockets, now);
            self.gro.push(packet)
        }
    }

    /// Sends a frame back in the memory that it came in.
    fn reflect(&mut self, frame: RxBuffer) {
        let len = frame.len();
        if !self.intake.may_send_back(&frame) {
            return;
        }
        let mut frame = frame.into_transmit();
        self.intake.edit_reflected(&mut frame[..len]);
        let fits = len <= self.capabilities.max_frame;
        if !fits || self.send(frame, len).is_err() {
            self.count_dropped();
        }
    }

    /// Where a frame of the flow goes, if it is of it and needs nothing else. What goes to an inbox
    /// is there then.
    #[inline]
    fn way_of_flow(&self, frame: &RxBuffer) -> Option<FlowsTo> {
        let frame: &[u8] = frame;
        let headers = self.flow.as_ref()?.headers(frame)?;
        if !self.intake.diverts_nothing() {
            return None;
        }
        if let Some((port, payload)) = headers.datagram() {
            let verified = self.capabilities.receive_checksums;
            if self.dhcp && port == DHCP_CLIENT_PORT {
                return None;
            }
            let inbox = self.intake.inbox(port)?;
            if !(verified.ipv4 && verified.udp || frame::has_valid_checksums(frame)) {
                return None;
            }
            inbox.push(headers.source(), &frame[payload]);
            return Some(FlowsTo::Inbox);
        }
        let (flags, ports) = headers.segment()?;
        let is_plain = flags & frame::TCP_RST == 0 && !self.listeners.concerns(flags);
        is_plain.then_some(FlowsTo::Connection(ports))
    }

    /// Has smoltcp process the segments that were coalesced, if there are any.
    #[inline]
    pub(in crate::net) fn flush_gro(
        &mut self,
        interface: &mut Interface,
        sockets: &mut Sockets,
        now: Instant,
    ) {
        if !self.gro.is_empty() {
            self.process_coalesced(interface, sockets, now);
        }
    }

    #[inline(never)]
    fn process_coalesced(
        &mut self,
        interface: &mut Interface,
        sockets: &mut Sockets,
        now: Instant,
    ) {
        self.gro.finish();
        let set = sockets.set_of(self.connection.map(|(_, id)| id));
        self.pending = Some(Pending::Coalesced);
        self.hand_on(interface, set, now);
        self.gro.clear();
    }

    /// Has smoltcp process what is pending.
    fn hand_on(
        &mut self,
        interface: &mut Interface,
        sockets: &mut SocketSet<'static>,
        now: Instant,
    ) {
        interface.poll_ingress_single(now, self, sockets);
        if let Some(Pending::Frame(frame, _)) = self.pending.take() {
            self.intake.observe(frame, now);
        }
    }

    /// Has the stack process a frame of which nothing is known.
    #[inline(never)]
    fn process_first(
        &mut self,
        frame: RxBuffer,
        interface: &mut Interface,
        sockets: &mut Sockets,
        now: Instant,
    ) {
        self.flush_gro(interface, sockets, now);
        self.end_flow();
        let Some(header) = Header::of(&frame) else { return };
        let verified = self.capabilities.receive_checksums;
        let (mac, verified) = (self.discovery.mac.0, verified.ipv4 && verified.udp);
        let flags = header.tcp_flags(&frame[header.payload..]);
        let taken = self.note(&frame, header, verified);
        let Some(frame) = self.intake.divert(frame, header, mac, verified) else { return };
        let is_over = !self.discovery.hear(&frame, header, now)
            || taken
            || flags.is_some_and(|flags| self.listeners.concerns(flags))
                && self.handshake(&frame, header, interface, sockets, now);
        if is_over {
            return self.intake.observe(frame, now);
        }
        self.flow = Flow::of(&frame).filter(|flow| {
            let (from, to) = flow.addresses();
            frame.starts_with(&mac) && from.is_unicast() && self.intake.is_destination(to)
        });
        let packet = &frame[header.payload..];
        if TooBig::is_likely(packet)
            && let Some(said) = TooBig::parse(packet)
        {
            self.paths.learn(&said, interface, sockets, now);
        }
        let is_reset = flags.is_some_and(|flags| flags & frame::TCP_RST != 0);
        let mut resets = None;
        let set = if header.is_fragment(packet) {
            let is_destination = |address| self.intake.is_destination(address);
            let place = self.reassembly.receive(packet, is_destination, now);
            self.intake.observe(frame, now);
            let Some(place) = place else { return };
            self.pending = Some(Pending::Datagram(place));
            sockets.set_for(self.reassembly.whole(place))
        } else if self.intake.deliver(&frame, header, verified) {
            return self.intake.observe(frame, now);
        } else {
            resets = is_reset.then(|| sockets.connections.id_for(packet)).flatten();
            let set = sockets.set_for(packet);
            self.pending = Some(Pending::Frame(frame, header.payload));
            set
        };
        self.hand_on(interface, set, now);
        if let Some(connection) = resets {
            sockets.note_reset(connection);
        }
    }

    /// Takes in a segment that may be part of a handshake. Returns whether it is dealt with.
    fn handshake(
        &mut self,
        frame: &[u8],
        header: Header,
        interface: &Interface,
        sockets: &mut Sockets,
        now: Instant,
    ) -> bool {
        let checksums = self.capabilities.receive_checksums;
        let arrival = Arrival {
            now,
            mac: self.discovery.mac,
            mtu: self.mtu(),
            verified: checksums.ipv4 && checksums.tcp,
            paths: &self.paths,
        };
        match self.listeners.receive(frame, header, &arrival, interface, sockets) {
            Verdict::Pass => false,
            Verdict::Drop => true,
            Verdict::Answer(handshake) => {
                // If there is no room for the answer, it is repeated later.
                self.answer(&handshake);
                true
            }
        }
    }

    /// Notes what a frame says that smoltcp does not pass on. Returns whether that is all there is
    /// to it.
    #[inline]
    fn note(&mut self, frame: &[u8], header: Header, verified: bool) -> bool {
        let packet = &frame[header.payload..];
        // Of more than there is room for, the rest is said again.
        if header.ethertype == frame::IPV6 && Message::is_likely(packet) {
            if let Some(advertisement) = Advertisement::parse(packet) {
                let _ = self.notes.advertised.push(advertisement);
            }
        } else if self.dhcp && header.ethertype == frame::IPV4 && dhcp::Reply::is_likely(packet) {
            if let Some(reply) = dhcp::Reply::parse(packet, self.discovery.mac, verified) {
                let _ = self.notes.dhcp.push(reply);
            }
            return true;
        } else if header.is_rarp() {
            self.notes.own_rarp |= frame[6..12] == self.discovery.mac.0;
        }
        false
    }
}

//! A TCP client that sends nothing of its own accord: no timer and no window of its decides what
//! the guest has to do, so that is the same each time.

use anyhow::{Result, ensure};
use etherparse::{PacketBuilder, SlicedPacket, TcpHeader, TcpOptionElement, TransportSlice::Tcp};

use super::wire::Wire;
use crate::{
    addresses::{GUEST, SOURCE},
    segment::{Frame, PREFIX},
};

/// Payload of a full segment, as with timestamps.
pub(super) const SEGMENT: u32 = 1448;
/// Ethernet, IPv4 and TCP.
const HEADERS: usize = 14 + 20 + 20;
/// The longest one without scaling.
const WINDOW: u16 = u16::MAX;
/// Where its first port is.
const PORTS: u16 = 40_000;

/// An established connection with a port of the guest.
pub(super) struct Connection {
    local: u16,
    remote: u16,
    /// Sequence number of what is sent next.
    next: u32,
    /// What has been received up to.
    received: u32,
    /// What the guest may send up to.
    edge: u32,
}

impl Connection {
    /// Connects from the port of that index.
    pub(super) fn open(wire: &mut Wire, index: u16, remote: u16) -> Result<Self> {
        let local = PORTS + index;
        let mut connection = Self { local, remote, next: 0, received: 0, edge: WINDOW.into() };
        let mut syn = TcpHeader::new(local, remote, connection.next, WINDOW);
        syn.syn = true;
        syn.set_options(&[TcpOptionElement::MaximumSegmentSize(SEGMENT as u16)])?;
        wire.send(&[frame(syn, &[])])?;
        loop {
            let received = wire.receive()?;
            let Some((tcp, _)) = connection.parse(&received) else { continue };
            ensure!(tcp.syn && tcp.ack, "port {remote} refuses connection {index}");
            connection.next = tcp.acknowledgment_number;
            connection.received = tcp.sequence_number.wrapping_add(1);
            connection.edge = connection.received.wrapping_add(WINDOW.into());
            wire.send(&[connection.acknowledgement()])?;
            return Ok(connection);
        }
    }

    /// A segment with payload, and what has been received up to.
    pub(super) fn segment(&mut self, payload: &[u8]) -> Frame {
        let frame = self.frame(self.received, payload);
        self.next = self.next.wrapping_add(payload.len() as u32);
        frame
    }

    /// What has been received up to, and what the guest may send up to.
    pub(super) fn acknowledgement(&self) -> Frame {
        self.frame(self.received, &[])
    }

    /// The acknowledgements that a receiver sends for what came last: one for every two segments,
    /// and nothing may be sent beyond what might before.
    pub(super) fn acknowledgements(&self, bytes: u32) -> impl Iterator<Item = Frame> {
        let left = (0..bytes).step_by(2 * SEGMENT as usize).collect::<Vec<_>>();
        left.into_iter().rev().map(|left| self.frame(self.received.wrapping_sub(left), &[]))
    }

    /// The guest may send so many bytes from now on, and no more.
    pub(super) fn allow(&mut self, bytes: u16) {
        self.edge = self.received.wrapping_add(bytes.into());
    }

    /// Receives until `is_whole` says that it is all there. With `answers`, each segment but the
    /// last is acknowledged.
    pub(super) fn receive(
        &mut self,
        wire: &mut Wire,
        answers: bool,
        is_whole: impl Fn(&[u8]) -> bool,
    ) -> Result<Vec<u8>> {
        let mut data = Vec::new();
        while !is_whole(&data) {
            let received = wire.receive()?;
            let Some((tcp, payload)) = self.parse(&received) else { continue };
            ensure!(!tcp.rst, "the guest has reset the connection with port {}", self.remote);
            // Otherwise it is sent once more.
            if tcp.sequence_number == self.received && !payload.is_empty() {
                data.extend(payload);
                self.received = self.received.wrapping_add(payload.len() as u32);
                if answers && !is_whole(&data) {
                    wire.send(&[self.acknowledgement()])?;
                }
            }
        }
        Ok(data)
    }

    /// Sends a request, receives the answer to where the guest closes the connection, and closes it
    /// too. Returns the answer once the guest has seen that.
    pub(super) fn ask_once(mut self, wire: &mut Wire, request: &[u8]) -> Result<Vec<u8>> {
        wire.send(&[self.segment(request)])?;
        let (mut data, mut is_closed) = (Vec::new(), false);
        loop {
            let received = wire.receive()?;
            let Some((tcp, payload)) = self.parse(&received) else { continue };
            ensure!(!tcp.rst, "the guest has reset the connection with port {}", self.remote);
            if is_closed && tcp.acknowledgment_number == self.next.wrapping_add(1) {
                return Ok(data);
            }
            if is_closed || tcp.sequence_number != self.received {
                continue;
            }
            data.extend(payload);
            is_closed = tcp.fin;
            let len = payload.len() as u32 + u32::from(is_closed);
            self.received = self.received.wrapping_add(len);
            if is_closed {
                wire.send(&[self.end()])?;
            } else if !payload.is_empty() {
                wire.send(&[self.acknowledgement()])?;
            }
        }
    }

    fn end(&self) -> Frame {
        let mut tcp = TcpHeader::new(self.local, self.remote, self.next, WINDOW);
        (tcp.ack, tcp.acknowledgment_number, tcp.fin) = (true, self.received, true);
        frame(tcp, &[])
    }

    fn parse<'a>(&self, frame: &'a [u8]) -> Option<(TcpHeader, &'a [u8])> {
        let packet = SlicedPacket::from_ethernet(frame).ok()?;
        let Some(Tcp(tcp)) = packet.transport else { return None };
        let is_ours = tcp.destination_port() == self.local && tcp.source_port() == self.remote;
        is_ours.then(|| (tcp.to_header(), tcp.payload()))
    }

    fn frame(&self, received: u32, payload: &[u8]) -> Frame {
        let window = self.edge.wrapping_sub(received).min(WINDOW.into()) as u16;
        let mut tcp = TcpHeader::new(self.local, self.remote, self.next, window);
        (tcp.ack, tcp.acknowledgment_number) = (true, received);
        tcp.psh = !payload.is_empty();
        frame(tcp, payload)
    }
}

fn frame(tcp: TcpHeader, payload: &[u8]) -> Frame {
    Frame::build(PREFIX + HEADERS + payload.len(), |frame| {
        let mut bytes = Vec::new();
        PacketBuilder::ethernet2(SOURCE.mac, GUEST.mac)
            .ipv4(SOURCE.ip.octets(), GUEST.ip.octets(), 64)
            .tcp_header(tcp)
            .write(&mut bytes, payload)
            .expect("a vector takes what fits into an Ethernet frame");
        frame.extend(bytes);
    })
}

//! The frames of the traffic source.

use crate::segment::{Frame, Mac, PREFIX};
use etherparse::{
    ArpEthIpv4Packet, ArpOperation, ArpPacket, EtherType, NetSlice, PacketBuilder, SlicedPacket,
    TransportSlice,
};
use godwit_probe::{HEADERS, Header, PORT, Report};
use std::net::Ipv4Addr;
use zerocopy::IntoBytes;

/// Port the source sends from, and the guest reports to.
const SOURCE_PORT: u16 = PORT;
/// Ethernet, IPv4 and UDP headers.
const PAYLOAD_AT: usize = 14 + HEADERS;

/// A station on the segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Station {
    /// Its Ethernet address.
    pub mac: Mac,
    /// Its IPv4 address.
    pub ip: Ipv4Addr,
}

/// A datagram all but for its probe header.
pub(super) struct Template {
    ethernet: Vec<u8>,
}

impl Template {
    /// A datagram of `length` bytes at the IP layer, at least the headers and at most what an
    /// Ethernet frame carries.
    pub(super) fn new(from: Station, to: Station, length: usize) -> Self {
        let length = length.clamp(HEADERS + size_of::<Header>(), 1500);
        // Not all the same: a page with the padding of another datagram must not pass for this
        // one's.
        let payload: Vec<u8> = (0..length - HEADERS).map(|i| (i * 7 + i / 256) as u8).collect();
        let mut ethernet = Vec::new();
        PacketBuilder::ethernet2(from.mac, to.mac)
            .ipv4(from.ip.octets(), to.ip.octets(), 64)
            .udp(SOURCE_PORT, PORT)
            .write(&mut ethernet, &payload)
            .expect("a vector takes what fits into an Ethernet frame");
        // No checksum (RFC 768), or it would have to be computed again for every header.
        ethernet[PAYLOAD_AT - 2..PAYLOAD_AT].fill(0);
        Self { ethernet }
    }

    /// Bytes of the datagram at the IP layer.
    pub(super) fn ip_length(&self) -> usize {
        self.ethernet.len() - 14
    }

    /// The datagram with `header`.
    pub(super) fn frame(&self, header: Header) -> Frame {
        Frame::build(self.ethernet.len(), |wire| {
            wire.extend_from_slice(&self.ethernet);
            let payload = &mut wire[PREFIX + PAYLOAD_AT..];
            payload[..size_of::<Header>()].copy_from_slice(header.as_bytes());
        })
    }
}

/// A frame for the source.
#[derive(Debug)]
pub(super) enum Received {
    /// Somebody asks for the source's Ethernet address; this is the answer.
    ArpRequest(Frame),
    /// The guest reports.
    Report(Box<Report>),
}

/// Reads a frame. `None`: it is of no concern to the source `me`.
pub(super) fn parse(frame: &Frame, me: Station) -> Option<Received> {
    let packet = SlicedPacket::from_ethernet(frame.ethernet()).ok()?;
    match packet.net? {
        NetSlice::Arp(arp) => {
            let request = ArpPacket::from_slice(arp.slice()).ok()?.try_eth_ipv4().ok()?;
            let for_me =
                request.operation == ArpOperation::REQUEST && request.target_ipv4_addr() == me.ip;
            for_me.then(|| Received::ArpRequest(arp_reply(me, &request)))
        }
        NetSlice::Ipv4(ip) if ip.header().destination_addr() == me.ip => {
            let Some(TransportSlice::Udp(udp)) = packet.transport else { return None };
            let to_me = udp.source_port() == PORT && udp.destination_port() == SOURCE_PORT;
            let report = to_me.then(|| Report::parse(udp.payload()))??;
            Some(Received::Report(Box::new(report)))
        }
        _ => None,
    }
}

fn arp_reply(me: Station, request: &ArpEthIpv4Packet) -> Frame {
    let target = Station { mac: request.sender_mac, ip: request.sender_ipv4.into() };
    arp(ArpOperation::REPLY, me, target)
}

/// Asks `peer` for the Ethernet address that is known already. A peer that is asked learns who asks
/// (RFC 826), and need not ask back while it is flooded, when the answer would most likely be lost.
pub(super) fn introduction(me: Station, peer: Station) -> Frame {
    arp(ArpOperation::REQUEST, me, peer)
}

fn arp(operation: ArpOperation, me: Station, target: Station) -> Frame {
    let packet = ArpEthIpv4Packet {
        operation,
        sender_mac: me.mac,
        sender_ipv4: me.ip.octets(),
        target_mac: target.mac,
        target_ipv4: target.ip.octets(),
    };
    Frame::build(60, |wire| {
        wire.extend(target.mac);
        wire.extend(me.mac);
        wire.extend(EtherType::ARP.0.to_be_bytes());
        wire.extend(packet.to_bytes());
        wire.resize(PREFIX + 60, 0);
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use godwit_probe::{REPORT_MAGIC, VERSION};

    pub(in crate::source) const ME: Station =
        Station { mac: [2, 0, 0, 0, 0, 9], ip: Ipv4Addr::new(10, 0, 2, 100) };
    pub(in crate::source) const GUEST: Station =
        Station { mac: [0x52, 0x54, 0, 0x67, 0x6f, 1], ip: Ipv4Addr::new(10, 0, 2, 15) };

    /// A report as the guest sends it.
    pub(in crate::source) fn report_frame(from: Station, to: Station, report: Report) -> Frame {
        let report = Report { magic: REPORT_MAGIC.into(), version: VERSION.into(), ..report };
        Frame::build(256, |wire| {
            let mut bytes = Vec::new();
            PacketBuilder::ethernet2(from.mac, to.mac)
                .ipv4(from.ip.octets(), to.ip.octets(), 64)
                .udp(PORT, SOURCE_PORT)
                .write(&mut bytes, report.as_bytes())
                .unwrap();
            wire.extend(bytes);
        })
    }

    #[test]
    fn a_datagram_is_what_the_guest_parses() {
        let template = Template::new(ME, GUEST, 1400);
        assert_eq!(template.ip_length(), 1400);
        let frame = template.frame(Header::new(3, 77, 5));
        let packet = SlicedPacket::from_ethernet(frame.ethernet()).unwrap();
        let Some(NetSlice::Ipv4(ip)) = packet.net else { panic!("no IPv4") };
        assert_eq!(ip.header().total_len(), 1400);
        let Some(TransportSlice::Udp(udp)) = packet.transport else { panic!("no UDP") };
        assert_eq!((udp.destination_port(), udp.checksum()), (PORT, 0));
        let header = Header::parse(udp.payload()).unwrap();
        assert_eq!((header.stream.get(), header.seq.get(), header.sent_ns.get()), (3, 77, 5));
    }

    #[test]
    fn lengths_are_kept_possible() {
        assert_eq!(Template::new(ME, GUEST, 0).ip_length(), 52);
        assert_eq!(Template::new(ME, GUEST, 9000).ip_length(), 1500);
    }

    #[test]
    fn only_arp_for_the_source_is_answered() {
        let request = |ip: Ipv4Addr| {
            let packet = ArpEthIpv4Packet {
                operation: ArpOperation::REQUEST,
                sender_mac: GUEST.mac,
                sender_ipv4: GUEST.ip.octets(),
                target_mac: [0; 6],
                target_ipv4: ip.octets(),
            };
            Frame::build(60, |wire| {
                wire.extend([0xff; 6]);
                wire.extend(GUEST.mac);
                wire.extend(EtherType::ARP.0.to_be_bytes());
                wire.extend(packet.to_bytes());
            })
        };
        let Some(Received::ArpRequest(reply)) = parse(&request(ME.ip), ME) else {
            panic!("no answer")
        };
        assert_eq!(reply.addresses(), Some((GUEST.mac, ME.mac)));
        assert_eq!(reply.ethernet()[20..22], [0, 2]);
        assert_eq!(reply.ethernet()[28..32], ME.ip.octets());
        assert!(parse(&request(GUEST.ip), ME).is_none());
    }

    #[test]
    fn reports_are_recognised() {
        let report = Report { packets: 12.into(), ..Report::default() };
        let frame = report_frame(GUEST, ME, report);
        let Some(Received::Report(got)) = parse(&frame, ME) else { panic!("no report") };
        assert_eq!(got.packets.get(), 12);
        let elsewhere = Station { ip: Ipv4Addr::new(10, 0, 2, 2), ..ME };
        assert!(parse(&report_frame(GUEST, elsewhere, report), ME).is_none());
        assert!(parse(&Frame::build(9, |wire| wire.extend([0; 9])), ME).is_none());
    }

    #[test]
    fn who_is_introduced_to_can_answer() {
        let frame = introduction(ME, GUEST);
        let Some(Received::ArpRequest(reply)) = parse(&frame, GUEST) else { panic!("no request") };
        assert_eq!(reply.ethernet()[..12], [ME.mac, GUEST.mac].concat());
    }
}

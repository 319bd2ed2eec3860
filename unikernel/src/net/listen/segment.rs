//! The segments of a handshake: how those of peers are read, and how a SYN is answered.

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, IpAddress, IpEndpoint,
    IpProtocol, IpRepr, Ipv4Packet, Ipv6Packet, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber,
};

use super::half_open::{HalfOpen, Syn};
use crate::net::frame::{ETHERNET_HEADER, Header};

/// What our packets begin their life with, as smoltcp's.
const HOP_LIMIT: u8 = 64;

/// A TCP segment in a frame of its own.
pub(super) struct Segment<'a> {
    pub(super) from: EthernetAddress,
    pub(super) to: EthernetAddress,
    pub(super) local: IpEndpoint,
    pub(super) peer: IpEndpoint,
    pub(super) tcp: TcpRepr<'a>,
}

impl<'a> Segment<'a> {
    /// Checksums are not looked at. Headers between IP's and TCP's make it none of these.
    pub(super) fn parse(frame: &'a [u8], header: Header) -> Option<Self> {
        let ethernet = EthernetFrame::new_checked(frame).ok()?;
        let packet = frame.get(header.payload..)?;
        let (source, destination, payload): (IpAddress, IpAddress, _) = match packet.first()? >> 4 {
            4 => {
                let ip = Ipv4Packet::new_checked(packet).ok()?;
                let whole = !ip.more_frags() && ip.frag_offset() == 0;
                (whole && ip.next_header() == IpProtocol::Tcp).then_some(())?;
                let payload = packet.get(ip.header_len().into()..ip.total_len().into())?;
                (ip.src_addr().into(), ip.dst_addr().into(), payload)
            }
            6 => {
                let ip = Ipv6Packet::new_checked(packet).ok()?;
                (ip.next_header() == IpProtocol::Tcp).then_some(())?;
                let payload = packet.get(ip.header_len()..ip.total_len())?;
                (ip.src_addr().into(), ip.dst_addr().into(), payload)
            }
            _ => return None,
        };
        let packet = TcpPacket::new_checked(payload).ok()?;
        let unchecked = ChecksumCapabilities::ignored();
        let tcp = TcpRepr::parse(&packet, &source, &destination, &unchecked).ok()?;
        Some(Self {
            from: ethernet.src_addr(),
            to: ethernet.dst_addr(),
            local: IpEndpoint::new(destination, tcp.dst_port),
            peer: IpEndpoint::new(source, tcp.src_port),
            tcp,
        })
    }

    /// What it offers, if it is a SYN.
    pub(super) fn syn(&self) -> Syn {
        Syn {
            number: self.tcp.seq_number,
            window: self.tcp.window_len,
            max_segment: self.tcp.max_seg_size,
            scale: self.tcp.window_scale,
            sack: self.tcp.sack_permitted,
        }
    }
}

impl HalfOpen {
    /// The SYN, as an IP packet with no checksums. Nothing is left of what it offered that we have
    /// no use for.
    pub(super) fn write_syn(&self, buffer: &mut [u8]) -> usize {
        let syn = TcpRepr {
            src_port: self.peer.port,
            dst_port: self.local.port,
            seq_number: self.syn.number,
            window_len: self.syn.window,
            window_scale: self.syn.scale,
            max_seg_size: self.syn.max_segment,
            sack_permitted: self.syn.sack,
            ..SYN
        };
        let none = ChecksumCapabilities::ignored();
        write((self.peer.addr, self.local.addr), &syn, &none, buffer)
    }

    /// Length of the frame that answers the SYN.
    pub(in crate::net) fn answer_len(&self, mtu: usize) -> usize {
        let tcp = self.answer(mtu);
        ETHERNET_HEADER
            + ip((self.local.addr, self.peer.addr), &tcp).header_len()
            + tcp.buffer_len()
    }

    /// Writes it. It goes to where the SYN came from: whoever that is, is not asked for.
    pub(in crate::net) fn write_answer(
        &self,
        mac: EthernetAddress,
        mtu: usize,
        checksums: &ChecksumCapabilities,
        buffer: &mut [u8],
    ) {
        let mut frame = EthernetFrame::new_unchecked(buffer);
        let ethertype = match self.local.addr {
            IpAddress::Ipv4(_) => EthernetProtocol::Ipv4,
            IpAddress::Ipv6(_) => EthernetProtocol::Ipv6,
        };
        EthernetRepr { src_addr: mac, dst_addr: self.station, ethertype }.emit(&mut frame);
        let addresses = (self.local.addr, self.peer.addr);
        write(addresses, &self.answer(mtu), checksums, frame.payload_mut());
    }

    /// The longest segment that fits.
    fn max_segment(&self, mtu: usize) -> u16 {
        let headers = match self.local.addr {
            IpAddress::Ipv4(_) => 20 + 20,
            IpAddress::Ipv6(_) => 40 + 20,
        };
        mtu.saturating_sub(headers) as u16
    }

    /// The same, for segments that fit.
    pub(super) fn within(mut self, mtu: usize) -> Self {
        let most = self.max_segment(mtu);
        // 536 is what nothing means (RFC 9293, section 3.7.1).
        self.syn.max_segment = Some(self.syn.max_segment.unwrap_or(536).min(most));
        self
    }

    /// The SYN's answer, as smoltcp would have it.
    fn answer(&self, mtu: usize) -> TcpRepr<'static> {
        TcpRepr {
            src_port: self.local.port,
            dst_port: self.peer.port,
            seq_number: self.number,
            ack_number: Some(self.syn.number + 1),
            window_len: self.window,
            window_scale: self.syn.scale.map(|_| self.shift),
            max_seg_size: Some(self.max_segment(mtu)),
            sack_permitted: self.syn.sack,
            ..SYN
        }
    }
}

const SYN: TcpRepr<'static> = TcpRepr {
    src_port: 0,
    dst_port: 0,
    control: TcpControl::Syn,
    seq_number: TcpSeqNumber(0),
    ack_number: None,
    window_len: 0,
    window_scale: None,
    max_seg_size: None,
    sack_permitted: false,
    sack_ranges: [None; 3],
    timestamp: None,
    payload: &[],
};

fn ip((source, destination): (IpAddress, IpAddress), tcp: &TcpRepr<'_>) -> IpRepr {
    IpRepr::new(source, destination, IpProtocol::Tcp, tcp.buffer_len(), HOP_LIMIT)
}

/// Writes a packet, and returns its length.
fn write(
    addresses: (IpAddress, IpAddress),
    tcp: &TcpRepr<'_>,
    checksums: &ChecksumCapabilities,
    buffer: &mut [u8],
) -> usize {
    let ip = ip(addresses, tcp);
    let (start, end) = (ip.header_len(), ip.buffer_len());
    ip.emit(&mut buffer[..end], checksums);
    let mut packet = TcpPacket::new_unchecked(&mut buffer[start..end]);
    tcp.emit(&mut packet, &addresses.0, &addresses.1, checksums);
    end
}

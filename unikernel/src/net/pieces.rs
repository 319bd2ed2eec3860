//! Packets that are too long for their path, made to fit.

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{IpAddress, IpProtocol, Ipv4Packet, Ipv6Packet, TcpPacket};

use super::frame::ETHERNET_HEADER;
use super::path_mtu::{Path, Paths};

/// What is to be done with a frame on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// It fits, or nothing can be done.
    AsIs,
    /// Routers may cut it: it is no TCP over IPv4.
    MayBeCut,
    /// It is IPv6 and no TCP, and goes in fragments for this MTU.
    Fragments(usize),
    /// It is TCP, and goes in several segments.
    Segments(Cut),
}

/// How a TCP packet is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// Length of all its headers, Ethernet's included.
    headers: usize,
    /// Payload of each segment but the last.
    pub(super) size: u16,
    /// Length of the frame.
    end: usize,
    path: Path,
}

/// Looks at a packet that is about to be sent.
pub(super) fn fit(packet: &[u8], paths: &Paths) -> Fit {
    plan(packet, paths).unwrap_or(Fit::AsIs)
}

fn plan(packet: &[u8], paths: &Paths) -> Option<Fit> {
    let (to, protocol, header, len): (IpAddress, _, usize, usize) = match packet.first()? >> 4 {
        4 => {
            let ip = Ipv4Packet::new_checked(packet).ok()?;
            let lengths = (usize::from(ip.header_len()), usize::from(ip.total_len()));
            (ip.dst_addr().into(), ip.next_header(), lengths.0, lengths.1)
        }
        6 => {
            let ip = Ipv6Packet::new_checked(packet).ok()?;
            (ip.dst_addr().into(), ip.next_header(), ip.header_len(), ip.total_len())
        }
        _ => return None,
    };
    let path = paths.to(to)?;
    if len <= path.mtu.into() {
        return path.may_be_cut.then_some(Fit::MayBeCut);
    }
    if protocol != IpProtocol::Tcp {
        return Some(match to {
            IpAddress::Ipv4(_) => Fit::MayBeCut,
            IpAddress::Ipv6(_) => Fit::Fragments(path.mtu.into()),
        });
    }
    let tcp = TcpPacket::new_checked(packet.get(header..len)?).ok()?;
    let headers = header + usize::from(tcp.header_len());
    let size = path.mtu.checked_sub(headers as u16).filter(|&size| size != 0)?;
    let (headers, end) = (ETHERNET_HEADER + headers, ETHERNET_HEADER + len);
    Some(Fit::Segments(Cut { headers, size, end, path }))
}

/// Lets routers cut an IPv4 packet. Without this one mark they need not tell apart what it says.
pub(super) fn let_be_cut(frame: &mut [u8], identification: u16, sums: &ChecksumCapabilities) {
    let mut ip = Ipv4Packet::new_unchecked(&mut frame[ETHERNET_HEADER..]);
    if ip.more_frags() || ip.frag_offset() != 0 {
        return;
    }
    ip.set_dont_frag(false);
    ip.set_ident(identification);
    if sums.ipv4.tx() {
        ip.fill_checksum();
    }
}

impl Cut {
    /// Whether a device can do it: what it makes of a packet may not be cut any further.
    pub(super) fn is_for_device(&self) -> bool {
        !self.path.may_be_cut
    }

    /// How many segments it makes.
    pub(super) fn count(&self) -> usize {
        (self.end - self.headers).div_ceil(self.size.into())
    }

    /// Writes one of the segments of a frame, and returns its length.
    pub(super) fn write(
        &self,
        index: usize,
        frame: &[u8],
        identification: u16,
        sums: &ChecksumCapabilities,
        segment: &mut [u8],
    ) -> usize {
        let size = usize::from(self.size);
        let start = self.headers + index * size;
        let end = self.end.min(start + size);
        let len = self.headers + end - start;
        let segment = &mut segment[..len];
        segment[..self.headers].copy_from_slice(&frame[..self.headers]);
        segment[self.headers..].copy_from_slice(&frame[start..end]);
        let (packet, length) = (&mut segment[ETHERNET_HEADER..], len - ETHERNET_HEADER);
        let (from, to, header): (IpAddress, IpAddress, usize) = if packet[0] >> 4 == 4 {
            let mut ip = Ipv4Packet::new_unchecked(&mut *packet);
            ip.set_total_len(length as u16);
            let header = ip.header_len();
            if self.path.may_be_cut {
                let_be_cut(segment, identification.wrapping_add(index as u16), sums);
            } else if sums.ipv4.tx() {
                ip.fill_checksum();
            }
            let ip = Ipv4Packet::new_unchecked(&segment[ETHERNET_HEADER..]);
            (ip.src_addr().into(), ip.dst_addr().into(), header.into())
        } else {
            let mut ip = Ipv6Packet::new_unchecked(packet);
            let header = ip.header_len();
            ip.set_payload_len((length - header) as u16);
            (ip.src_addr().into(), ip.dst_addr().into(), header)
        };
        let mut tcp = TcpPacket::new_unchecked(&mut segment[ETHERNET_HEADER + header..]);
        tcp.set_seq_number(tcp.seq_number() + index * size);
        if end != self.end {
            // These are of the last byte.
            tcp.set_psh(false);
            tcp.set_fin(false);
        }
        if sums.tcp.tx() {
            tcp.fill_checksum(&from, &to);
        }
        len
    }
}

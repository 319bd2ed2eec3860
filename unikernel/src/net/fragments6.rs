//! IPv6 packets that are longer than their path, in fragments (RFC 8200, section 4.5). smoltcp has
//! them for IPv4 alone, and drops what is longer than the link's MTU: datagrams that are do not go
//! by its sockets.

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{IpProtocol, Ipv6Address, Ipv6Packet, Ipv6Repr, TcpPacket, UdpPacket, UdpRepr};

/// The longest packet without jumbograms: header and payload.
pub(super) const LONGEST_PACKET: usize = HEADER + u16::MAX as usize;
const HEADER: usize = 40;
const UDP_HEADER: usize = 8;
const HOP_LIMIT: u8 = 64;
const FRAGMENT_HEADER: usize = 8;
/// Next header of a packet whose next header is a fragment's.
const FRAGMENT: u8 = 44;
/// That there are more, behind an offset in units of 8 bytes.
const MORE: u16 = 1;

/// Length of the packet with a datagram of so many bytes.
pub(super) fn datagram_len(payload: usize) -> usize {
    HEADER + UDP_HEADER + payload
}

/// Writes a datagram from and to these addresses and ports, with what `f` writes, which is as long
/// as the rest of the packet.
pub(super) fn write_datagram(
    packet: &mut [u8],
    (from, to): (Ipv6Address, Ipv6Address),
    (src_port, dst_port): (u16, u16),
    f: impl FnOnce(&mut [u8]),
) {
    let payload_len = packet.len() - HEADER;
    let next_header = IpProtocol::Udp;
    let ip =
        Ipv6Repr { src_addr: from, dst_addr: to, next_header, payload_len, hop_limit: HOP_LIMIT };
    ip.emit(&mut Ipv6Packet::new_unchecked(&mut *packet));
    let mut udp = UdpPacket::new_unchecked(&mut packet[HEADER..]);
    let repr = UdpRepr { src_port, dst_port };
    let sums = ChecksumCapabilities::default();
    repr.emit(&mut udp, &from.into(), &to.into(), payload_len - UDP_HEADER, f, &sums);
}

/// How a packet is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fragments {
    /// Payload of each but the last.
    size: usize,
    /// Length of the packet.
    len: usize,
}

impl Fragments {
    /// Of a packet on a path with this MTU. `None` if it cannot be cut.
    pub(super) fn of(packet: &[u8], mtu: usize) -> Option<Self> {
        let ip = Ipv6Packet::new_checked(packet).ok().filter(|_| packet[0] >> 4 == 6)?;
        // Other headers would have to be in each of them. We send none that are long.
        let is_plain =
            matches!(ip.next_header(), IpProtocol::Udp | IpProtocol::Icmpv6 | IpProtocol::Tcp);
        let size = mtu.checked_sub(HEADER + FRAGMENT_HEADER)? & !7;
        (is_plain && size != 0).then_some(Self { size, len: ip.total_len() })
    }

    /// How many they are.
    pub(super) fn count(&self) -> usize {
        (self.len - HEADER).div_ceil(self.size)
    }

    /// Writes one of them, and returns its length.
    pub(super) fn write(
        &self,
        index: usize,
        packet: &[u8],
        identification: u32,
        fragment: &mut [u8],
    ) -> usize {
        let start = index * self.size;
        let end = (start + self.size).min(self.len - HEADER);
        let more = if HEADER + end < self.len { MORE } else { 0 };
        let (header, rest) = fragment.split_at_mut(HEADER);
        header.copy_from_slice(&packet[..HEADER]);
        let mut ip = Ipv6Packet::new_unchecked(header);
        ip.set_payload_len((FRAGMENT_HEADER + end - start) as u16);
        ip.set_next_header(FRAGMENT.into());
        rest[..2].copy_from_slice(&[packet[6], 0]);
        // Offsets are multiples of 8, whose lowest bits are those of the flags.
        rest[2..4].copy_from_slice(&(start as u16 | more).to_be_bytes());
        rest[4..FRAGMENT_HEADER].copy_from_slice(&identification.to_be_bytes());
        let payload = &packet[HEADER + start..HEADER + end];
        rest[FRAGMENT_HEADER..][..payload.len()].copy_from_slice(payload);
        HEADER + FRAGMENT_HEADER + payload.len()
    }
}

/// What the first of the fragments of a packet has behind its header. Others have no ports.
pub(super) fn first_of(fragment: &[u8]) -> Option<(IpProtocol, &[u8])> {
    let (header, payload) = fragment.split_at_checked(FRAGMENT_HEADER)?;
    let is_first = u16::from_be_bytes([header[2], header[3]]) & !7 == 0;
    is_first.then(|| (header[0].into(), payload))
}

/// Fills in the sums that are left to a device, which does not see the whole of what it sends.
pub(super) fn fill_sums(packet: &mut [u8], left: &ChecksumCapabilities) {
    let mut ip = Ipv6Packet::new_unchecked(packet);
    let (from, to) = (ip.src_addr().into(), ip.dst_addr().into());
    match ip.next_header() {
        IpProtocol::Udp if !left.udp.tx() => {
            UdpPacket::new_unchecked(ip.payload_mut()).fill_checksum(&from, &to);
        }
        IpProtocol::Tcp if !left.tcp.tx() => {
            TcpPacket::new_unchecked(ip.payload_mut()).fill_checksum(&from, &to);
        }
        _ => {}
    }
}

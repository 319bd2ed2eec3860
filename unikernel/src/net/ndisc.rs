//! Messages of neighbour discovery over IPv6 (RFC 4861), as they are received.

use smoltcp::wire::{
    EthernetAddress, Icmpv6Message, Icmpv6Packet, IpProtocol, Ipv6Address, Ipv6Packet,
};

/// It did not come through a router (RFC 4861, section 6.1.2).
pub(super) const HOP_LIMIT: u8 = 255;
const IPV6_HEADER: usize = 40;
const NEXT_HEADER: usize = 6;
const ICMPV6: u8 = 58;
/// The types of the messages: router solicitation and advertisement, neighbour solicitation and
/// advertisement, redirect.
const TYPES: core::ops::RangeInclusive<u8> = 133..=137;
/// Flags of a neighbour advertisement.
const SOLICITED: u8 = 1 << 6;
const OVERRIDE: u8 = 1 << 5;
/// Types of options.
const SOURCE_LINK_ADDRESS: u8 = 1;
const TARGET_LINK_ADDRESS: u8 = 2;

/// One message, its checksum found to be right.
pub(super) struct Message<'a> {
    pub(super) source: Ipv6Address,
    pub(super) is_multicast: bool,
    pub(super) kind: Icmpv6Message,
    /// What follows type, code and checksum.
    pub(super) body: &'a [u8],
}

impl<'a> Message<'a> {
    /// Whether an IPv6 packet may be one. For every received packet: two loads at most.
    #[inline]
    pub(super) fn is_likely(packet: &[u8]) -> bool {
        packet.get(NEXT_HEADER) == Some(&ICMPV6)
            && packet.get(IPV6_HEADER).is_some_and(|kind| TYPES.contains(kind))
    }

    /// Reads one.
    #[cold]
    pub(super) fn parse(packet: &'a [u8]) -> Option<Self> {
        let ip = Ipv6Packet::new_checked(packet).ok()?;
        let (source, destination) = (ip.src_addr(), ip.dst_addr());
        let genuine = ip.version() == 6
            && ip.next_header() == IpProtocol::Icmpv6
            && ip.hop_limit() == HOP_LIMIT
            && !source.is_multicast();
        let message = packet.get(IPV6_HEADER..ip.total_len()).filter(|_| genuine)?;
        let icmp = Icmpv6Packet::new_checked(message).ok()?;
        let valid = icmp.msg_code() == 0 && icmp.verify_checksum(&source, &destination);
        let body = message.get(4..).filter(|_| valid)?;
        Some(Self { source, is_multicast: destination.is_multicast(), kind: icmp.msg_type(), body })
    }

    /// The address that a solicitation or advertisement of a neighbour is about.
    pub(super) fn target(&self) -> Option<Ipv6Address> {
        let octets: [u8; 16] = self.body.get(4..20)?.try_into().ok()?;
        Some(octets.into()).filter(|target: &Ipv6Address| !target.is_multicast())
    }

    /// Of an advertisement: it answers a question.
    pub(super) fn is_solicited(&self) -> bool {
        self.body.first().is_some_and(|flags| flags & SOLICITED != 0)
    }

    /// Of an advertisement: it counts for more than what was known.
    pub(super) fn overrides(&self) -> bool {
        self.body.first().is_some_and(|flags| flags & OVERRIDE != 0)
    }

    /// Types and contents of the options, in a message that has them from byte `from` of its body
    /// on.
    pub(super) fn options(&self, from: usize) -> impl Iterator<Item = (u8, &'a [u8])> + use<'a> {
        let mut rest = self.body.get(from..).unwrap_or_default();
        core::iter::from_fn(move || {
            let &[kind, len, ..] = rest else { return None };
            let option = rest.split_at_checked(usize::from(len) * 8).filter(|_| len != 0);
            let (option, following) = option?;
            rest = following;
            Some((kind, &option[2..]))
        })
    }

    /// The station of the sender of a solicitation, or of the target of an advertisement.
    pub(super) fn station(&self) -> Option<EthernetAddress> {
        let (wanted, from) = match self.kind {
            Icmpv6Message::RouterAdvert => (SOURCE_LINK_ADDRESS, 12),
            Icmpv6Message::NeighborAdvert => (TARGET_LINK_ADDRESS, 20),
            _ => (SOURCE_LINK_ADDRESS, 20),
        };
        let (_, address) = self.options(from).find(|(kind, _)| *kind == wanted)?;
        let station = EthernetAddress(*address.first_chunk()?);
        station.is_unicast().then_some(station)
    }
}

//! What the interface says unasked: where its addresses are, and that it looks for a router.

use smoltcp::phy::{ChecksumCapabilities, Device as _, TxToken as _};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
    EthernetRepr, HardwareAddress, IPV6_LINK_LOCAL_ALL_NODES, IPV6_LINK_LOCAL_ALL_ROUTERS,
    Icmpv6Packet, Icmpv6Repr, IpCidr, IpProtocol, Ipv4Address, Ipv6Address, Ipv6Packet, Ipv6Repr,
    NdiscNeighborFlags, NdiscRepr,
};

use super::groups::station;
use super::ipv6::{HOP_LIMIT, link_local};
use super::stack::Inner;

/// When announcements follow the first. A switch that has just brought the port up may drop that one.
const ANNOUNCE_AFTER: [Duration; 3] =
    [Duration::from_millis(50), Duration::from_millis(200), Duration::from_millis(1000)];

/// Ethertype of the Reverse Address Resolution Protocol (RFC 903).
const RARP: [u8; 2] = [0x80, 0x35];

/// Whether a frame is of RARP. From the guest's own station address, it is what a hypervisor sends in the name of a guest that has
/// moved (QEMU, `net/announce.c`).
///
/// QEMU does so on the standby, five times in a second, however early the primary is in use again. Switches believe it.
#[inline]
pub(super) fn is_rarp(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&RARP)
}

/// Tells switches where our MAC is now and neighbours what it is.
#[derive(Default)]
pub(super) struct Announce {
    /// How many were sent since it started.
    pub(super) sent: usize,
    /// When the next is due.
    pub(super) at: Option<Instant>,
}

impl Announce {
    /// The first of them is due at this time.
    pub(super) fn starting(at: Instant) -> Self {
        Self { sent: 0, at: Some(at) }
    }
}

impl Inner {
    /// Contradicts a hypervisor that has announced our address where it is no longer used.
    pub(super) fn contradict(&mut self, now: Instant) {
        if core::mem::take(&mut self.device.announced_elsewhere) && self.link.up {
            self.announce = Announce::starting(now);
            self.idle.expect(now);
        }
    }

    /// Sends the announcements that are due: gratuitous ARP (RFC 5227, section 2.3), unsolicited neighbour advertisements
    /// (RFC 4861, section 7.2.6), and a router solicitation.
    pub(super) fn send_announcements(&mut self, now: Instant) {
        let HardwareAddress::Ethernet(mac) = self.interface.hardware_addr();
        if self.ipv6.solicits(now) && self.link.up && self.solicit_router(mac, now) {
            self.ipv6.solicited(now);
        }
        if self.announce.at.is_none_or(|at| now < at) {
            return;
        }
        let mut any = false;
        let addresses: heapless::Vec<IpCidr, 8> =
            self.interface.ip_addrs().iter().copied().take(8).collect();
        for address in addresses {
            any = true;
            let sent = match address {
                IpCidr::Ipv4(cidr) => self.send_arp(mac, cidr.address(), now),
                IpCidr::Ipv6(cidr) => self.advertise_neighbor(mac, cidr.address(), now),
            };
            if !sent {
                return;
            }
        }
        let after = any.then(|| ANNOUNCE_AFTER.get(self.announce.sent)).flatten();
        self.announce.at = after.map(|&after| now + after);
        self.announce.sent += 1;
    }

    fn send_arp(&mut self, mac: EthernetAddress, address: Ipv4Address, now: Instant) -> bool {
        let arp = ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Request,
            source_hardware_addr: mac,
            source_protocol_addr: address,
            target_hardware_addr: EthernetAddress([0; 6]),
            target_protocol_addr: address,
        };
        let ethernet = EthernetRepr {
            src_addr: mac,
            dst_addr: EthernetAddress::BROADCAST,
            ethertype: EthernetProtocol::Arp,
        };
        self.send_frame(ethernet, arp.buffer_len(), now, |payload| {
            arp.emit(&mut ArpPacket::new_unchecked(payload));
        })
    }

    fn advertise_neighbor(
        &mut self,
        mac: EthernetAddress,
        address: Ipv6Address,
        now: Instant,
    ) -> bool {
        let advertisement = NdiscRepr::NeighborAdvert {
            flags: NdiscNeighborFlags::OVERRIDE,
            target_addr: address,
            lladdr: Some(mac.into()),
        };
        self.send_ndisc(mac, address, IPV6_LINK_LOCAL_ALL_NODES, advertisement, now)
    }

    fn solicit_router(&mut self, mac: EthernetAddress, now: Instant) -> bool {
        let solicitation = NdiscRepr::RouterSolicit { lladdr: Some(mac.into()) };
        self.send_ndisc(mac, link_local(mac.0), IPV6_LINK_LOCAL_ALL_ROUTERS, solicitation, now)
    }

    fn send_ndisc(
        &mut self,
        mac: EthernetAddress,
        source: Ipv6Address,
        group: Ipv6Address,
        ndisc: NdiscRepr<'_>,
        now: Instant,
    ) -> bool {
        let icmp = Icmpv6Repr::Ndisc(ndisc);
        let ip = Ipv6Repr {
            src_addr: source,
            dst_addr: group,
            next_header: IpProtocol::Icmpv6,
            payload_len: icmp.buffer_len(),
            hop_limit: HOP_LIMIT,
        };
        let ethernet = EthernetRepr {
            src_addr: mac,
            dst_addr: EthernetAddress(station(group.into())),
            ethertype: EthernetProtocol::Ipv6,
        };
        self.send_frame(ethernet, ip.buffer_len() + icmp.buffer_len(), now, |payload| {
            let mut packet = Ipv6Packet::new_unchecked(payload);
            ip.emit(&mut packet);
            let mut body = Icmpv6Packet::new_unchecked(packet.payload_mut());
            icmp.emit(&source, &group, &mut body, &ChecksumCapabilities::default());
        })
    }

    /// Sends a frame with `len` bytes that `write` fills. `false` if there is no room.
    fn send_frame(
        &mut self,
        ethernet: EthernetRepr,
        len: usize,
        now: Instant,
        write: impl FnOnce(&mut [u8]),
    ) -> bool {
        let Some(token) = self.device.transmit(now) else { return false };
        token.consume(ethernet.buffer_len() + len, |buffer| {
            let mut frame = EthernetFrame::new_unchecked(buffer);
            ethernet.emit(&mut frame);
            write(frame.payload_mut());
        });
        true
    }
}

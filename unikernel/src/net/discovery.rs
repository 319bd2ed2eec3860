//! Who is where on the link: what ARP (RFC 826) and neighbour discovery over IPv6 (RFC 4861) have
//! to say, and what we say to them.
//!
//! It hears every received frame before smoltcp, which knows IP packets alone. What there is to be
//! answered is kept until the engine has a turn to send it.

use smoltcp::time::Instant;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, Icmpv6Message, IpAddress, Ipv4Address,
    Ipv6Address,
};

use super::frame::{self, ETHERNET_HEADER, Header};
use super::groups::station;
use super::ndisc::Message;
use super::neighbors::Neighbors;
use super::routes::Routes;

/// Addresses of an interface, as many as Cargo.toml makes room for.
pub(super) const ADDRESSES: usize = 8;
/// Answers between two turns of the engine: a turn receives no more frames.
const ANSWERS: usize = 64;

/// Where a packet is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// To this station.
    To(EthernetAddress),
    /// To this neighbour, whose station is not known yet.
    Unknown(IpAddress),
    /// Nothing leads there.
    Nowhere,
}

/// Somebody has asked where one of our addresses is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// By ARP.
    Arp { address: Ipv4Address, station: EthernetAddress, asker: Ipv4Address },
    /// By a neighbour solicitation. Without an asker it has none yet, and all are told.
    Advertise { address: Ipv6Address, asker: Option<Ipv6Address> },
}

/// What is known of the link.
pub(super) struct Discovery {
    /// Our station.
    pub(super) mac: EthernetAddress,
    pub(super) neighbors: Neighbors,
    pub(super) routes: Routes,
    own: heapless::Vec<IpAddress, ADDRESSES>,
    /// An address that was taken back: nothing is sent from it, and nothing heard for it.
    pub(super) lost: Option<Ipv4Address>,
    /// Where all of the network on the link is reached.
    broadcast: Option<Ipv4Address>,
    /// Addresses that we are going to have unless somebody else does.
    tentative: heapless::Vec<Ipv6Address, ADDRESSES>,
    duplicate: Option<Ipv6Address>,
    answers: heapless::Vec<Answer, ANSWERS>,
    /// The last packet that a neighbour was confirmed by: those that follow in the same turn from
    /// the same station say nothing new.
    last: Option<Heard>,
}

/// That a packet came.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Heard {
    source: IpAddress,
    from: EthernetAddress,
    at: Instant,
}

impl Discovery {
    pub(super) fn new(mac: EthernetAddress) -> Self {
        Self {
            mac,
            neighbors: Neighbors::default(),
            routes: Routes::default(),
            own: heapless::Vec::new(),
            lost: None,
            broadcast: None,
            tentative: heapless::Vec::new(),
            duplicate: None,
            answers: heapless::Vec::new(),
            last: None,
        }
    }

    /// These addresses are ours from now on.
    pub(super) fn set_own(
        &mut self,
        own: impl Iterator<Item = IpAddress>,
        broadcast: Option<Ipv4Address>,
        tentative: impl Iterator<Item = Ipv6Address>,
    ) {
        self.last = None;
        (self.own, self.broadcast) = (own.take(ADDRESSES).collect(), broadcast);
        self.tentative = tentative.take(ADDRESSES).collect();
    }

    /// Where packets for this host go, groups aside.
    pub(super) fn destinations(&self) -> impl Iterator<Item = IpAddress> {
        let broadcast = [Some(Ipv4Address::BROADCAST), self.broadcast].into_iter().flatten();
        self.own.iter().copied().chain(broadcast.map(IpAddress::Ipv4))
    }

    /// The IPv6 addresses that neighbours may look for, tentative ones included.
    pub(super) fn ipv6(&self) -> impl Iterator<Item = Ipv6Address> {
        let own = self.own.iter().filter_map(|own| match own {
            IpAddress::Ipv6(own) => Some(*own),
            IpAddress::Ipv4(_) => None,
        });
        own.chain(self.tentative.iter().copied())
    }

    /// A tentative address that somebody else has.
    pub(super) fn take_duplicate(&mut self) -> Option<Ipv6Address> {
        self.duplicate.take()
    }

    /// What there is to be answered.
    pub(super) fn next_answer(&mut self) -> Option<Answer> {
        (!self.answers.is_empty()).then(|| self.answers.remove(0))
    }

    /// Where an IP packet is to be sent.
    #[inline]
    pub(super) fn way(&mut self, packet: &[u8], now: Instant) -> Way {
        let Some(to) = frame::destination(packet) else { return Way::Nowhere };
        if self.is_lost(frame::source(packet)) {
            return Way::Nowhere;
        }
        match to {
            IpAddress::Ipv4(to) if to.is_broadcast() || Some(to) == self.broadcast => {
                Way::To(EthernetAddress::BROADCAST)
            }
            _ if to.is_multicast() => Way::To(EthernetAddress(station(to))),
            _ => match self.routes.next_hop(to) {
                None => Way::Nowhere,
                Some(hop) => self.neighbors.station(hop, now).map_or(Way::Unknown(hop), Way::To),
            },
        }
    }

    #[inline]
    fn is_lost(&self, address: Option<IpAddress>) -> bool {
        self.lost.is_some() && address == self.lost.map(IpAddress::Ipv4)
    }

    /// Hears a frame. Returns whether it is for smoltcp: an IP packet for this station.
    #[inline]
    pub(super) fn hear(&mut self, frame: &[u8], header: Header, now: Instant) -> bool {
        let Some((&to, rest)) = frame.split_first_chunk() else { return false };
        let Some(&from) = rest.first_chunk() else { return false };
        let (to, from) = (EthernetAddress(to), EthernetAddress(from));
        if to != self.mac && !to.is_multicast() || !from.is_unicast() || from == self.mac {
            return false;
        }
        let packet = &frame[header.payload..];
        match header.ethertype {
            frame::IPV4 | frame::IPV6 => {
                if self.is_lost(frame::destination(packet)) {
                    return false;
                }
                if header.ethertype == frame::IPV6 && Message::is_likely(packet) {
                    self.last = None;
                    self.hear_ndisc(packet, from, now);
                } else if to == self.mac
                    && let Some(source) = frame::source(packet)
                {
                    let heard = Some(Heard { source, from, at: now });
                    if self.last != heard {
                        self.last = heard;
                        self.confirm(source, from, now);
                    }
                }
                true
            }
            frame::ARP => {
                self.last = None;
                self.hear_arp(packet, now);
                false
            }
            _ => false,
        }
    }

    /// A packet came from an address, and from a station: the neighbour is there still.
    #[cold]
    fn confirm(&mut self, source: IpAddress, from: EthernetAddress, now: Instant) {
        match self.routes.next_hop(source) {
            // Routers may send from another station than they are reached at.
            Some(router) if router != source => self.neighbors.heard(router, from, now),
            _ => self.neighbors.saw(source, from, now),
        }
    }

    #[cold]
    fn hear_arp(&mut self, packet: &[u8], now: Instant) {
        let Ok(packet) = ArpPacket::new_checked(packet) else { return };
        let Ok(ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr: station,
            source_protocol_addr: asker,
            target_protocol_addr: address,
            ..
        }) = ArpRepr::parse(&packet)
        else {
            return;
        };
        if !station.is_unicast() || asker.is_multicast() || asker.is_broadcast() {
            return;
        }
        let is_ours = self.own.contains(&address.into());
        // Who only probes for an address (RFC 5227, section 1.1) has none to be learnt.
        if !asker.is_unspecified() && !self.own.contains(&asker.into()) {
            if is_ours && self.routes.is_neighbor(asker.into()) {
                self.neighbors.learn(asker.into(), station, now);
            } else {
                self.neighbors.update(asker.into(), station, now);
            }
        }
        if is_ours && operation == ArpOperation::Request {
            // More than there is room for ask again.
            let _ = self.answers.push(Answer::Arp { address, station, asker });
        }
    }

    #[cold]
    fn hear_ndisc(&mut self, packet: &[u8], from: EthernetAddress, now: Instant) {
        let Some(message) = Message::parse(packet) else { return };
        let source = message.source;
        match message.kind {
            Icmpv6Message::NeighborSolicit => {
                let Some(address) = message.target() else { return };
                if self.tentative.contains(&address) {
                    // Two stations want it at the same time (RFC 4862, section 5.4.3).
                    if source.is_unspecified() {
                        self.duplicate = Some(address);
                    }
                    return;
                }
                if !self.own.contains(&address.into()) {
                    return;
                }
                let asker = (!source.is_unspecified()).then_some(source);
                if asker.is_some() && self.routes.is_neighbor(source.into()) {
                    // A question to us alone need not say it (RFC 4861, section 4.3).
                    let station = message.station().or((!message.is_multicast).then_some(from));
                    if let Some(station) = station {
                        self.neighbors.learn(source.into(), station, now);
                    }
                }
                let _ = self.answers.push(Answer::Advertise { address, asker });
            }
            Icmpv6Message::NeighborAdvert => {
                let Some(address) = message.target() else { return };
                if self.tentative.contains(&address) {
                    self.duplicate = Some(address);
                } else if !self.own.contains(&address.into()) {
                    self.hear_advertisement(&message, address, from, now);
                }
            }
            Icmpv6Message::RouterAdvert => {
                if let Some(station) = message.station() {
                    self.neighbors.update(source.into(), station, now);
                }
            }
            _ => {}
        }
    }

    fn hear_advertisement(
        &mut self,
        message: &Message<'_>,
        address: Ipv6Address,
        from: EthernetAddress,
        now: Instant,
    ) {
        // An answer to us alone need not say it (RFC 4861, section 4.4).
        let alone = message.is_solicited() && !message.is_multicast;
        let Some(station) = message.station().or(alone.then_some(from)) else { return };
        if message.overrides() {
            self.neighbors.update(address.into(), station, now);
        } else {
            self.neighbors.update_if_unknown(address.into(), station, now);
        }
    }
}

/// Writes the header in front of the packet of a frame.
#[inline]
pub(super) fn write_header(frame: &mut [u8], to: EthernetAddress, from: EthernetAddress) {
    let is_ipv6 = frame[ETHERNET_HEADER] >> 4 == 6;
    frame[..6].copy_from_slice(&to.0);
    frame[6..12].copy_from_slice(&from.0);
    frame[12..ETHERNET_HEADER].copy_from_slice(&if is_ipv6 { frame::IPV6 } else { frame::IPV4 });
}

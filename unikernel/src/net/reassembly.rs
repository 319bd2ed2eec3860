//! Datagrams that arrive in fragments (RFC 791, RFC 8200 section 4.5), put together before smoltcp
//! sees them.
//!
//! All memory there will ever be for it is taken when the stack is made. Where no place is free,
//! the datagram that was begun first is abandoned: fragments that never come keep nobody out.

use alloc::vec::Vec;

use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{
    IPV6_HEADER_LEN, IpAddress, IpProtocol, Ipv4Packet, Ipv6FragmentHeader, Ipv6Packet,
};

use super::frame::is_valid_packet;
use super::memory::filled;

/// Datagrams at the same time.
const PLACES: usize = 8;
/// How long one may take. IPv6 has 60 seconds; identifications of IPv4 come round sooner.
const PATIENCE: Duration = Duration::from_secs(30);
/// Where in a place the payload is. Before it there is room for the longest headers.
const PAYLOAD: usize = 60;
/// The longest payload (both lengths have 16 bits).
const LONGEST: usize = u16::MAX as usize;
/// All fragments but the last have lengths of this many bytes, and begin at multiples of it.
const UNIT: usize = 8;
const UNITS: usize = (LONGEST + 1) / UNIT;

/// What fragments of one datagram have in common.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key {
    source: IpAddress,
    destination: IpAddress,
    identification: u32,
    /// IPv4's; IPv6 does not look at it.
    protocol: Option<IpProtocol>,
}

/// One of them.
struct Fragment<'a> {
    key: Key,
    /// IP's header, without the fragment header.
    headers: &'a [u8],
    /// What follows it.
    next: IpProtocol,
    start: usize,
    is_last: bool,
    payload: &'a [u8],
}

/// Where one datagram is put together.
struct Place {
    /// The datagram, and until when it may take.
    datagram: Option<(Key, Instant)>,
    memory: Vec<u8>,
    /// Which units have arrived.
    arrived: Vec<u64>,
    count: usize,
    /// Where the last of them ends, and where the datagram does.
    end: usize,
    total: Option<usize>,
    /// Length of the headers in front of the payload, once they are there, and what follows them.
    headers: Option<(usize, IpProtocol)>,
}

/// A fragment that makes no sense, and its datagram with it.
struct Nonsense;

/// What a place is after a fragment.
enum Progress {
    /// Not complete.
    Waits,
    /// The whole packet is here.
    Complete(core::ops::Range<usize>),
}

pub(super) struct Reassembly {
    places: Vec<Place>,
    whole: core::ops::Range<usize>,
    reassembled: u64,
    abandoned: u64,
}

impl Reassembly {
    /// With its memory; without, if there is not so much: then every fragment is dropped.
    pub(super) fn new() -> Self {
        let place = || {
            Ok::<_, super::error::Error>(Place {
                datagram: None,
                memory: filled(PAYLOAD + LONGEST + 1, 0)?,
                arrived: filled(UNITS / u64::BITS as usize, 0)?,
                count: 0,
                end: 0,
                total: None,
                headers: None,
            })
        };
        let places = (0..PLACES).map(|_| place()).collect::<Result<_, _>>().unwrap_or_default();
        Self { places, whole: 0..0, reassembled: 0, abandoned: 0 }
    }

    /// Datagrams that were put together.
    pub(super) fn reassembled(&self) -> u64 {
        self.reassembled
    }

    /// Datagrams that were begun and given up.
    pub(super) fn abandoned(&self) -> u64 {
        self.abandoned
    }

    /// The packet of this place, which [`receive`](Self::receive) has found complete.
    pub(super) fn whole(&self, place: usize) -> &[u8] {
        &self.places[place].memory[self.whole.clone()]
    }

    /// Takes in a fragment to one of these destinations. Returns the place of its datagram, if that
    /// is complete now.
    pub(super) fn receive(
        &mut self,
        packet: &[u8],
        is_destination: impl FnOnce(IpAddress) -> bool,
        now: Instant,
    ) -> Option<usize> {
        let fragment = Fragment::parse(packet).filter(|it| is_destination(it.key.destination))?;
        let index = self.place_for(&fragment.key, now)?;
        let place = &mut self.places[index];
        let whole = match place.take(&fragment) {
            Ok(Progress::Waits) => return None,
            Ok(Progress::Complete(whole)) if is_valid_packet(&place.memory[whole.clone()]) => whole,
            _ => {
                place.datagram = None;
                self.abandoned += 1;
                return None;
            }
        };
        place.datagram = None;
        self.whole = whole;
        self.reassembled += 1;
        Some(index)
    }

    /// The place of this datagram, or else one that is free or has to be.
    fn place_for(&mut self, key: &Key, now: Instant) -> Option<usize> {
        for place in &mut self.places {
            if place.datagram.is_some_and(|(_, until)| now >= until) {
                place.datagram = None;
                self.abandoned += 1;
            }
        }
        let is_it = |place: &Place| place.datagram.is_some_and(|(other, _)| other == *key);
        if let Some(known) = self.places.iter().position(is_it) {
            return Some(known);
        }
        // `None` is less than any time.
        let until = |(_, place): &(_, &mut Place)| place.datagram.map(|(_, until)| until);
        let (index, place) = self.places.iter_mut().enumerate().min_by_key(until)?;
        if place.datagram.is_some() {
            self.abandoned += 1;
        }
        place.begin(*key, now + PATIENCE);
        Some(index)
    }
}

impl Place {
    fn begin(&mut self, key: Key, until: Instant) {
        self.datagram = Some((key, until));
        self.arrived.fill(0);
        (self.count, self.end, self.total, self.headers) = (0, 0, None, None);
    }

    fn take(&mut self, fragment: &Fragment<'_>) -> Result<Progress, Nonsense> {
        let (start, len) = (fragment.start, fragment.payload.len());
        let end = start + len;
        let is_odd = len == 0 || !fragment.is_last && !len.is_multiple_of(UNIT);
        if is_odd || end > LONGEST || self.total.is_some_and(|total| end > total) {
            return Err(Nonsense);
        }
        let room = PAYLOAD + start..PAYLOAD + end;
        let units = start / UNIT..end.div_ceil(UNIT);
        let known = units.clone().filter(|&unit| self.has(unit)).count();
        if known != 0 {
            // A duplicate is; anything else that overlaps is an attack (RFC 5722, section 4).
            let is_duplicate = known == units.len() && self.memory[room] == *fragment.payload;
            return if is_duplicate { Ok(Progress::Waits) } else { Err(Nonsense) };
        }
        self.memory[room].copy_from_slice(fragment.payload);
        self.count += units.len();
        units.for_each(|unit| self.arrived[unit / 64] |= 1 << (unit % 64));
        self.end = self.end.max(end);
        if fragment.is_last {
            if self.total.is_some() || self.end > end {
                return Err(Nonsense);
            }
            self.total = Some(end);
        }
        if start == 0 {
            let len = fragment.headers.len();
            self.memory[PAYLOAD - len..PAYLOAD].copy_from_slice(fragment.headers);
            self.headers = Some((len, fragment.next));
        }
        match (self.total, self.headers) {
            (Some(total), Some(headers)) if self.count == total.div_ceil(UNIT) => {
                self.complete(total, headers).map(Progress::Complete)
            }
            _ => Ok(Progress::Waits),
        }
    }

    fn has(&self, unit: usize) -> bool {
        self.arrived[unit / 64] & 1 << (unit % 64) != 0
    }

    /// Makes the headers those of a whole datagram.
    fn complete(
        &mut self,
        total: usize,
        (headers, next): (usize, IpProtocol),
    ) -> Result<core::ops::Range<usize>, Nonsense> {
        let whole = PAYLOAD - headers..PAYLOAD + total;
        let packet = &mut self.memory[whole.clone()];
        if packet[0] >> 4 == 4 {
            let mut ip = Ipv4Packet::new_unchecked(packet);
            ip.set_total_len((headers + total).try_into().map_err(|_| Nonsense)?);
            ip.set_more_frags(false);
            ip.set_frag_offset(0);
            ip.fill_checksum();
        } else {
            let mut ip = Ipv6Packet::new_unchecked(packet);
            ip.set_payload_len(total as u16);
            ip.set_next_header(next);
        }
        Ok(whole)
    }
}

impl<'a> Fragment<'a> {
    fn parse(packet: &'a [u8]) -> Option<Self> {
        match packet.first()? >> 4 {
            4 => {
                let ip = Ipv4Packet::new_checked(packet).ok()?;
                let header = usize::from(ip.header_len());
                ip.verify_checksum().then_some(Self {
                    key: Key {
                        source: ip.src_addr().into(),
                        destination: ip.dst_addr().into(),
                        identification: ip.ident().into(),
                        protocol: Some(ip.next_header()),
                    },
                    headers: &packet[..header],
                    next: ip.next_header(),
                    start: ip.frag_offset().into(),
                    is_last: !ip.more_frags(),
                    payload: packet.get(header..ip.total_len().into())?,
                })
            }
            6 => {
                let ip = Ipv6Packet::new_checked(packet).ok()?;
                let rest = packet.get(IPV6_HEADER_LEN..ip.total_len())?;
                // The next header, a byte that is reserved, then the fragment header proper.
                let (&[next, _], rest) = rest.split_first_chunk()?;
                let (header, payload) = rest.split_at_checked(6)?;
                let header = Ipv6FragmentHeader::new_checked(header).ok()?;
                Some(Self {
                    key: Key {
                        source: ip.src_addr().into(),
                        destination: ip.dst_addr().into(),
                        identification: header.ident(),
                        protocol: None,
                    },
                    headers: &packet[..IPV6_HEADER_LEN],
                    next: next.into(),
                    start: usize::from(header.frag_offset()) * UNIT,
                    is_last: !header.more_frags(),
                    payload,
                })
            }
            _ => None,
        }
    }
}

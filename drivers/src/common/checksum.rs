//! Where the checksum of a frame is, and whether it is right when the device did not say.

use core::num::NonZeroU16;
use core::ops::Range;
use unikernel::checksum::Sum;
use unikernel::nic::VlanId;

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
/// A tag of four bytes is in front of the type (IEEE 802.1Q).
const TAG: u16 = 0x8100;
const TAG_LEN: usize = 4;
const TCP: u8 = 6;
const UDP: u8 = 17;
/// Start of the network header.
const NETWORK: usize = 14;
const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;

/// What a device verified on a received frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checked {
    /// The IPv4 header.
    pub(crate) ip: bool,
    /// TCP or UDP.
    pub(crate) transport: bool,
    /// One of them was wrong.
    pub(crate) failed: bool,
}

/// What a device is to do to a frame it sends. Offsets are in bytes from the frame's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Offload {
    /// Fill in a checksum.
    pub(crate) checksum: Option<TransmitChecksum>,
    /// Cut the packet, which has a checksum to fill in, into several.
    pub(crate) segments: Option<Segments>,
    /// Insert a tag of this VLAN.
    pub(crate) vlan: Option<VlanId>,
}

/// Where a device is to fill in a TCP or UDP checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TransmitChecksum {
    /// The transport header, where summing starts.
    pub(crate) start: u8,
    /// The checksum.
    pub(crate) field: u8,
    /// TCP, else UDP.
    pub(crate) is_tcp: bool,
    /// Over IPv4, else IPv6.
    pub(crate) is_ipv4: bool,
}

/// How a device is to cut a TCP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segments {
    /// Length of the headers, which every segment gets: Ethernet, IP and TCP.
    pub(crate) headers: u8,
    /// Length of all the payload.
    pub(crate) payload: u32,
    /// Payload of each segment but the last.
    pub(crate) size: NonZeroU16,
}

/// A TCP or UDP packet in a frame.
struct Transport {
    is_ipv4: bool,
    protocol: u8,
    /// Header and payload.
    range: Range<usize>,
    /// Of the checksum, from the start of the frame.
    field: usize,
    /// Of source and destination address.
    addresses: Range<usize>,
}

/// The TCP or UDP packet in `frame`, if it is whole: no fragment, nothing cut off.
fn transport(frame: &[u8]) -> Option<Transport> {
    let (is_ipv4, protocol, start, end, addresses) = match be16(frame, 12)? {
        IPV4 => {
            let header = ipv4_header(frame)?;
            let is_fragment = be16(frame, NETWORK + 6)? & 0x3fff != 0;
            let end = NETWORK + usize::from(be16(frame, NETWORK + 2)?);
            if is_fragment {
                return None;
            }
            (true, frame[NETWORK + 9], header.end, end, NETWORK + 12..NETWORK + 20)
        }
        IPV6 => {
            let start = NETWORK + IPV6_HEADER;
            let end = start + usize::from(be16(frame, NETWORK + 4)?);
            (false, *frame.get(NETWORK + 6)?, start, end, NETWORK + 8..start)
        }
        _ => return None,
    };
    let (field, header) = match protocol {
        TCP => (start + 16, 20),
        UDP => (start + 6, 8),
        _ => return None,
    };
    let whole = start + header <= end && end <= frame.len();
    whole.then_some(Transport { is_ipv4, protocol, range: start..end, field, addresses })
}

impl Offload {
    /// Prepares `frame` for a device that fills in its checksum and, with `segment`, cuts it: what
    /// the checksum starts from, the sum over the pseudo header, takes its place. `None` if `frame`
    /// is to be cut and is no TCP packet.
    #[inline]
    pub(crate) fn prepare(
        frame: &mut [u8],
        segment: Option<NonZeroU16>,
        vlan: Option<VlanId>,
    ) -> Option<Self> {
        if segment.is_none() && !has_checksums(frame) {
            return Some(Self { checksum: None, segments: None, vlan });
        }
        Self::prepare_packet(frame, segment, vlan)
    }

    fn prepare_packet(
        frame: &mut [u8],
        segment: Option<NonZeroU16>,
        vlan: Option<VlanId>,
    ) -> Option<Self> {
        let packet = transport(frame);
        let segments = match (segment, &packet) {
            (None, _) => None,
            (Some(size), Some(packet)) if packet.protocol == TCP => Some(packet.cut(frame, size)?),
            (Some(_), _) => return None,
        };
        let checksum = packet.map(|packet| {
            // The length differs from segment to segment: the device adds it.
            let len = if segments.is_some() { 0 } else { packet.range.len() };
            let sum = pseudo_header(frame, &packet, len).folded();
            frame[packet.field..packet.field + 2].copy_from_slice(&sum.to_be_bytes());
            packet.checksum()
        });
        Some(Self { checksum, segments, vlan })
    }
}

impl Transport {
    fn checksum(&self) -> TransmitChecksum {
        TransmitChecksum {
            start: self.range.start as u8,
            field: self.field as u8,
            is_tcp: self.protocol == TCP,
            is_ipv4: self.is_ipv4,
        }
    }

    /// Clears the fields of the network header that differ from segment to segment (8254x manual,
    /// 3.5.5).
    fn cut(&self, frame: &mut [u8], size: NonZeroU16) -> Option<Segments> {
        let header = usize::from(frame[self.range.start + 12] >> 4) * 4;
        let headers = self.range.start + header;
        let payload = self.range.end.checked_sub(headers)?;
        let lengths = if self.is_ipv4 { NETWORK + 2 } else { NETWORK + 4 };
        frame[lengths..lengths + 2].fill(0);
        if self.is_ipv4 {
            frame[NETWORK + 10..NETWORK + 12].fill(0);
        }
        Some(Segments { headers: u8::try_from(headers).ok()?, payload: payload as u32, size })
    }
}

/// Fills in the TCP or UDP checksum of `frame`, for a device that does not.
pub(crate) fn fill(frame: &mut [u8]) {
    let Some(packet) = transport(frame) else { return };
    let field = packet.field..packet.field + 2;
    frame[field.clone()].fill(0);
    let sum = !whole(frame, &packet).folded();
    // 0 would mean that there is none (RFC 768); it is the same number as 0xffff.
    let sum = if sum == 0 && packet.protocol == UDP { u16::MAX } else { sum };
    frame[field].copy_from_slice(&sum.to_be_bytes());
}

/// Whether the checksums of a received frame are right, of which the device `checked` some.
/// Frames that have none are good.
#[inline]
pub(crate) fn is_good(frame: &[u8], checked: Checked) -> bool {
    let none_left = checked.ip && checked.transport || !has_checksums(frame);
    !checked.failed && (none_left || adds_up(frame, checked))
}

/// Whether a frame may have any, by its type.
#[inline]
fn has_checksums(frame: &[u8]) -> bool {
    matches!(be16(frame, 12), Some(IPV4 | IPV6 | TAG))
}

// Out of the way of frames that need none of it.
#[inline(never)]
fn adds_up(frame: &[u8], checked: Checked) -> bool {
    let frame = untagged(frame);
    let ip_is_good = checked.ip
        || be16(frame, 12) != Some(IPV4)
        || ipv4_header(frame).is_some_and(|header| Sum::of(&frame[header]).folded() == 0xffff);
    ip_is_good && (checked.transport || transport_is_good(frame))
}

/// The frame as it would be without a tag, which a stack may look through: what is in front of its
/// type, the stations, is not looked at here.
fn untagged(frame: &[u8]) -> &[u8] {
    if be16(frame, 12) == Some(TAG) { &frame[TAG_LEN..] } else { frame }
}

fn transport_is_good(frame: &[u8]) -> bool {
    let Some(packet) = transport(frame) else { return true };
    let unused = packet.is_ipv4 && packet.protocol == UDP && be16(frame, packet.field) == Some(0);
    unused || whole(frame, &packet).folded() == 0xffff
}

fn ipv4_header(frame: &[u8]) -> Option<Range<usize>> {
    let len = usize::from(frame.get(NETWORK)? & 0xf) * 4;
    let header = NETWORK..NETWORK + len;
    (len >= IPV4_HEADER && header.end <= frame.len()).then_some(header)
}

/// The sum over all that a transport checksum covers.
fn whole(frame: &[u8], packet: &Transport) -> Sum {
    let pseudo = pseudo_header(frame, packet, packet.range.len());
    pseudo.and(Sum::of(&frame[packet.range.clone()]))
}

/// RFC 9293, 3.1; RFC 8200, 8.1.
fn pseudo_header(frame: &[u8], packet: &Transport, len: usize) -> Sum {
    let addresses = Sum::of(&frame[packet.addresses.clone()]);
    addresses.and_word(packet.protocol.into()).and_word(len as u16)
}

fn be16(frame: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(frame.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    const NONE: Checked = Checked { ip: false, transport: false, failed: false };

    /// An Ethernet frame with a UDP datagram, checksums correct.
    fn udp(payload: &[u8]) -> Vec<u8> {
        let mut frame = alloc::vec![0; 14 + 20 + 8];
        frame[12..14].copy_from_slice(&IPV4.to_be_bytes());
        frame[14] = 0x45;
        frame[16..18].copy_from_slice(&(28 + payload.len() as u16).to_be_bytes());
        frame[22] = 64;
        frame[23] = UDP;
        frame[26..34].copy_from_slice(&[10, 0, 2, 2, 10, 0, 2, 15]);
        let header = !Sum::of(&frame[14..34]).folded();
        frame[24..26].copy_from_slice(&header.to_be_bytes());
        frame[34..38].copy_from_slice(&[0x12, 0x34, 0x56, 0x78]);
        frame[38..40].copy_from_slice(&(8 + payload.len() as u16).to_be_bytes());
        frame.extend_from_slice(payload);
        finish(&mut frame);
        frame
    }

    /// What the device does.
    fn finish(frame: &mut [u8]) {
        let place = Offload::prepare(frame, None, None).unwrap().checksum.unwrap();
        let end = transport(frame).unwrap().range.end;
        let sum = !Sum::of(&frame[place.start.into()..end]).folded();
        let field = usize::from(place.field);
        frame[field..field + 2].copy_from_slice(&sum.to_be_bytes());
    }

    #[test]
    fn a_frame_the_device_finished_is_good_and_any_flipped_bit_is_not() {
        for payload in [&b""[..], b"a", b"godwit", &[0xff; 1400]] {
            let frame = udp(payload);
            assert!(is_good(&frame, NONE));
            // From the version on; addresses of the Ethernet header are not covered.
            for at in 14..frame.len() {
                let mut broken = frame.clone();
                broken[at] ^= 0x10;
                // A changed protocol is another packet with no checksum to look at, but its
                // header's is wrong.
                assert!(!is_good(&broken, NONE), "byte {at} of {}", frame.len());
            }
        }
    }

    #[test]
    fn tcp_over_ipv6_is_finished_and_verified() {
        let mut frame = alloc::vec![0; 14 + 40 + 20 + 5];
        frame[12..14].copy_from_slice(&IPV6.to_be_bytes());
        frame[14] = 0x60;
        frame[18..20].copy_from_slice(&25u16.to_be_bytes());
        frame[20] = TCP;
        frame[22..54].iter_mut().enumerate().for_each(|(i, byte)| *byte = i as u8);
        let place = Offload::prepare(&mut frame, None, None).unwrap().checksum.unwrap();
        assert_eq!((place.start, place.field), (54, 70));
        assert!(place.is_tcp && !place.is_ipv4);
        finish(&mut frame);
        assert!(is_good(&frame, NONE));
        frame[78] ^= 1;
        assert!(!is_good(&frame, NONE));
    }

    #[test]
    fn software_fills_in_what_a_device_would() {
        for payload in [&b""[..], b"a", b"godwit", &[0xff; 1400]] {
            let expected = udp(payload);
            let mut frame = expected.clone();
            frame[40..42].copy_from_slice(&[0xde, 0xad]);
            fill(&mut frame);
            assert_eq!(frame, expected);
        }
        // What adds up to nothing is sent as ones.
        let mut frame = udp(&[0; 2]);
        let checksum: [u8; 2] = frame[40..42].try_into().unwrap();
        frame[42..44].copy_from_slice(&checksum);
        fill(&mut frame);
        assert_eq!(frame[40..42], [0xff; 2]);
        assert!(is_good(&frame, NONE));
    }

    #[test]
    fn udp_over_ipv6_must_have_a_checksum() {
        let mut frame = alloc::vec![0; 14 + 40 + 8];
        frame[12..14].copy_from_slice(&IPV6.to_be_bytes());
        frame[18..20].copy_from_slice(&8u16.to_be_bytes());
        frame[20] = UDP;
        frame[58..60].copy_from_slice(&8u16.to_be_bytes());
        assert!(!is_good(&frame, NONE), "RFC 8200, 8.1");
        finish(&mut frame);
        assert!(is_good(&frame, NONE));
    }

    #[test]
    fn fragments_have_no_checksum_of_their_own() {
        for (flags, is_fragment) in [(0x4000u16, false), (0x2000, true), (0x0001, true)] {
            let mut frame = udp(b"godwit");
            frame[20..22].copy_from_slice(&flags.to_be_bytes());
            frame[24..26].fill(0);
            let header = !Sum::of(&frame[14..34]).folded();
            frame[24..26].copy_from_slice(&header.to_be_bytes());
            frame[40] ^= 1;
            assert_eq!(is_good(&frame, NONE), is_fragment, "{flags:#x}");
            let checksum = Offload::prepare(&mut frame, None, None).unwrap().checksum;
            assert_eq!(checksum.is_none(), is_fragment, "{flags:#x}");
        }
    }

    #[test]
    fn what_is_behind_a_tag_is_verified_as_well() {
        let frame = udp(b"hello");
        let mut tagged = [&frame[..12], &[0x81, 0, 0xa0, 0], &frame[12..]].concat();
        assert!(is_good(&tagged, NONE));
        *tagged.last_mut().unwrap() ^= 1;
        assert!(!is_good(&tagged, NONE));
    }

    #[test]
    fn what_the_device_said_is_believed() {
        let mut frame = udp(b"godwit");
        frame[41] ^= 1;
        assert!(is_good(&frame, Checked { ip: true, transport: true, failed: false }));
        assert!(!is_good(&udp(b"godwit"), Checked { ip: true, transport: true, failed: true }));
    }

    #[test]
    fn frames_without_a_checksum_are_good() {
        let mut zero = udp(b"godwit");
        zero[40..42].fill(0);
        assert!(is_good(&zero, NONE), "UDP over IPv4 may leave it out");
        let mut arp = alloc::vec![0; 42];
        arp[12..14].copy_from_slice(&[0x08, 0x06]);
        assert!(is_good(&arp, NONE));
        assert_eq!(Offload::prepare(&mut arp, None, None), Some(Offload::default()));
        for len in 0..14 {
            assert!(is_good(&alloc::vec![0; len], NONE));
        }
    }

    #[test]
    fn truncated_frames_and_lying_lengths_do_not_panic() {
        let frame = udp(b"godwit");
        for len in 0..frame.len() {
            let mut cut = frame[..len].to_vec();
            is_good(&cut, NONE);
            assert_eq!(Offload::prepare(&mut cut, None, None).unwrap().checksum, None);
        }
        for (at, value) in [(14, 0x4f), (14, 0x40), (16, 0xff), (17, 0), (38, 0xff)] {
            let mut lying = frame.clone();
            lying[at] = value;
            is_good(&lying, NONE);
            Offload::prepare(&mut lying, None, None);
        }
    }
}

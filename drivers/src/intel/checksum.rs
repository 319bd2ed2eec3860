//! Where the checksum of a frame is, and whether it is right when the device did not say.

use core::ops::Range;

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
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

/// Where a device is to fill in a TCP or UDP checksum. Offsets are in bytes from the frame's start.
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

impl TransmitChecksum {
    /// Prepares `frame` for a device that fills in its checksum: what it starts from, the sum over
    /// the pseudo header, takes the checksum's place. `None` for anything but TCP and UDP.
    pub(crate) fn prepare(frame: &mut [u8]) -> Option<Self> {
        let packet = transport(frame)?;
        let sum = fold(pseudo_header(frame, &packet));
        frame[packet.field..packet.field + 2].copy_from_slice(&sum.to_be_bytes());
        Some(Self {
            start: packet.range.start as u8,
            field: packet.field as u8,
            is_tcp: packet.protocol == TCP,
            is_ipv4: packet.is_ipv4,
        })
    }
}

/// Whether the checksums of a received frame are right, of which the device `checked` some.
/// Frames that have none are good.
pub(crate) fn is_good(frame: &[u8], checked: Checked) -> bool {
    if checked.failed {
        return false;
    }
    if checked.ip && checked.transport {
        return true;
    }
    let ip_is_good = checked.ip
        || be16(frame, 12) != Some(IPV4)
        || ipv4_header(frame).is_some_and(|header| fold(sum(&frame[header])) == 0xffff);
    ip_is_good && (checked.transport || transport_is_good(frame))
}

fn transport_is_good(frame: &[u8]) -> bool {
    let Some(packet) = transport(frame) else { return true };
    let unused = packet.is_ipv4 && packet.protocol == UDP && be16(frame, packet.field) == Some(0);
    unused || fold(pseudo_header(frame, &packet) + sum(&frame[packet.range.clone()])) == 0xffff
}

fn ipv4_header(frame: &[u8]) -> Option<Range<usize>> {
    let len = usize::from(frame.get(NETWORK)? & 0xf) * 4;
    let header = NETWORK..NETWORK + len;
    (len >= IPV4_HEADER && header.end <= frame.len()).then_some(header)
}

/// RFC 9293, 3.1; RFC 8200, 8.1.
fn pseudo_header(frame: &[u8], packet: &Transport) -> u32 {
    let len = packet.range.len() as u32;
    sum(&frame[packet.addresses.clone()]) + u32::from(packet.protocol) + len
}

/// Sum of big-endian 16-bit words (RFC 1071), not folded. Cannot overflow for what fits a buffer.
fn sum(bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks::<2>();
    let last = rest.first().map_or(0, |&byte| u32::from(byte) << 8);
    words.iter().map(|&word| u32::from(u16::from_be_bytes(word))).sum::<u32>() + last
}

fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
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
        let header = !fold(sum(&frame[14..34]));
        frame[24..26].copy_from_slice(&header.to_be_bytes());
        frame[34..38].copy_from_slice(&[0x12, 0x34, 0x56, 0x78]);
        frame[38..40].copy_from_slice(&(8 + payload.len() as u16).to_be_bytes());
        frame.extend_from_slice(payload);
        finish(&mut frame);
        frame
    }

    /// What the device does.
    fn finish(frame: &mut [u8]) {
        let place = TransmitChecksum::prepare(frame).unwrap();
        let end = transport(frame).unwrap().range.end;
        let sum = !fold(sum(&frame[place.start.into()..end]));
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
                // A changed protocol is another packet with no checksum to look at, but its header's
                // is wrong.
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
        let place = TransmitChecksum::prepare(&mut frame).unwrap();
        assert_eq!((place.start, place.field), (54, 70));
        assert!(place.is_tcp && !place.is_ipv4);
        finish(&mut frame);
        assert!(is_good(&frame, NONE));
        frame[78] ^= 1;
        assert!(!is_good(&frame, NONE));
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
        assert!(TransmitChecksum::prepare(&mut arp).is_none());
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
            assert!(TransmitChecksum::prepare(&mut cut).is_none());
        }
        for (at, value) in [(14, 0x4f), (14, 0x40), (16, 0xff), (17, 0), (38, 0xff)] {
            let mut lying = frame.clone();
            lying[at] = value;
            is_good(&lying, NONE);
            TransmitChecksum::prepare(&mut lying);
        }
    }
}

//! What the device does to a packet on its way out: checksums, segmentation, padding, tags
//! (datasheet 7.2.4 to 7.2.6).

use crc::{CRC_32_ISCSI, Crc};

use crate::{
    checksum,
    packet::{TAG_AT, be16},
};

/// SCTP's checksum (RFC 9260, appendix A).
const CRC32C: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);
/// Shortest frame on the wire, without check sequence.
pub(crate) const SHORTEST: usize = 60;

/// The transport protocol that a context names (TUCMD.L4T, 7.2.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Layer4 {
    #[default]
    Udp,
    Tcp,
    Sctp,
    Reserved,
}

/// A transmit context: where the headers are, and what to do with them (7.2.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Context {
    pub(crate) mac_length: usize,
    pub(crate) ip_length: usize,
    pub(crate) l4_length: usize,
    pub(crate) mss: usize,
    pub(crate) vlan: u16,
    pub(crate) v4: bool,
    pub(crate) l4: Layer4,
}

impl Context {
    /// Decodes a context descriptor.
    pub(crate) fn from_descriptor([low, high]: [u64; 2]) -> Self {
        Self {
            ip_length: (low & 0x1FF) as usize,
            mac_length: (low >> 9 & 0x7F) as usize,
            vlan: (low >> 16) as u16,
            v4: high >> 10 & 1 != 0,
            l4: match high >> 11 & 3 {
                0 => Layer4::Udp,
                1 => Layer4::Tcp,
                2 => Layer4::Sctp,
                _ => Layer4::Reserved,
            },
            l4_length: (high >> 40 & 0xFF) as usize,
            mss: (high >> 48) as usize,
        }
    }

    fn l4_at(&self) -> usize {
        self.mac_length + self.ip_length
    }

    fn headers(&self) -> usize {
        self.l4_at() + self.l4_length
    }
}

/// A packet and its context do not fit together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mismatch;

/// Writes checksums into a packet: of the IPv4 header (`ip`) and of the transport segment (`l4`).
/// The driver left the sum of the pseudo header in the segment's field. `length` is added to it
/// when the driver could not know it, which is so in segmentation.
pub(crate) fn checksums(
    packet: &mut [u8],
    context: &Context,
    ip: bool,
    l4: bool,
    length: Option<usize>,
) -> Result<(), Mismatch> {
    let at = context.l4_at();
    if ip && context.v4 {
        let header = packet.get_mut(context.mac_length..at).ok_or(Mismatch)?;
        header.get_mut(10..12).ok_or(Mismatch)?.fill(0);
        let sum = checksum::of(header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    if !l4 {
        return Ok(());
    }
    let segment = packet.get_mut(at..).ok_or(Mismatch)?;
    let field = match context.l4 {
        Layer4::Udp => 6,
        Layer4::Tcp => 16,
        Layer4::Sctp => {
            segment.get_mut(8..12).ok_or(Mismatch)?.fill(0);
            let crc = CRC32C.checksum(segment);
            segment[8..12].copy_from_slice(&crc.to_le_bytes());
            return Ok(());
        }
        Layer4::Reserved => return Err(Mismatch),
    };
    let sum = !checksum::fold(checksum::sum(segment) + length.unwrap_or(0) as u64);
    // In UDP a field of 0 means that there is no checksum (RFC 768).
    let sum = if context.l4 == Layer4::Udp && sum == 0 { 0xFFFF } else { sum };
    segment.get_mut(field..field + 2).ok_or(Mismatch)?.copy_from_slice(&sum.to_be_bytes());
    Ok(())
}

/// Which TCP flags are kept in the first, in the last, and in the segments between them (DTXTCPFLGL
/// and DTXTCPFLGH, 8.2.3.9).
#[derive(Clone, Copy, Debug)]
pub(crate) struct FlagMasks {
    pub(crate) first: u16,
    pub(crate) middle: u16,
    pub(crate) last: u16,
}

/// Cuts a packet into segments of at most `context.mss` bytes of payload and hands each to `emit`,
/// which may change it (7.2.4).
pub(crate) fn segment(
    packet: &[u8],
    context: &Context,
    masks: FlagMasks,
    mut emit: impl FnMut(&mut Vec<u8>),
) -> Result<(), Mismatch> {
    let least = match context.l4 {
        Layer4::Tcp => 20,
        Layer4::Udp => 8,
        _ => return Err(Mismatch),
    };
    let ip_least = if context.v4 { 20 } else { 40 };
    if context.mss == 0 || context.l4_length < least || context.ip_length < ip_least {
        return Err(Mismatch);
    }
    let (headers, payload) = packet.split_at_checked(context.headers()).ok_or(Mismatch)?;
    let count = payload.len().div_ceil(context.mss).max(1);
    let mut frame = Vec::with_capacity(headers.len() + context.mss);
    for index in 0..count {
        let from = index * context.mss;
        let part = &payload[from..payload.len().min(from + context.mss)];
        frame.clear();
        frame.extend_from_slice(headers);
        frame.extend_from_slice(part);
        let mask = match index {
            index if index == count - 1 => masks.last,
            0 => masks.first,
            _ => masks.middle,
        };
        network_header(&mut frame, context, index, part.len());
        transport_header(&mut frame, context, from, part.len(), mask);
        checksums(&mut frame, context, true, true, Some(context.l4_length + part.len()))?;
        emit(&mut frame);
    }
    Ok(())
}

/// Sets the length and the identification in a segment's IP header.
fn network_header(frame: &mut [u8], context: &Context, index: usize, payload: usize) {
    let at = context.mac_length;
    if context.v4 {
        let total = context.ip_length + context.l4_length + payload;
        frame[at + 2..at + 4].copy_from_slice(&(total as u16).to_be_bytes());
        let identification = be16(frame, at + 4).wrapping_add(index as u16);
        frame[at + 4..at + 6].copy_from_slice(&identification.to_be_bytes());
    } else {
        let length = context.ip_length - 40 + context.l4_length + payload;
        frame[at + 4..at + 6].copy_from_slice(&(length as u16).to_be_bytes());
    }
}

/// Sets the sequence number and flags in a TCP header, or the length in a UDP header.
fn transport_header(frame: &mut [u8], context: &Context, from: usize, payload: usize, mask: u16) {
    let at = context.l4_at();
    if context.l4 == Layer4::Udp {
        let length = (context.l4_length + payload) as u16;
        frame[at + 4..at + 6].copy_from_slice(&length.to_be_bytes());
        return;
    }
    let sequence: &mut [u8; 4] =
        (&mut frame[at + 4..at + 8]).try_into().expect("a slice of four bytes");
    *sequence = u32::from_be_bytes(*sequence).wrapping_add(from as u32).to_be_bytes();
    // The data offset is in the same field: its four bits stay.
    let flags = be16(frame, at + 12) & (0xF000 | mask);
    frame[at + 12..at + 14].copy_from_slice(&flags.to_be_bytes());
}

/// Inserts an 802.1Q tag before the frame's type.
pub(crate) fn insert_tag(packet: &mut Vec<u8>, ethertype: u16, tag: u16) {
    let mut bytes = [0; 4];
    bytes[..2].copy_from_slice(&ethertype.to_be_bytes());
    bytes[2..].copy_from_slice(&tag.to_be_bytes());
    if packet.len() >= TAG_AT {
        packet.splice(TAG_AT..TAG_AT, bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{parse, samples};
    use proptest::prelude::*;

    const MASKS: FlagMasks = FlagMasks { first: 0xFF6, middle: 0xFF6, last: 0xF7F };

    fn context(v4: bool, mss: usize) -> Context {
        let ip_length = if v4 { 20 } else { 40 };
        Context { mac_length: 14, ip_length, l4_length: 20, mss, vlan: 0, v4, l4: Layer4::Tcp }
    }

    /// A packet as a driver hands it over: its checksum field holds the sum of the pseudo header,
    /// with or without the length.
    fn prepared(v4: bool, payload: &[u8], with_length: bool) -> Vec<u8> {
        let mut frame = if v4 { samples::tcp_v4(payload) } else { samples::tcp_v6(payload) };
        let packet = parse(&frame);
        let at = packet.transport.unwrap().1;
        let length = if with_length { (20 + payload.len()) as u64 } else { 0 };
        let sum = checksum::pseudo_header(&frame, packet.network.unwrap(), 6) + length;
        frame[at + 16..at + 18].copy_from_slice(&checksum::fold(sum).to_be_bytes());
        if v4 {
            frame[24..26].fill(0);
        }
        frame
    }

    fn is_right(frame: &[u8]) -> bool {
        let packet = parse(frame);
        let ip = frame[14] >> 4 == 6 || checksum::of(&frame[14..34]) == 0;
        ip && packet.end == frame.len()
            && checksum::transport_is_right(frame, &packet) == Some(true)
    }

    #[test]
    fn checksums_are_completed() {
        for v4 in [true, false] {
            let mut frame = prepared(v4, b"an odd number of them", true);
            assert!(!is_right(&frame));
            checksums(&mut frame, &context(v4, 0), true, true, None).unwrap();
            assert!(is_right(&frame), "v4: {v4}");
        }
    }

    #[test]
    fn flags_are_for_the_segments_they_belong_to() {
        let mut packet = prepared(true, &[7; 300], false);
        // FIN and PSH.
        packet[14 + 20 + 13] = 0x19;
        let mut flags = Vec::new();
        segment(&packet, &context(true, 100), MASKS, |frame| flags.push(frame[47])).unwrap();
        assert_eq!(flags, [0x10, 0x10, 0x19]);
        flags.clear();
        segment(&packet, &context(true, 300), MASKS, |frame| flags.push(frame[47])).unwrap();
        assert_eq!(flags, [0x19]);
    }

    #[test]
    fn nonsense_is_refused() {
        let packet = prepared(true, &[7; 300], false);
        for bad in [
            Context { mss: 0, ..context(true, 100) },
            Context { l4_length: 8, ..context(true, 100) },
            Context { ip_length: 511, ..context(true, 100) },
            Context { ip_length: 20, v4: false, ..context(true, 100) },
        ] {
            let result = segment(&packet, &bad, MASKS, |_| panic!("a segment of {bad:?}"));
            assert_eq!(result, Err(Mismatch));
        }
        let context = Context { ip_length: 400, ..context(true, 0) };
        assert_eq!(checksums(&mut packet.clone(), &context, true, true, None), Err(Mismatch));
    }

    #[test]
    fn datagrams_are_cut_up() {
        let mut packet = samples::tcp_v4(&[7; 2500]);
        // A UDP header, followed by twelve bytes of payload, in the place of the TCP header.
        packet[23] = 17;
        let sum = checksum::pseudo_header(
            &packet,
            (crate::packet::Network::V4 { options: false }, 14),
            17,
        );
        packet[40..42].copy_from_slice(&checksum::fold(sum).to_be_bytes());
        let context = Context { l4_length: 8, l4: Layer4::Udp, ..context(true, 1000) };
        let mut lengths = Vec::new();
        segment(&packet, &context, MASKS, |frame| {
            assert!(is_right(frame));
            lengths.push(be16(frame, 38));
        })
        .unwrap();
        assert_eq!(lengths, [1008, 1008, 520]);
    }

    /// RFC 9260's sum is CRC32c with its bytes in the order of transmission; the check value is
    /// that of the CRC catalogue.
    #[test]
    fn sctp_has_a_crc() {
        let mut packet = vec![0; 14 + 20];
        packet.extend([0; 12]);
        packet[34..42].copy_from_slice(b"12345678");
        let context = Context { l4: Layer4::Sctp, ..context(true, 0) };
        checksums(&mut packet, &context, false, true, None).unwrap();
        let mut expected = *b"12345678\0\0\0\0";
        let crc = CRC32C.checksum(&expected);
        expected[8..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(packet[34..], expected);
        assert_eq!(CRC32C.checksum(b"123456789"), 0xE306_9283);
    }

    proptest! {
        #[test]
        fn segments_are_right_and_lose_nothing(
            payload in proptest::collection::vec(any::<u8>(), 1..5000),
            mss in 1usize..2000,
            v4: bool,
        ) {
            let packet = prepared(v4, &payload, false);
            let headers = packet.len() - payload.len();
            let mut whole = Vec::new();
            segment(&packet, &context(v4, mss), MASKS, |frame| {
                assert!(is_right(frame));
                let at = headers - 20;
                let sequence = u32::from_be_bytes(frame[at + 4..at + 8].try_into().unwrap());
                assert_eq!(sequence as usize, 0x100 + whole.len());
                assert!(frame.len() - headers <= mss);
                whole.extend_from_slice(&frame[headers..]);
            }).unwrap();
            prop_assert_eq!(whole, payload);
        }
    }
}

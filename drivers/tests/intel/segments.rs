//! What a device does to a frame that it sends, above all to a TCP packet that it is to cut, by the
//! datasheets' word (8254x manual, 3.5; 82576 datasheet, 7.2.4), and what a receiver checks of the
//! result.

/// Cuts `frame`, whose first `headers` bytes go to every segment, into segments with `size` bytes
/// of payload. The checksum field holds the sum over the pseudo header without a length.
pub(crate) fn cut(frame: &[u8], headers: usize, size: usize) -> Vec<Vec<u8>> {
    let is_ipv4 = frame[12..14] == [8, 0];
    let tcp = if is_ipv4 { 14 + usize::from(frame[14] & 0xf) * 4 } else { 54 };
    let (head, payload) = frame.split_at(headers);
    let count = payload.len().div_ceil(size);
    let cut_one = |(number, part): (usize, &[u8])| {
        let mut segment = [head, part].concat();
        let len = segment.len();
        if is_ipv4 {
            segment[16..18].copy_from_slice(&((len - 14) as u16).to_be_bytes());
            let id = be16(head, 18).wrapping_add(number as u16);
            segment[18..20].copy_from_slice(&id.to_be_bytes());
            let header = !fold(sum(&segment[14..tcp]));
            segment[24..26].copy_from_slice(&header.to_be_bytes());
        } else {
            segment[18..20].copy_from_slice(&((len - 54) as u16).to_be_bytes());
        }
        let sequence = be32(head, tcp + 4).wrapping_add((number * size) as u32);
        segment[tcp + 4..tcp + 8].copy_from_slice(&sequence.to_be_bytes());
        // FIN and PSH are for the last one, CWR is for the first.
        segment[tcp + 13] &= if number + 1 == count { 0xff } else { !0x09 };
        segment[tcp + 13] &= if number == 0 { 0xff } else { !0x80 };
        let checksum = !fold(sum(&segment[tcp..]) + (len - tcp) as u32);
        segment[tcp + 16..tcp + 18].copy_from_slice(&checksum.to_be_bytes());
        segment
    };
    payload.chunks(size).enumerate().map(cut_one).collect()
}

/// Sums up from `start` on, the sum over the pseudo header in `field` included, and puts the result
/// there.
pub(crate) fn insert_checksum(frame: &mut [u8], start: usize, field: usize) {
    let checksum = !fold(sum(&frame[start..]));
    frame[field..field + 2].copy_from_slice(&checksum.to_be_bytes());
}

/// Inserts an 802.1Q tag.
pub(crate) fn tag(frames: &mut [Vec<u8>], tag: u16) {
    let [high, low] = tag.to_be_bytes();
    for frame in frames {
        frame.splice(12..12, [0x81, 0x00, high, low]);
    }
}

/// A TCP packet over IPv4 or IPv6 with options, PSH and FIN, and garbage for lengths that the
/// device is to fill in and for checksums.
pub(crate) fn packet(is_ipv4: bool, payload: usize) -> (Vec<u8>, usize) {
    let tcp = if is_ipv4 { 34 } else { 54 };
    let headers = tcp + 32;
    let mut frame: Vec<u8> = (0..headers + payload).map(|i| (i * 31 / 7) as u8).collect();
    frame[..12].copy_from_slice(&[2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8]);
    if is_ipv4 {
        let len = (frame.len() - 14) as u16;
        frame[12..24].copy_from_slice(&[8, 0, 0x45, 0, 0, 0, 0xff, 0xfe, 0x40, 0, 64, 6]);
        frame[16..18].copy_from_slice(&len.to_be_bytes());
        frame[26..34].copy_from_slice(&[10, 0, 2, 15, 10, 0, 2, 2]);
    } else {
        let len = (frame.len() - 54) as u16;
        frame[12..22].copy_from_slice(&[0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, 6, 64]);
        frame[18..20].copy_from_slice(&len.to_be_bytes());
    }
    frame[tcp + 4..tcp + 8].copy_from_slice(&0xffff_f000_u32.to_be_bytes());
    frame[tcp + 12..tcp + 14].copy_from_slice(&[8 << 4, 0x19]);
    (frame, headers)
}

/// Checks that `sent` is `frame` in segments of `size` as a receiver and a router want them.
pub(crate) fn verify(frame: &[u8], headers: usize, size: usize, sent: &[Vec<u8>]) {
    let tcp = headers - 32;
    let payload = &frame[headers..];
    assert_eq!(sent.len(), payload.len().div_ceil(size));
    assert_eq!(sent.iter().flat_map(|s| &s[headers..]).copied().collect::<Vec<_>>(), payload);
    for (number, segment) in sent.iter().enumerate() {
        let is_last = number + 1 == sent.len();
        assert!(is_last || segment.len() == headers + size, "segment {number}");
        assert_eq!(segment[..16], frame[..16]);
        if tcp == 34 {
            assert_eq!(usize::from(be16(segment, 16)), segment.len() - 14);
            assert_eq!(be16(segment, 18), be16(frame, 18).wrapping_add(number as u16));
            assert_eq!(fold(sum(&segment[14..34])), 0xffff, "header checksum {number}");
        } else {
            assert_eq!(usize::from(be16(segment, 18)), segment.len() - 54);
        }
        let at = (number * size) as u32;
        assert_eq!(be32(segment, tcp + 4), be32(frame, tcp + 4).wrapping_add(at));
        assert_eq!(segment[tcp + 13], if is_last { 0x19 } else { 0x10 }, "flags {number}");
        let addresses = if tcp == 34 { 26..34 } else { 22..54 };
        let pseudo = sum(&segment[addresses]) + 6 + (segment.len() - tcp) as u32;
        assert_eq!(fold(pseudo + sum(&segment[tcp..])), 0xffff, "checksum {number}");
    }
}

fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// RFC 1071.
fn sum(bytes: &[u8]) -> u32 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    bytes.chunks(2).map(word).sum()
}

fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

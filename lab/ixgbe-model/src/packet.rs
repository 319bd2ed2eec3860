//! What the device's parser finds in a frame (datasheet 7.1.10 and 7.1.11): which headers it has,
//! and where.

/// The network layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    V4 { options: bool },
    V6 { extensions: bool },
}

/// The transport layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    Udp,
    Sctp,
}

/// A parsed frame. Offsets are from its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    /// Tag control information of an 802.1Q tag.
    pub(crate) vlan: Option<u16>,
    /// Kind and offset of the network header.
    pub(crate) network: Option<(Network, usize)>,
    /// Kind and offset of the transport header; `None` in fragments.
    pub(crate) transport: Option<(Transport, usize)>,
    /// Where the IP datagram ends; what follows is padding.
    pub(crate) end: usize,
}

const VLAN: u16 = 0x8100;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86DD;

/// Bytes before an 802.1Q tag, and bytes of the tag.
pub(crate) const TAG_AT: usize = 12;
pub(crate) const TAG: usize = 4;

/// A 16-bit field in network order, 0 beyond the end.
pub(crate) fn be16(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |field| u16::from_be_bytes([field[0], field[1]]))
}

/// Parses a frame. Headers that do not fit into it are left out: every offset lies in the frame.
pub(crate) fn parse(frame: &[u8]) -> Packet {
    let mut packet = Packet { vlan: None, network: None, transport: None, end: frame.len() };
    let mut at = TAG_AT;
    if be16(frame, at) == VLAN && frame.len() >= TAG_AT + TAG + 2 {
        packet.vlan = Some(be16(frame, at + 2));
        at += TAG;
    }
    match be16(frame, at) {
        IPV4 => v4(frame, at + 2, &mut packet),
        IPV6 => v6(frame, at + 2, &mut packet),
        _ => {}
    }
    packet
}

fn v4(frame: &[u8], at: usize, packet: &mut Packet) {
    let Some(header) = frame.get(at..at + 20) else { return };
    let length = usize::from(header[0] & 0xF) * 4;
    let total = usize::from(be16(header, 2));
    if header[0] >> 4 != 4 || length < 20 || total < length || at + total > frame.len() {
        return;
    }
    packet.network = Some((Network::V4 { options: length > 20 }, at));
    packet.end = at + total;
    // More fragments follow, or this is not the first.
    let fragment = be16(header, 6) & 0x3FFF != 0;
    if !fragment {
        transport(frame, header[9], at + length, packet);
    }
}

fn v6(frame: &[u8], at: usize, packet: &mut Packet) {
    let Some(header) = frame.get(at..at + 40) else { return };
    let end = at + 40 + usize::from(be16(header, 4));
    if header[0] >> 4 != 6 || end > frame.len() {
        return;
    }
    packet.end = end;
    let (mut next, mut offset) = (header[6], at + 40);
    let mut extensions = false;
    // Hop-by-hop, routing and destination options, each with its length in units of 8 bytes after
    // the first 8.
    while matches!(next, 0 | 43 | 60) {
        let Some(extension) = frame.get(offset..offset + 8) else { break };
        extensions = true;
        next = extension[0];
        offset += 8 + usize::from(extension[1]) * 8;
    }
    packet.network = Some((Network::V6 { extensions }, at));
    transport(frame, next, offset, packet);
}

fn transport(frame: &[u8], protocol: u8, at: usize, packet: &mut Packet) {
    let (kind, header) = match protocol {
        6 => (Transport::Tcp, 20),
        17 => (Transport::Udp, 8),
        132 => (Transport::Sctp, 12),
        _ => return,
    };
    if at + header <= packet.end && packet.end <= frame.len() {
        packet.transport = Some((kind, at));
    }
}

/// Frames for tests.
#[cfg(test)]
pub(crate) mod samples {
    /// A TCP/IPv4 frame with right checksums.
    pub(crate) fn tcp_v4(payload: &[u8]) -> Vec<u8> {
        let mut frame = ethernet(0x0800);
        let total = (40 + payload.len()) as u16;
        frame.extend([0x45, 0]);
        frame.extend(total.to_be_bytes());
        frame.extend([0x12, 0x34, 0x40, 0, 64, 6, 0, 0, 10, 0, 2, 15, 10, 0, 2, 2]);
        let sum = crate::checksum::of(&frame[14..34]);
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        tcp(&mut frame, payload);
        frame
    }

    /// A TCP/IPv6 frame with a right checksum.
    pub(crate) fn tcp_v6(payload: &[u8]) -> Vec<u8> {
        let mut frame = ethernet(0x86DD);
        frame.extend([0x60, 0, 0, 0]);
        frame.extend(((20 + payload.len()) as u16).to_be_bytes());
        frame.extend([6, 64]);
        frame.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        frame.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        tcp(&mut frame, payload);
        frame
    }

    fn ethernet(kind: u16) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        frame.extend(kind.to_be_bytes());
        frame
    }

    fn tcp(frame: &mut Vec<u8>, payload: &[u8]) {
        let at = frame.len();
        frame
            .extend([0x13, 0x89, 0xc0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0x50, 0x18, 0x20, 0, 0, 0, 0, 0]);
        frame.extend(payload);
        let packet = super::parse(frame);
        let sum = crate::checksum::transport(frame, &packet).unwrap();
        frame[at + 16..at + 18].copy_from_slice(&sum.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn headers_are_found() {
        let packet = parse(&samples::tcp_v4(b"hello"));
        assert_eq!(packet.network, Some((Network::V4 { options: false }, 14)));
        assert_eq!(packet.transport, Some((Transport::Tcp, 34)));
        assert_eq!(packet.end, 59);
        let packet = parse(&samples::tcp_v6(b"hello"));
        assert_eq!(packet.network, Some((Network::V6 { extensions: false }, 14)));
        assert_eq!(packet.transport, Some((Transport::Tcp, 54)));
    }

    #[test]
    fn a_tag_moves_everything() {
        let mut frame = samples::tcp_v4(b"hello");
        frame.splice(12..12, [0x81, 0, 0x20, 7]);
        let packet = parse(&frame);
        assert_eq!(packet.vlan, Some(0x2007));
        assert_eq!(packet.transport, Some((Transport::Tcp, 38)));
    }

    #[test]
    fn fragments_have_no_transport() {
        let mut frame = samples::tcp_v4(b"hello");
        frame[20] = 0x20;
        assert_eq!(parse(&frame).transport, None);
    }

    proptest! {
        #[test]
        fn nothing_found_lies_outside(
            mut frame in proptest::collection::vec(any::<u8>(), 0..128),
            v6: bool,
        ) {
            if frame.len() > 14 {
                frame[12..14].copy_from_slice(if v6 { &[0x86, 0xDD] } else { &[8, 0] });
                frame[14] = if v6 { 0x60 } else { 0x45 };
            }
            let packet = parse(&frame);
            prop_assert!(packet.end <= frame.len());
            if let Some((_, at)) = packet.transport {
                prop_assert!(at + 8 <= packet.end);
            }
            let _ = crate::checksum::transport(&frame, &packet);
        }
    }
}

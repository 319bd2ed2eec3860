//! Receive-side scaling (datasheet 7.1.2.8): a hash of addresses and ports chooses the queue.

use crate::{
    packet::{Network, Packet, Transport},
    register_file::Registers,
    registers as reg,
};

/// Bytes of the key (8.2.3.7).
const KEY: usize = 40;

// MRQC (8.2.3.7): the mode, and which fields are hashed.
const MODE: u32 = 0xF;
const RSS_ONLY: u32 = 1;
const TCP_V4: u32 = 1 << 16;
const V4: u32 = 1 << 17;
const V6: u32 = 1 << 20;
const TCP_V6: u32 = 1 << 21;
const UDP_V4: u32 = 1 << 22;
const UDP_V6: u32 = 1 << 23;

/// What the hash says about a frame, as the descriptor reports it (7.1.6.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hash {
    /// RSS type; 0: not hashed.
    pub(crate) kind: u8,
    pub(crate) value: u32,
    pub(crate) queue: usize,
}

/// Whether the model has the mode in MRQC: off, or RSS without virtualisation and traffic classes.
pub(crate) fn mode_is_modelled(mrqc: u32) -> bool {
    mrqc & MODE <= RSS_ONLY
}

/// Hashes a frame. Frames that are not hashed go to queue 0.
pub(crate) fn hash(registers: &Registers, frame: &[u8], packet: &Packet) -> Hash {
    let mrqc = registers.get(reg::MRQC);
    if mrqc & MODE != RSS_ONLY {
        return Hash::default();
    }
    let Some((network, at)) = packet.network else { return Hash::default() };
    // The RSS type, and whether ports are hashed as well as addresses.
    let transport = packet.transport.map(|(kind, _)| kind);
    let (kind, ports) = match (network, transport) {
        (Network::V4 { .. }, Some(Transport::Tcp)) if mrqc & TCP_V4 != 0 => (1, true),
        (Network::V4 { .. }, Some(Transport::Udp)) if mrqc & UDP_V4 != 0 => (7, true),
        (Network::V4 { .. }, _) if mrqc & V4 != 0 => (2, false),
        (Network::V6 { .. }, Some(Transport::Tcp)) if mrqc & TCP_V6 != 0 => (3, true),
        (Network::V6 { .. }, Some(Transport::Udp)) if mrqc & UDP_V6 != 0 => (8, true),
        (Network::V6 { .. }, _) if mrqc & V6 != 0 => (5, false),
        _ => return Hash::default(),
    };
    let addresses = match network {
        Network::V4 { .. } => &frame[at + 12..at + 20],
        Network::V6 { .. } => &frame[at + 8..at + 40],
    };
    let mut input = [0; 36];
    input[..addresses.len()].copy_from_slice(addresses);
    let mut length = addresses.len();
    if let (true, Some((_, ports))) = (ports, packet.transport) {
        input[length..length + 4].copy_from_slice(&frame[ports..ports + 4]);
        length += 4;
    }
    let mut key = [0; KEY];
    for (index, bytes) in key.chunks_exact_mut(4).enumerate() {
        let word = registers.get(reg::RSSRK + 4 * index as u32);
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    let value = toeplitz(&key, &input[..length]);
    // 128 entries of a byte each, of which four bits name the queue (8.2.3.7).
    let entry = value & 0x7F;
    let entries = registers.get(reg::RETA + (entry & !3));
    let queue = (entries >> (entry % 4 * 8) & 0xF) as usize;
    Hash { kind, value, queue }
}

/// The Toeplitz hash: for each bit set in the input, the 32 bits of the key from that position on.
fn toeplitz(key: &[u8; KEY], input: &[u8]) -> u32 {
    let mut window = u64::from_be_bytes(key[..8].try_into().expect("8 of 40 bytes"));
    let mut hash = 0;
    for (index, byte) in input.iter().enumerate() {
        for bit in (0..8).rev() {
            if byte >> bit & 1 != 0 {
                hash ^= (window >> 32) as u32;
            }
            window <<= 1;
        }
        // The eight bits shifted out make room for the next byte of the key.
        window |= u64::from(key.get(index + 8).copied().unwrap_or(0));
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The datasheet's key and vectors ("RSS Verification Suite").
    const VERIFICATION_KEY: [u8; KEY] = [
        0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f,
        0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30,
        0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
    ];

    fn input(source: &str, destination: &str, ports: Option<(u16, u16)>) -> Vec<u8> {
        let mut bytes = Vec::new();
        for address in [source, destination] {
            match address.parse().unwrap() {
                std::net::IpAddr::V4(address) => bytes.extend(address.octets()),
                std::net::IpAddr::V6(address) => bytes.extend(address.octets()),
            }
        }
        if let Some((source, destination)) = ports {
            bytes.extend(source.to_be_bytes());
            bytes.extend(destination.to_be_bytes());
        }
        bytes
    }

    #[test]
    fn the_verification_suite_for_ipv4() {
        for (destination, to, source, from, addresses, all) in [
            ("161.142.100.80", 1766, "66.9.149.187", 2794, 0x323e8fc2, 0x51ccc178),
            ("65.69.140.83", 4739, "199.92.111.2", 14230, 0xd718262a, 0xc626b0ea),
            ("12.22.207.184", 38024, "24.19.198.95", 12898, 0xd2d0a5de, 0x5c2b394a),
            ("209.142.163.6", 2217, "38.27.205.30", 48228, 0x82989176, 0xafc7327f),
            ("202.188.127.2", 1303, "153.39.163.191", 44251, 0x5d1809c5, 0x10e828a2),
        ] {
            let hash = |ports| toeplitz(&VERIFICATION_KEY, &input(source, destination, ports));
            assert_eq!(hash(None), addresses, "{source}");
            assert_eq!(hash(Some((from, to))), all, "{source}");
        }
    }

    #[test]
    fn the_verification_suite_for_ipv6() {
        for (destination, to, source, from, addresses, all) in [
            ("3ffe:2501:200:3::1", 1766, "3ffe:2501:200:1fff::7", 2794, 0x2cc18cd5, 0x40207d3d),
            ("ff02::1", 4739, "3ffe:501:8::260:97ff:fe40:efab", 14230, 0x0f0c461c, 0xdde51bbf),
            (
                "fe80::200:f8ff:fe21:67cf",
                38024,
                "3ffe:1900:4545:3:200:f8ff:fe21:67cf",
                44251,
                0x4b61e985,
                0x02d1feef,
            ),
        ] {
            let hash = |ports| toeplitz(&VERIFICATION_KEY, &input(source, destination, ports));
            assert_eq!(hash(None), addresses, "{source}");
            assert_eq!(hash(Some((from, to))), all, "{source}");
        }
    }

    #[test]
    fn the_table_names_the_queue() {
        let mut registers = Registers::new();
        for (index, word) in VERIFICATION_KEY.chunks_exact(4).enumerate() {
            let word = u32::from_le_bytes(word.try_into().unwrap());
            registers.set(reg::RSSRK + 4 * index as u32, word);
        }
        let frame = crate::packet::samples::tcp_v4(b"");
        let packet = crate::packet::parse(&frame);
        assert_eq!(hash(&registers, &frame, &packet), Hash::default(), "off");
        registers.set(reg::MRQC, RSS_ONLY | TCP_V4);
        let plain = hash(&registers, &frame, &packet);
        assert_eq!((plain.kind, plain.queue), (1, 0));
        let entry = plain.value & 0x7F;
        registers.set(reg::RETA + (entry & !3), 5 << (entry % 4 * 8));
        assert_eq!(hash(&registers, &frame, &packet), Hash { queue: 5, ..plain });
    }
}

//! What a device does with advanced transmit descriptors (82576 datasheet, 7.2; 82599 datasheet, 7.2.3): gathers
//! the pieces of a packet, cuts it into segments, fills in checksums and inserts the VLAN tag.

use unikernel::dma::fake::Device;

/// The state of a transmit queue.
#[derive(Default)]
pub(crate) struct Transmitter {
    context: Context,
    packet: Vec<u8>,
}

/// What a context descriptor says.
#[derive(Clone, Copy, Default)]
struct Context {
    mac_header: usize,
    ip_header: usize,
    tag: u16,
    is_ipv4: bool,
    is_tcp: bool,
    tcp_header: usize,
    segment: usize,
}

impl Context {
    fn of(low: u64, high: u64) -> Self {
        assert_eq!(high >> 36 & 0b111, 0, "the first context is the only one used");
        Self {
            mac_header: (low >> 9 & 0x7f) as usize,
            ip_header: (low & 0x1ff) as usize,
            tag: (low >> 16) as u16,
            is_ipv4: high & 1 << 10 != 0,
            is_tcp: high >> 11 & 0b11 == 1,
            tcp_header: (high >> 40 & 0xff) as usize,
            segment: (high >> 48) as usize,
        }
    }
}

impl Transmitter {
    /// Takes the next descriptor; the frames that it completes, as they go on the wire.
    pub(crate) fn take(&mut self, memory: &Device, descriptor: [u8; 16]) -> Vec<Vec<u8>> {
        let [low, high] = [0, 8]
            .map(|at| u64::from_le_bytes(descriptor[at..at + 8].try_into().expect("eight bytes")));
        let has = |bit: u32| high >> bit & 1 != 0;
        assert!(has(29), "not a legacy descriptor");
        let kind = high >> 20 & 0xf;
        if kind == 2 {
            assert!(self.packet.is_empty(), "a context between the pieces of a packet");
            self.context = Context::of(low, high);
            return Vec::new();
        }
        assert_eq!(kind, 3, "a data descriptor");
        assert!(has(25), "with the frame check sequence");
        let start = self.packet.len();
        self.packet.resize(start + (high & 0xffff) as usize, 0);
        memory.read(low, &mut self.packet[start..]);
        if !has(24) {
            assert!(!has(27), "status is reported at the end of a packet");
            return Vec::new();
        }
        let packet = std::mem::take(&mut self.packet);
        let length = (high >> 46) as usize;
        let mut frames = if has(31) {
            assert!(has(41), "segments have checksums");
            assert_eq!(has(40), self.context.is_ipv4, "and new IPv4 headers");
            self.cut(&packet, length)
        } else {
            assert_eq!(length, packet.len(), "PAYLEN without segmentation");
            vec![packet]
        };
        for frame in &mut frames {
            if has(41) {
                self.insert_checksum(frame, has(31));
            }
            if has(30) {
                let [high, low] = self.context.tag.to_be_bytes();
                frame.splice(12..12, [0x81, 0x00, high, low]);
            }
        }
        frames
    }

    /// TCP segmentation (7.2.4), checksums of the IPv4 headers included.
    fn cut(&self, packet: &[u8], length: usize) -> Vec<Vec<u8>> {
        let context = &self.context;
        let ip = context.mac_header;
        let tcp = ip + context.ip_header;
        assert!(context.is_tcp && context.segment > 0);
        let (headers, payload) = packet.split_at(tcp + context.tcp_header);
        assert_eq!(payload.len(), length, "PAYLEN with segmentation");
        let last = payload.len().div_ceil(context.segment) - 1;
        let segment = |(number, payload): (usize, &[u8])| {
            let mut frame = [headers, payload].concat();
            let length = frame.len() - ip;
            if context.is_ipv4 {
                frame[ip + 2..ip + 4].copy_from_slice(&(length as u16).to_be_bytes());
                add(&mut frame[ip + 4..ip + 6], number as u32);
                let sum = !fold(sum(&frame[ip..tcp]));
                frame[ip + 10..ip + 12].copy_from_slice(&sum.to_be_bytes());
            } else {
                let length = length - context.ip_header;
                frame[ip + 4..ip + 6].copy_from_slice(&(length as u16).to_be_bytes());
            }
            add(&mut frame[tcp + 4..tcp + 8], (number * context.segment) as u32);
            if number != last {
                // FIN and PSH.
                frame[tcp + 13] &= !0b1001;
            }
            frame
        };
        payload.chunks(context.segment).enumerate().map(segment).collect()
    }

    /// What is in the checksum's place is the sum over the pseudo header, in a segment without the length.
    fn insert_checksum(&self, frame: &mut [u8], is_segment: bool) {
        let start = self.context.mac_header + self.context.ip_header;
        let field = start + if self.context.is_tcp { 16 } else { 6 };
        let length = if is_segment { frame.len() - start } else { 0 };
        let sum = !fold(sum(&frame[start..]) + length as u32);
        frame[field..field + 2].copy_from_slice(&sum.to_be_bytes());
    }
}

/// Adds to a big-endian number.
fn add(bytes: &mut [u8], summand: u32) {
    let number = bytes.iter().fold(0, |number, &byte| number << 8 | u32::from(byte));
    let all = number.wrapping_add(summand).to_be_bytes();
    bytes.copy_from_slice(&all[4 - bytes.len()..]);
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

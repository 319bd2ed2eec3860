//! What a device does with advanced transmit descriptors (82576 datasheet, 7.2; 82599 datasheet, 7.2.3): gathers
//! the pieces of a packet, cuts it into segments, fills in checksums and inserts the VLAN tag.

#[path = "../gigabit/segments.rs"]
#[allow(dead_code, reason = "not every family's tests make packets to cut")]
pub(crate) mod segments;

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
        if has(41) && !has(31) {
            frames.iter_mut().for_each(|frame| self.insert_checksum(frame));
        }
        if has(30) {
            let [high, low] = self.context.tag.to_be_bytes();
            for frame in &mut frames {
                frame.splice(12..12, [0x81, 0x00, high, low]);
            }
        }
        frames
    }

    /// TCP segmentation (7.2.4), with the checksums of the segments.
    fn cut(&self, packet: &[u8], length: usize) -> Vec<Vec<u8>> {
        let context = &self.context;
        let headers = context.mac_header + context.ip_header + context.tcp_header;
        assert!(context.is_tcp && context.segment > 0);
        assert_eq!(packet.len() - headers, length, "PAYLEN with segmentation");
        segments::cut(packet, headers, context.segment)
    }

    /// What is in the checksum's place is the sum over the pseudo header.
    fn insert_checksum(&self, frame: &mut [u8]) {
        let start = self.context.mac_header + self.context.ip_header;
        let field = start + if self.context.is_tcp { 16 } else { 6 };
        let sum = !fold(sum(&frame[start..]));
        frame[field..field + 2].copy_from_slice(&sum.to_be_bytes());
    }
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

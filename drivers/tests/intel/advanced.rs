//! What a device does with advanced descriptors (82576 datasheet, 7.1.5 and 7.2; 82599 datasheet,
//! 7.1.6 and 7.2.3): writes back what it received; gathers the pieces of a packet, cuts it into
//! segments, fills in checksums and inserts the VLAN tag.

use crate::intel::model::{QUEUE, State, WHOLE};
use crate::intel::segments;
use unikernel::dma::fake::Device;

/// The second quadword of a receive write-back, from what the 82574L would say. `errors` are the
/// bits for errors of the frame, of its transport checksum, and of its IPv4 one.
pub(crate) fn write_back(len: u16, status: u32, tag: Option<u16>, errors: [u32; 3]) -> u64 {
    let has = |bits: u32| status & bits != 0;
    let looked = if has(1 << 2) { 0 } else { status & 0b111_0000 };
    let mut new = status & WHOLE | looked | u32::from(tag.is_some()) << 3;
    for (bits, place) in [0x9700_0000, 1 << 29, 1 << 30].into_iter().zip(errors) {
        new |= u32::from(has(bits)) << place;
    }
    u64::from(tag.unwrap_or(0)) << 48 | u64::from(len) << 32 | u64::from(new)
}

/// Size of the buffers of a queue whose SRRCTL is at `control`; `size` is the mask of BSIZEPACKET.
pub(crate) fn buffer(state: &State, control: usize, queue: usize, size: usize) -> usize {
    let control = state.get(control + QUEUE * queue);
    assert_eq!(control >> 25 & 0b111, 1, "advanced descriptors with one buffer");
    (control as usize & size) << 10
}

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
    pub(crate) fn take(
        &mut self,
        memory: &Device,
        [low, high]: [u64; 2],
        may_tag: bool,
    ) -> Vec<Vec<u8>> {
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
            assert!(may_tag, "VLANs are on");
            segments::tag(&mut frames, self.context.tag);
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

    fn insert_checksum(&self, frame: &mut [u8]) {
        let start = self.context.mac_header + self.context.ip_header;
        let field = start + if self.context.is_tcp { 16 } else { 6 };
        segments::insert_checksum(frame, start, field);
    }
}

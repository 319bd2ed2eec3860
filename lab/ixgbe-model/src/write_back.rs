//! What receive descriptors say once the device has written them back (datasheet 7.1.6).

use crate::{
    checksum,
    packet::{Network, Packet, Transport},
    register_file::Registers,
    registers as reg,
    rss::Hash,
};

// Status and errors.
const DONE: u64 = 1 << 0;
const END_OF_PACKET: u64 = 1 << 1;
const VLAN: u64 = 1 << 3;
const UDP_CHECKED: u64 = 1 << 4;
const L4_CHECKED: u64 = 1 << 5;
const IP_CHECKED: u64 = 1 << 6;
const L4_ERROR: u64 = 1 << 30;
const IP_ERROR: u64 = 1 << 31;

/// What the device knows about a frame when it writes its descriptors back.
pub(crate) struct Report {
    /// The first quadword: the packet's type and its hash.
    low: u64,
    /// Status and errors, in the second quadword of the frame's last descriptor.
    status: u64,
    /// The 802.1Q tag, if it is stripped.
    tag: Option<u16>,
}

impl Report {
    /// Examines a frame. `control` is its queue's RXDCTL.
    pub(crate) fn new(
        registers: &Registers,
        frame: &[u8],
        packet: &Packet,
        hash: Hash,
        control: u32,
    ) -> Self {
        let mut status = 0;
        let mut kind = 0;
        match packet.network {
            Some((Network::V4 { options }, at)) => {
                kind |= if options { 1 << 1 } else { 1 << 0 };
                status |= IP_CHECKED;
                let length = usize::from(frame[at] & 0xF) * 4;
                if checksum::of(&frame[at..at + length]) != 0 {
                    status |= IP_ERROR;
                }
            }
            Some((Network::V6 { extensions }, _)) => {
                kind |= if extensions { 1 << 3 } else { 1 << 2 };
            }
            None => {}
        }
        match packet.transport {
            Some((Transport::Tcp, _)) => kind |= 1 << 4,
            Some((Transport::Udp, _)) => kind |= 1 << 5,
            Some((Transport::Sctp, _)) => kind |= 1 << 6,
            None => {}
        }
        if let Some(right) = checksum::transport_is_right(frame, packet) {
            status |= L4_CHECKED;
            if matches!(packet.transport, Some((Transport::Udp, _))) {
                status |= UDP_CHECKED;
            }
            if !right {
                status |= L4_ERROR;
            }
        }
        let tag = packet.vlan.filter(|_| control & reg::RXDCTL_VLAN_STRIP != 0);
        if tag.is_some() {
            status |= VLAN;
        }
        // Without RXCSUM.PCSD the hash's field holds a fragment checksum instead (8.2.3.7).
        let hashed = registers.get(reg::RXCSUM) & reg::RXCSUM_PACKET_CHECKSUM_DISABLED != 0;
        let hash = if hashed { hash } else { Hash::default() };
        let low = u64::from(hash.kind) | kind << 4 | u64::from(hash.value) << 32;
        Self { low, status, tag }
    }

    /// Whether the tag is reported in the descriptor and left out of the buffer.
    pub(crate) fn strips_tag(&self) -> bool {
        self.tag.is_some()
    }

    /// The descriptor of a buffer with `length` bytes. `last`: the frame ends in it.
    pub(crate) fn descriptor(&self, length: u64, last: bool) -> [u64; 2] {
        let end = if last { END_OF_PACKET | self.status } else { 0 };
        let tag = u64::from(self.tag.unwrap_or(0));
        [self.low, DONE | end | length << 32 | tag << 48]
    }
}

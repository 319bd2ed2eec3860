//! The header before a frame that is sent (Virtual I/O Device 1.3, 5.1.6.2).

use crate::common::Offload;
use ::virtio::le16;
use ::virtio::net::{Hdr, HdrF, HdrGso};
use core::num::NonZeroU16;

/// Where a TCP header says how long it is.
const TCP_DATA_OFFSET: usize = 12;

/// Prepares `frame` for a device that fills in its checksum and, with `segment`, cuts it into
/// packets with so many bytes of payload. `None` if it is to be cut and is no TCP packet.
pub(super) fn of(frame: &mut [u8], segment: Option<NonZeroU16>) -> Option<Hdr> {
    // Unlike Intel's, a virtio device wants lengths and the sum over the pseudo header to be those
    // of the whole packet: as for one that is not cut.
    let Some(checksum) = Offload::prepare(frame, None, None)?.checksum else {
        return segment.is_none().then(Hdr::default);
    };
    let mut header = Hdr {
        flags: HdrF::NEEDS_CSUM,
        csum_start: le16::from_ne(checksum.start.into()),
        csum_offset: le16::from_ne(u16::from(checksum.field - checksum.start)),
        ..Hdr::default()
    };
    if let Some(size) = segment {
        if !checksum.is_tcp {
            return None;
        }
        let start = usize::from(checksum.start);
        let tcp = usize::from(frame[start + TCP_DATA_OFFSET] >> 4) * 4;
        let kind = if checksum.is_ipv4 { HdrGso::Tcpv4 } else { HdrGso::Tcpv6 };
        header.gso_type = kind.into();
        header.gso_size = le16::from_ne(size.get());
        header.hdr_len = le16::from_ne((start + tcp) as u16);
    }
    Some(header)
}

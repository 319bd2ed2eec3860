//! Receive descriptors of the 82574L (datasheet chapter 7).

use crate::common::Checked;
use crate::intel::{Completion, ReceiveFormat};

/// Extended receive descriptors. Legacy ones would do for what the driver uses now; these
/// carry the same in one quadword, tell whether UDP was looked at, and are what RSS needs.
pub(crate) enum Extended {}

/// Extended status and errors, in the low half of the second quadword; the length is in
/// bits 32 to 47, the VLAN tag in bits 48 to 63.
mod receive {
    pub(super) const DONE: u64 = 1 << 0;
    pub(super) const END_OF_PACKET: u64 = 1 << 1;
    /// The device did not look at checksums.
    pub(super) const IGNORE_CHECKSUM: u64 = 1 << 2;
    /// The frame had a VLAN tag, which was taken out.
    pub(super) const TAG_STRIPPED: u64 = 1 << 3;
    pub(super) const UDP_CHECKED: u64 = 1 << 4;
    pub(super) const TCP_CHECKED: u64 = 1 << 5;
    pub(super) const IP_CHECKED: u64 = 1 << 6;
    /// CRC or alignment, symbol, sequence, carrier extension and receive data errors.
    pub(super) const BAD_FRAME: u64 = 1 << 24 | 1 << 25 | 1 << 26 | 1 << 28 | 1 << 31;
    pub(super) const TRANSPORT_ERROR: u64 = 1 << 29;
    pub(super) const IP_ERROR: u64 = 1 << 30;
}

impl ReceiveFormat for Extended {
    fn completion(word: u64) -> Option<Completion> {
        use receive::*;
        let has = |bits| word & bits != 0;
        let looked = !has(IGNORE_CHECKSUM);
        has(DONE).then(|| Completion {
            len: usize::from((word >> 32) as u16),
            ends_frame: has(END_OF_PACKET),
            is_bad: has(BAD_FRAME),
            checked: Checked {
                ip: looked && has(IP_CHECKED),
                transport: looked && has(TCP_CHECKED | UDP_CHECKED),
                failed: looked && has(TRANSPORT_ERROR | IP_ERROR),
            },
            tag: has(TAG_STRIPPED).then_some((word >> 48) as u16),
        })
    }

    #[inline]
    fn plain(word: u64) -> Option<(usize, bool)> {
        use receive::*;
        const WHOLE: u64 = DONE | END_OF_PACKET;
        const WRONG: u64 = TAG_STRIPPED | BAD_FRAME | TRANSPORT_ERROR | IP_ERROR;
        let verified = word & (IP_CHECKED | IGNORE_CHECKSUM) == IP_CHECKED
            && word & (TCP_CHECKED | UDP_CHECKED) != 0;
        (word & (WHOLE | WRONG) == WHOLE).then_some((usize::from((word >> 32) as u16), verified))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intel::plain_is_what_the_completion_says;

    #[test]
    fn plain_frames_are_those_with_nothing_to_look_at() {
        plain_is_what_the_completion_says::<Extended>(60 << 32 | 1 << 0 | 1 << 1 | 1 << 4 | 1 << 6);
    }
}

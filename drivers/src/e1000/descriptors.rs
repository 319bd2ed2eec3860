//! Receive descriptors of the 8254x (3.2.3).

use crate::common::Checked;
use crate::intel::{Completion, ReceiveFormat};

/// Legacy receive descriptors, the only ones there are.
pub(crate) enum Legacy {}

/// The second quadword: length in its low 16 bits, a checksum nobody needs in the next, then status
/// (3.2.3.1), errors (3.2.3.2), and a VLAN tag.
mod receive {
    pub(super) const DONE: u64 = 1 << 32;
    pub(super) const END_OF_PACKET: u64 = 1 << 33;
    /// The device did not look at checksums.
    pub(super) const IGNORE_CHECKSUM: u64 = 1 << 34;
    /// The frame had a VLAN tag, which was taken out.
    pub(super) const TAG_STRIPPED: u64 = 1 << 35;
    /// TCP or UDP.
    pub(super) const TRANSPORT_CHECKED: u64 = 1 << 37;
    pub(super) const IP_CHECKED: u64 = 1 << 38;
    /// CRC or alignment, symbol, sequence, carrier extension and receive data errors.
    pub(super) const BAD_FRAME: u64 = 1 << 40 | 1 << 41 | 1 << 42 | 1 << 44 | 1 << 47;
    pub(super) const TRANSPORT_ERROR: u64 = 1 << 45;
    pub(super) const IP_ERROR: u64 = 1 << 46;
}

impl ReceiveFormat for Legacy {
    fn completion(word: u64) -> Option<Completion> {
        use receive::*;
        let has = |bits| word & bits != 0;
        let looked = !has(IGNORE_CHECKSUM);
        has(DONE).then(|| Completion {
            len: usize::from(word as u16),
            ends_frame: has(END_OF_PACKET),
            is_bad: has(BAD_FRAME),
            checked: Checked {
                ip: looked && has(IP_CHECKED),
                transport: looked && has(TRANSPORT_CHECKED),
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
        const RIGHT: u64 = IP_CHECKED | TRANSPORT_CHECKED;
        let verified = word & (RIGHT | IGNORE_CHECKSUM) == RIGHT;
        (word & (WHOLE | WRONG) == WHOLE).then_some((usize::from(word as u16), verified))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intel::plain_is_what_the_completion_says;

    #[test]
    fn plain_frames_are_those_with_nothing_to_look_at() {
        plain_is_what_the_completion_says::<Legacy>(1 << 32 | 1 << 33 | 1 << 37 | 1 << 38 | 60);
    }
}

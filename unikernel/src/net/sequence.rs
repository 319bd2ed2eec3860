//! Initial sequence numbers of TCP (RFC 6528), and how smoltcp is made to use them.

use core::hash::{Hash, Hasher};

use siphasher::sip::SipHasher24;
use smoltcp::time::Instant;
use smoltcp::wire::{IpEndpoint, TcpSeqNumber};

/// Chooses initial sequence numbers: for each pair of endpoints they begin somewhere that nobody
/// outside can tell, and count up from there, so that a new connection is not taken for an old one.
#[derive(Default)]
pub(super) struct Sequence {
    key: [u64; 2],
}

impl Sequence {
    pub(super) fn new(key: [u64; 2]) -> Self {
        Self { key }
    }

    /// A number that nobody outside can tell.
    pub(super) fn hash(&self, local: IpEndpoint, peer: IpEndpoint) -> u64 {
        let mut hasher = SipHasher24::new_with_keys(self.key[0], self.key[1]);
        (local, peer).hash(&mut hasher);
        hasher.finish()
    }

    /// RFC 6528, section 3: a clock that ticks every 4 µs, and a keyed hash of the endpoints.
    pub(super) fn first(&self, local: IpEndpoint, peer: IpEndpoint, now: Instant) -> TcpSeqNumber {
        let clock = (now.total_micros() / 4) as u32;
        TcpSeqNumber(clock.wrapping_add((self.hash(local, peer) >> 32) as u32) as i32)
    }
}

/// The seed of an interface that begins its first connection with `number`.
///
/// smoltcp 0.14 chooses that number at random and takes none from outside. But its generator
/// (sPCG32, `src/rand.rs`) can be run backwards from a number to the state that yields it, over the
/// one that an interface draws when it is made. Upstream, `Socket::listen` and `connect` would take
/// the number.
pub(super) fn seed_for(number: TcpSeqNumber) -> u64 {
    // State to number: where the three highest bits are 0, bits 29 to 60.
    let state = u64::from(number.0 as u32) << 29;
    // The lowest bits are free. An interface draws again while this is 0.
    let identification = |state: u64| {
        let drawn = (state >> (29 - (state >> 61))) as u32;
        (drawn ^ drawn >> 16) as u16
    };
    let before = (0..1 << 29).map(|low| previous(state | low));
    let before = before.into_iter().find(|&state| identification(state) != 0);
    previous(before.unwrap_or_default())
}

/// The state before this one of a generator that goes on with `state * FACTOR + TERM`.
const fn previous(state: u64) -> u64 {
    const FACTOR: u64 = 0xbb2e_fcec_3c39_611d;
    const TERM: u64 = 0x7590_ef39;
    const INVERSE: u64 = inverse(FACTOR);
    state.wrapping_sub(TERM).wrapping_mul(INVERSE)
}

/// Of an odd number modulo 2^64, by Newton's method: each step doubles the bits that are right, of
/// which there are three at first.
const fn inverse(number: u64) -> u64 {
    let mut inverse = number;
    let mut bits = 3;
    while bits < 64 {
        inverse = inverse.wrapping_mul(2u64.wrapping_sub(number.wrapping_mul(inverse)));
        bits *= 2;
    }
    inverse
}

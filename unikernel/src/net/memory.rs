//! Memory for sockets, of which there may be too little: others decide how many there are.

use alloc::vec::Vec;

/// Memory that must be left, in one piece, where a socket is made, in bytes: what cannot be refused, such as the table of
/// sockets when it grows, is allocated without asking.
const HEADROOM: usize = 512 * 1024;

/// So many elements; `None` if there is no memory for them.
pub(super) fn filled<T: Clone>(len: usize, value: T) -> Option<Vec<T>> {
    let mut elements = Vec::new();
    elements.try_reserve_exact(len).ok()?;
    elements.resize(len, value);
    Some(elements)
}

/// Whether enough is left for what cannot be refused.
pub(super) fn has_headroom() -> bool {
    Vec::<u8>::new().try_reserve_exact(HEADROOM).is_ok()
}

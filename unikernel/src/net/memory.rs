//! Memory for sockets, of which there may be too little: others decide how many there are.

use alloc::vec::Vec;

use super::error::Error;

/// Memory that must be left, in one piece, where a socket is made, in bytes: what cannot be
/// refused is allocated without asking, such as what 32 clients of a server are answered from.
const HEADROOM: usize = 1024 * 1024;
/// Sockets of an interface that there is room for from the beginning. What others decide makes no
/// more.
pub(super) const SOCKETS: usize = 1024;

/// So many elements, if there is memory for them.
pub(super) fn filled<T: Clone>(len: usize, value: T) -> Result<Vec<T>, Error> {
    let mut elements = Vec::new();
    elements.try_reserve_exact(len).map_err(|_| Error::NoMemory)?;
    elements.resize(len, value);
    Ok(elements)
}

/// Fails unless enough is left for what cannot be refused.
pub(super) fn check_headroom() -> Result<(), Error> {
    if is_left(HEADROOM) { Ok(()) } else { Err(Error::NoMemory) }
}

/// Whether so many bytes are left, in one piece.
pub(super) fn is_left(bytes: usize) -> bool {
    Vec::<u8>::new().try_reserve_exact(bytes).is_ok()
}

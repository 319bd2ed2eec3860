//! Bits that only an 8254x has.

/// NVM read, EERD (13.4.4).
pub(super) mod eerd {
    pub(crate) const DONE: u32 = 1 << 4;
    pub(crate) const ADDRESS_SHIFT: u32 = 8;
}

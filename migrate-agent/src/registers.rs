//! The capability's layout, version 2, and its validation. Offsets are from the capability's start.

use core::fmt;

use bitflags::bitflags;

/// Who defined the capability (Red Hat), as [`DEFINED_BY`] has it: other vendors' bridges may
/// carry it too, and what theirs means otherwise is their business.
pub const DEFINER: u16 = 0x1b36;
/// Vendor-specific capability (PCI Local Bus 3.0, appendix H).
pub const CAPABILITY_ID: u8 = 0x09;
/// Its type among Red Hat's, at [`TYPE`]. Type 1 reserves bridge resources.
pub const CAPABILITY_TYPE: u8 = 2;
/// The version this crate speaks.
pub const CAPABILITY_VERSION: u8 = 2;
/// Bytes that version 2 has, at least.
pub const LENGTH: u8 = 24;

/// u8, read-only: the capability's id.
pub const ID: u8 = 0;
/// u8, read-only: the capability's length.
pub const LEN: u8 = 2;
/// u8, read-only: the capability's type.
pub const TYPE: u8 = 3;
/// u8, read-only: the layout's version.
pub const VERSION: u8 = 4;
/// u8, read-only: [`Features`].
pub const FEATURES: u8 = 5;
/// u16, read-only: [`Status`].
pub const STATUS: u8 = 6;
/// u16, read and write: [`Control`].
pub const CONTROL: u8 = 8;
/// u16, read-only: [`DEFINER`].
pub const DEFINED_BY: u8 = 10;
/// u32, read-only: goes up by one at every change of STATUS; never 0.
pub const EPOCH: u8 = 12;
/// u32, read and write: the EPOCH whose STATUS the guest acts on.
pub const ACK: u8 = 16;
/// u32, read and write: pages marked since logging began.
pub const MARKED: u8 = 20;

bitflags! {
    /// What the hypervisor does.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Features: u8 {
        /// STATUS.LOGGING follows the dirty log.
        const LOGGING = 1 << 0;
        /// The hypervisor has the devices below quiesced before it switches over.
        const QUIESCE = 1 << 1;
        /// What the devices below write is in the log without being marked.
        const DMA_LOGGED = 1 << 2;
    }

    /// What goes on.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Status: u16 {
        /// The hypervisor's dirty log is on.
        const LOGGING = 1 << 0;
        /// The machine was moved, and this is the destination. Until the next change.
        const MOVED = 1 << 1;
        /// The devices below are to be left alone.
        const QUIESCE = 1 << 2;
    }

    /// What the guest does.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Control: u16 {
        /// The drivers below the bridge mark what their devices write.
        const MARKING = 1 << 0;
        /// Interrupt at a change of STATUS.
        const IRQ = 1 << 1;
    }
}

/// Access to one vendor-specific capability: `offset` counts from its first byte and stays below
/// [`LENGTH`]. Accesses are aligned, little endian and of the width named.
///
/// Reading what is not there (a bridge that is gone) gives all ones, as PCI does.
pub trait Registers {
    /// Reads a byte.
    fn read8(&self, offset: u8) -> u8;
    /// Reads 16 bits.
    fn read16(&self, offset: u8) -> u16;
    /// Reads 32 bits.
    fn read32(&self, offset: u8) -> u32;
    /// Writes 16 bits.
    fn write16(&mut self, offset: u8, value: u16);
    /// Writes 32 bits.
    fn write32(&mut self, offset: u8, value: u32);
}

/// Why a capability is not this one, or not one to rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// Another id or another of the vendor's types.
    OtherKind,
    /// Too short for the version it names.
    Short {
        /// Bytes it says it has.
        length: u8,
    },
    /// A version this crate does not know.
    Version {
        /// The version it says it is.
        version: u8,
    },
    /// It does not tell when the log is on, or does not ask for quiet.
    Lacks(Features),
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::OtherKind => write!(f, "not a migration capability"),
            Self::Short { length } => {
                write!(f, "migration capability of {length} bytes, {LENGTH} are needed")
            }
            Self::Version { version } => {
                write!(
                    f,
                    "migration capability version {version}, where {CAPABILITY_VERSION} is needed: \
                     hypervisor and guest are of different releases"
                )
            }
            Self::Lacks(features) => write!(f, "migration capability without {features:?}"),
        }
    }
}

impl core::error::Error for Unusable {}

/// Whether the capability is one that this crate can rely on, and what it offers.
///
/// # Errors
/// Says why not. Each reason means: as if there were no capability.
pub fn validate(registers: &impl Registers) -> Result<Features, Unusable> {
    if registers.read8(ID) != CAPABILITY_ID || registers.read8(TYPE) != CAPABILITY_TYPE {
        return Err(Unusable::OtherKind);
    }
    let length = registers.read8(LEN);
    if length <= VERSION {
        return Err(Unusable::Short { length });
    }
    let version = registers.read8(VERSION);
    // Version 1 did not say who had defined it.
    if version == 1 {
        return Err(Unusable::Version { version });
    }
    if length < LENGTH {
        return Err(Unusable::Short { length });
    }
    if registers.read16(DEFINED_BY) != DEFINER {
        return Err(Unusable::OtherKind);
    }
    if version != CAPABILITY_VERSION {
        return Err(Unusable::Version { version });
    }
    let features = Features::from_bits_truncate(registers.read8(FEATURES));
    let lacks = (Features::LOGGING | Features::QUIESCE).difference(features);
    if lacks.is_empty() { Ok(features) } else { Err(Unusable::Lacks(lacks)) }
}

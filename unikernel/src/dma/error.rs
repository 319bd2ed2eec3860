use core::fmt;

/// What can go wrong in the DMA layer. Everything a device reports is checked before it is used,
/// and ends here when it cannot be true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The pool has no free run of this many bytes.
    Exhausted {
        /// Bytes asked for.
        bytes: usize,
    },
    /// More contiguous memory was asked for than a run can have.
    TooLong {
        /// Bytes asked for.
        bytes: usize,
    },
    /// A length or range, possibly reported by a device, lies outside the buffer.
    OutOfRange {
        /// The first byte past the range.
        end: usize,
        /// Bytes the buffer has.
        capacity: usize,
    },
    /// Alignment that the pool cannot give.
    Alignment {
        /// Bytes asked for.
        align: usize,
    },
    /// The memory given as the pool is empty, not on page boundaries, or too large.
    BadMemory,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Exhausted { bytes } => {
                write!(f, "no {bytes} bytes of DMA memory left: give swiotlb= a larger size")
            }
            Self::TooLong { bytes } => {
                write!(f, "{bytes} bytes of DMA memory asked for, {} at most", super::MAX_RUN)
            }
            Self::OutOfRange { end, capacity } => {
                write!(f, "DMA range ends at byte {end} of a buffer of {capacity}")
            }
            Self::Alignment { align } => {
                write!(
                    f,
                    "DMA memory aligned to {align} asked for: a power of two up to 64 KiB is \
                     possible"
                )
            }
            Self::BadMemory => {
                write!(
                    f,
                    "the DMA pool must be whole 4 KiB pages, at least one and below 8 GiB in all"
                )
            }
        }
    }
}

impl core::error::Error for Error {}

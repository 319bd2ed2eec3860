//! Transmit buffers in hand.

use crate::dma::{Pool, SLOT_SIZE, TxBuffer};

/// A token must exist before it is known whether a frame will be written
/// to it and how long it is, and most tokens are never used.
#[derive(Default)]
pub(super) struct Spares {
    /// One slot.
    short: Option<TxBuffer>,
    /// For frames longer than a slot, where there are any.
    long: Option<TxBuffer>,
    /// Length that `long` must have; 0: no frame is that long.
    long_len: usize,
}

impl Spares {
    /// Spares for frames of up to `max` bytes. Takes the long one at once: runs of a length go back
    /// to a list of their own (`dma::slots`), so there is one again as soon as it was sent.
    pub(super) fn new(pool: &'static Pool, max: usize) -> Self {
        let long_len = if max > SLOT_SIZE { max } else { 0 };
        let long = (long_len != 0).then(|| pool.transmit_buffer_of(long_len).ok()).flatten();
        Self { short: None, long, long_len }
    }

    /// Whether there are buffers for a frame of any length.
    pub(super) fn fill(&mut self, pool: &'static Pool) -> bool {
        if self.short.is_none() {
            self.short = pool.transmit_buffer();
        }
        if self.long.is_none() && self.long_len != 0 {
            self.long = pool.transmit_buffer_of(self.long_len).ok();
        }
        self.short.is_some() && (self.long.is_some() || self.long_len == 0)
    }

    /// Whether frames longer than a slot lack a buffer.
    pub(super) fn lacks_long(&self) -> bool {
        self.long_len != 0 && self.long.is_none()
    }

    /// The longest frame there are buffers for.
    pub(super) fn longest(&self) -> usize {
        self.long_len.max(SLOT_SIZE)
    }

    pub(super) fn take(&mut self, len: usize) -> Option<TxBuffer> {
        if len <= SLOT_SIZE { self.short.take() } else { self.long.take() }
    }
}

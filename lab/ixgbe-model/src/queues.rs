//! What transmission keeps between descriptors.

use crate::{offload::Context, registers as reg};

/// What a queue remembers between descriptors.
#[derive(Default)]
pub(crate) struct Queue {
    pub(crate) contexts: [Context; 2],
    pub(crate) packet: Vec<u8>,
    /// Second quadword of the packet's first descriptor, which says what to do with it.
    pub(crate) first: Option<u64>,
}

/// The transmit queues.
pub(crate) struct Transmit {
    pub(crate) queues: Vec<Queue>,
    /// Queues that have work left for which the wire had no room.
    pub(crate) held: Vec<usize>,
    /// Packets that made no sense.
    pub(crate) malformed: u64,
}

impl Transmit {
    pub(crate) fn new() -> Self {
        let queues = (0..reg::QUEUES).map(|_| Queue::default()).collect();
        Self { queues, held: Vec::new(), malformed: 0 }
    }

    /// A queue was disabled: a packet that was not whole is forgotten.
    pub(crate) fn stop(&mut self, queue: usize) {
        self.queues[queue] = Queue::default();
    }
}

//! What is known of a port.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// Counts of one port since it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortStatistics {
    /// The name it was given.
    pub name: String,
    /// Whether its peer is there.
    pub connected: bool,
    /// Frames that came in.
    pub received: u64,
    /// Bytes of these frames.
    pub received_bytes: u64,
    /// Frames that went out.
    pub sent: u64,
    /// Frames that should have gone out, but waited too long or were too many.
    pub dropped: u64,
}

/// A port, as the switch and its thread both see it.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) name: String,
    pub(super) connected: AtomicBool,
    pub(super) received: AtomicU64,
    pub(super) received_bytes: AtomicU64,
    pub(super) sent: AtomicU64,
    pub(super) dropped: AtomicU64,
}

impl Port {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            connected: AtomicBool::new(false),
            received: AtomicU64::new(0),
            received_bytes: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        }
    }

    pub(super) fn statistics(&self) -> PortStatistics {
        PortStatistics {
            name: self.name.clone(),
            connected: self.connected.load(Relaxed),
            received: self.received.load(Relaxed),
            received_bytes: self.received_bytes.load(Relaxed),
            sent: self.sent.load(Relaxed),
            dropped: self.dropped.load(Relaxed),
        }
    }
}

//! What a stack counts.

/// What went through a stack since it was created, NICs that have gone included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Frames received.
    pub rx_frames: u64,
    /// Bytes received, Ethernet headers included.
    pub rx_bytes: u64,
    /// Frames handed to a NIC.
    pub tx_frames: u64,
    /// Bytes handed to a NIC, Ethernet headers included.
    pub tx_bytes: u64,
    /// Packets not sent: replies for which the transmit ring or the pool was full, and those that
    /// no route leads for, or whose neighbour did not answer.
    pub tx_dropped: u64,
    /// Frames not given to those who keep them, because so much of the DMA memory is kept that the
    /// NIC would go short.
    pub kept_refused: u64,
    /// Datagrams put together from fragments.
    pub reassembled: u64,
    /// Datagrams of which not all fragments came in time, or that made no sense.
    pub reassembly_abandoned: u64,
    /// TCP handshakes that were given up to make room for later ones.
    pub handshakes_evicted: u64,
    /// TCP connections that had to wait: their listener's backlog was full, or the memory.
    pub connections_deferred: u64,
}

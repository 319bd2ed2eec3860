//! What the datasheet of a family says that the [`Model`](super::model::Model) has to know, and
//! what a device may do that no datasheet says.

/// Device control.
pub(crate) const CTRL: usize = 0x0000;

/// What the device does wrong. Not every family can do all of it.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    /// Never finishes a reset.
    pub(crate) stays_in_reset: bool,
    /// Never stops mastering the bus when asked.
    pub(crate) keeps_mastering: bool,
    /// Loads no station address into its registers.
    pub(crate) no_mac: bool,
    /// Leaves transmit descriptors alone until told to go on.
    pub(crate) stalls_transmit: bool,
    /// Does not clear counts that are read, as QEMU's e1000.
    pub(crate) keeps_counts: bool,
    /// Firmware has the PHY and does not let go of it.
    pub(crate) firmware_keeps_phy: bool,
    /// After so many reads, all registers read as ones and nothing is done any more, as if the
    /// device had left its bus.
    pub(crate) silent_after: Option<u32>,
    /// Has no NVM to read after a reset, as QEMU's igb has none.
    pub(crate) no_nvm: bool,
}

/// Registers of causes of interrupts: those raised, the mask, and what clears bits of the mask.
pub(crate) struct Causes {
    pub(crate) raised: usize,
    pub(crate) mask: usize,
    pub(crate) clear: usize,
}

/// What the filters let through besides the station address and groups in the table.
pub(crate) struct Filters {
    pub(crate) broadcasts: bool,
    pub(crate) every_group: bool,
    pub(crate) every_station: bool,
    /// Tags are taken out of frames.
    pub(crate) strips: bool,
}

/// What the datasheet of a family says of its [`State`](super::model::State).
pub(crate) trait Family {
    /// The first registers of the first receive ring, and of the transmit ring.
    const RINGS: [usize; 2];
    /// The done bit in the second quadword of a receive descriptor.
    const DONE: u64;
    /// The write-back has something in the place of the buffer's address.
    const OVERWRITES: bool = true;
    /// Bits of CTRL that reset the device.
    const RESETS: u32 = 1 << 26;
    const CAUSES: &'static [Causes];
    /// Counts of frames that there was no room for.
    const MISSED: &'static [usize];
    /// The table of VLANs, and the register and bit that have it looked at.
    const VLANS: usize;
    const VLAN_FILTER: (usize, u32);
    /// What makes the device obey PAUSE frames and send none: registers, the bits that matter, and
    /// what they are.
    const PAUSE: &'static [(usize, u32, u32)] = &[
        (0x28, !0, 0x00c2_8001),
        (0x2c, !0, 0x0100),
        (0x30, !0, 0x8808),
        (CTRL, 0b11 << 27, 0b01 << 27),
    ];

    /// What registers have after a reset.
    fn defaults() -> Vec<(usize, u32)>;
    /// What somebody else left in them: receiving to who knows where, interrupts on.
    fn abandoned() -> Vec<(usize, u32)>;
    /// Whether a reset may begin, as far as the datasheet is concerned: DMA has ended.
    fn may_reset(&self) -> bool;
    fn filters(&self) -> Filters;
    /// The longest frame to let through, without a check sequence.
    fn longest(&self, is_tagged: bool) -> usize;
    /// The receive queue for a frame.
    fn choose(&self, _frame: &[u8]) -> usize {
        0
    }
    /// Size of the buffers of a queue; `None` while it does not receive.
    fn buffer(&self, queue: usize) -> Option<usize>;
    /// The second quadword of a write-back.
    fn write_back(len: u16, status: u32, tag: Option<u16>) -> u64;
    fn sends(&self) -> bool;
    /// Data descriptors may ask for a VLAN tag.
    fn inserts_tags(&self) -> bool;
    /// The interrupt of a queue: its receive side's, or its transmit side's.
    fn raise_queue(&mut self, queue: usize, is_transmit: bool);
    fn raise_link(&mut self);
    /// Whether these causes interrupt as things are.
    fn is_live(&self, _causes: &Causes) -> bool {
        true
    }
    /// STATUS without the bit for bus mastering.
    fn status(&self) -> u32;
    /// What a register reads that does not just store.
    fn read(&mut self, offset: usize) -> Option<u32>;
    /// What writing does besides storing. Returns whether that was all, and nothing is to be
    /// stored.
    fn write(&mut self, offset: usize, value: u32) -> bool;
}

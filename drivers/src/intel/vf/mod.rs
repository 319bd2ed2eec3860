//! Virtual functions: a queue in each direction and three interrupts of a device that belongs to
//! its physical function. Filters, VLANs, long frames and the station address are that one's, and
//! its driver, on the host, is asked for them through a [`Mailbox`]. Where a family has its
//! registers, its [`Kind`] says.

mod mailbox;

use self::mailbox::{Mailbox, is_granted, request};
use super::{
    AdvancedReceive, AdvancedTransmit, Descriptors, Hardware, ReceiveErrors, Table, Trouble,
};
use crate::common::{is_station_address, wait_for};
use crate::error::Refusal;
use core::marker::PhantomData;
pub(crate) use mailbox::Place as MailboxPlace;
use unikernel::mmio::Mmio;
use unikernel::nic::{Link, Settings};
use unikernel::pci::Vector;
use unikernel::random;

/// The physical function comes out of a reset.
const RESET_US: u64 = 1_000_000;
/// A queue is enabled, or has let go of its descriptors.
const QUEUE_US: u64 = 10_000;

const CTRL: usize = 0x0000;
const CTRL_RST: u32 = 1 << 26;
const STATUS: usize = 0x0008;

/// Registers of a queue that both directions and families have in the same places, from its first
/// one on.
mod queue {
    pub(super) const BASE_HIGH: usize = 0x04;
    pub(super) const LENGTH: usize = 0x08;
    pub(super) const HEAD: usize = 0x10;
    pub(super) const TAIL: usize = 0x18;
    pub(super) const CONTROL: usize = 0x28;
    /// Of transmit: head write-back, off while bit 0 is clear.
    pub(super) const HEAD_WRITE_BACK: usize = 0x38;
    pub(super) const ENABLE: u32 = 1 << 25;
}

/// In SRRCTL: advanced descriptors with one buffer, whose size is in units of 1 KiB; a frame that
/// finds no descriptor is dropped, and does not hold up other functions.
const SRRCTL_ONE_BUFFER: u32 = 1 << 25;
const SRRCTL_DROP_EN: u32 = 1 << 31;
const SRRCTL_SIZE_SHIFT: u32 = 10;

/// In IVAR and IVAR_MISC.
const IVAR_VALID: u32 = 1 << 7;
const IVAR_TRANSMIT_SHIFT: u32 = 8;

/// Entries of the MSI-X table. QEMU's igb takes the mailbox's for a mask, and interrupts with
/// [`RECEIVE`] for [`OTHER`]: both are unmasked together.
const TRANSMIT: u32 = 0;
const RECEIVE: u32 = 1;
const OTHER: u32 = 2;

/// Hashes of groups that a request has room for, two in a word.
const MOST_GROUPS: usize = 2 * (mailbox::WORDS - 1);

/// Where a family has its registers, and what it wants in them.
pub(crate) struct Layout {
    pub(crate) mailbox: MailboxPlace,
    /// Extended cause, cleared by writing ones; mask set; mask clear.
    pub(crate) eicr: usize,
    pub(crate) eims: usize,
    pub(crate) eimc: usize,
    /// Throttling, a register for each entry.
    pub(crate) eitr: usize,
    /// Which entry a queue uses, and the mailbox.
    pub(crate) ivar: usize,
    pub(crate) ivar_misc: usize,
    /// The first registers of the queues.
    pub(crate) receive: usize,
    pub(crate) transmit: usize,
    pub(crate) srrctl: usize,
    /// Frames dropped for want of a descriptor, cleared by reading.
    pub(crate) dropped: Option<usize>,
    /// Packet split type, which is to be nothing.
    pub(crate) psrtype: usize,
    /// In EITR: 20,000 interrupts a second.
    pub(crate) throttle: u32,
    /// In RXDCTL and TXDCTL besides what enables a queue.
    pub(crate) rxdctl: u32,
    pub(crate) txdctl: u32,
    /// In RXDCTL: take VLAN tags out. Nothing where the physical function sees to that.
    pub(crate) strip_tags: u32,
    /// What the longest frame has besides the stack's: a check sequence, and a VLAN tag where that
    /// is counted.
    pub(crate) extra: usize,
}

/// A family of virtual functions.
pub(crate) trait Kind: 'static {
    /// Its name, for people.
    const FAMILY: &'static str;
    /// The part of BAR 0 that the driver uses.
    const SIZE: usize;
    const LAYOUT: Layout;
    /// Receive errors of a write-back.
    type Errors: ReceiveErrors;

    /// The link, as far as its registers tell.
    fn link(registers: &Mmio) -> Link;

    /// Requests for versions of what may be asked for, the best first. The first that is granted
    /// counts; a host that knows none goes by the oldest.
    fn versions() -> &'static [[u32; 2]] {
        &[]
    }

    /// Asks for frames to every group.
    fn every_group() -> [u32; 2];

    /// The second word of a request for that has a mode, and of its answer the one that is granted,
    /// which may be less.
    const GROUPS_HAVE_MODES: bool = false;
}

/// The registers of one virtual function.
pub(crate) struct VirtualFunction<K> {
    registers: Mmio,
    mailbox: Mailbox,
    /// The station address that the physical function knows this one by.
    address: Option<[u8; 6]>,
    /// Groups that are still to be asked for.
    groups: Option<Groups>,
    /// Those that frames to every group were asked for instead of, until that is answered.
    every_for: Option<Groups>,
    buffer: usize,
    strips_tags: bool,
    receive_causes: u32,
    transmit_causes: u32,
    kind: PhantomData<K>,
}

impl<K: Kind> Hardware for VirtualFunction<K> {
    const FAMILY: &'static str = K::FAMILY;
    const SIZE: usize = K::SIZE;
    /// The host's driver may be reset itself, or busy.
    const RECOVERS: bool = true;
    type Receive = AdvancedReceive<K::Errors>;
    type Transmit = AdvancedTransmit;

    fn new(registers: Mmio) -> Self {
        Self {
            mailbox: Mailbox::new(registers.clone(), K::LAYOUT.mailbox),
            registers,
            address: None,
            groups: None,
            every_for: None,
            buffer: 0,
            strips_tags: false,
            receive_causes: 0,
            transmit_causes: 0,
            kind: PhantomData,
        }
    }

    fn is_gone(&self) -> bool {
        self.registers.read32(STATUS) == u32::MAX
    }

    /// Resets the function, from any state, and has the physical one's driver know it.
    async fn reset(&mut self) -> Result<(), Trouble> {
        if self.is_gone() {
            return Err(Trouble::Stuck);
        }
        self.end_dma().await;
        self.registers.set32(CTRL, CTRL_RST);
        let mailbox = &mut self.mailbox;
        if !wait_for(RESET_US, || !mailbox.is_in_reset()).await || self.is_gone() {
            return Err(Trouble::Stuck);
        }
        let answer = self.mailbox.start_over().await.ok_or(Trouble::Silent)?;
        (self.groups, self.every_for) = (None, None);
        // The host may leave the choice of an address to whoever has the function.
        let [a, b, c, d] = answer[1].to_le_bytes();
        let [e, f, ..] = answer[2].to_le_bytes();
        let given = Some([a, b, c, d, e, f]);
        self.address = given.filter(|&mac| is_granted(&answer) && is_station_address(mac));
        for version in K::versions() {
            if is_granted(&self.mailbox.ask(version).await.ok_or(Trouble::Silent)?) {
                break;
            }
        }
        self.mask_interrupts();
        self.registers.write32(K::LAYOUT.eicr, u32::MAX);
        Ok(())
    }

    async fn end_dma(&mut self) -> bool {
        let r = &self.registers;
        self.mask_interrupts();
        let controls = [K::LAYOUT.receive, K::LAYOUT.transmit].map(|base| base + queue::CONTROL);
        controls.iter().for_each(|&control| r.clear32(control, queue::ENABLE));
        let is_off = |control: &usize| r.read32(*control) & queue::ENABLE == 0;
        wait_for(QUEUE_US, || controls.iter().all(is_off)).await
    }

    async fn quiesce(&mut self) -> bool {
        let ended = self.end_dma().await;
        ended & self.reset().await.is_ok()
    }

    /// What the host gave it, else one of its own choosing: random, and locally administered.
    async fn mac(&mut self) -> Result<[u8; 6], [u8; 6]> {
        Ok(self.address.unwrap_or_else(|| {
            let [a, b, c, d, e, f, ..] = random::seed().to_le_bytes();
            [a & !0b01 | 0b10, b, c, d, e, f]
        }))
    }

    async fn set_mac(&mut self, mac: [u8; 6]) -> Result<(), Trouble> {
        if self.address == Some(mac) {
            // A host that chose it itself may refuse to be asked for it.
            return Ok(());
        }
        let [a, b, c, d, e, f] = mac;
        let low = u32::from_le_bytes([a, b, c, d]);
        let high = u32::from_le_bytes([e, f, 0, 0]);
        self.ask(&[request::SET_ADDRESS, low, high], Refusal::Address(mac)).await?;
        self.address = Some(mac);
        Ok(())
    }

    fn entries(_queues: usize) -> u16 {
        OTHER as u16 + 1
    }

    async fn enable_link(&mut self) {}

    /// Down as well while the physical function's driver has forgotten this one.
    fn link(&self) -> Link {
        if self.mailbox.is_known() { K::link(&self.registers) } else { Link::default() }
    }

    async fn configure(&mut self, settings: &Settings, buffer: usize) -> Result<(), Trouble> {
        if settings.promiscuous {
            return Err(Trouble::Unsupported("promiscuous="));
        }
        let longest = (settings.max_frame() + K::LAYOUT.extra) as u32;
        self.ask(&[request::SET_LONGEST, longest], Refusal::Mtu(settings.mtu)).await?;
        if let Some(vlan) = settings.vlan {
            let request = [request::SET_VLAN | request::ADD, vlan.get().into()];
            self.ask(&request, Refusal::Vlan(vlan)).await?;
        }
        self.buffer = buffer;
        self.strips_tags = settings.vlan.is_some();
        Ok(())
    }

    fn set_multicast(&mut self, table: &Table, before: Option<&Table>) {
        // After a reset there are none.
        if *table == *before.unwrap_or(&Table::of_groups(&[])) {
            return;
        }
        self.groups = Some(Groups::of(table));
        self.ask_for_groups::<K>();
    }

    async fn enable_receive(&mut self, queues: &[Descriptors]) {
        let Some(ring) = queues.first() else { return };
        let r = &self.registers;
        let base = K::LAYOUT.receive;
        r.write32(K::LAYOUT.psrtype, 0);
        self.place(base, ring);
        let size = (self.buffer >> SRRCTL_SIZE_SHIFT) as u32;
        r.write32(K::LAYOUT.srrctl, size | SRRCTL_ONE_BUFFER | SRRCTL_DROP_EN);
        let tags = if self.strips_tags { K::LAYOUT.strip_tags } else { 0 };
        self.enable_queue(base, K::LAYOUT.rxdctl | tags).await;
        // The tail comes after the enable.
        self.set_receive_tail(0, ring.tail);
    }

    async fn enable_transmit(&mut self, ring: Descriptors) {
        let base = K::LAYOUT.transmit;
        self.place(base, &ring);
        // Completions are reported in the descriptors.
        self.registers.write32(base + queue::HEAD_WRITE_BACK, 0);
        self.enable_queue(base, K::LAYOUT.txdctl).await;
    }

    /// Causes are masked and acknowledged by the driver, as the physical function's are: all
    /// entries raise one interrupt.
    fn route_interrupts(&mut self, vector: &Vector) {
        let r = &self.registers;
        // Where there are too few entries, the last is shared.
        let last = u32::from(vector.entries) - 1;
        let [transmit, receive, other] = [TRANSMIT, RECEIVE, OTHER].map(|entry| entry.min(last));
        for entry in 0..=last as usize {
            r.write32(K::LAYOUT.eitr + 4 * entry, K::LAYOUT.throttle);
        }
        let queues = IVAR_VALID | receive | (IVAR_VALID | transmit) << IVAR_TRANSMIT_SHIFT;
        r.write32(K::LAYOUT.ivar, queues);
        r.write32(K::LAYOUT.ivar_misc, IVAR_VALID | other);
        self.receive_causes = 1 << receive | 1 << other;
        self.transmit_causes = 1 << transmit;
    }

    fn mask_interrupts(&self) {
        self.registers.write32(K::LAYOUT.eimc, u32::MAX);
    }

    fn unmask_interrupts(&self, with_transmit: bool) {
        let transmit = if with_transmit { self.transmit_causes } else { 0 };
        self.registers.write32(K::LAYOUT.eims, self.receive_causes | transmit);
    }

    /// The causes first: a message that comes in between raises its own again.
    fn take_causes(&mut self) -> bool {
        self.registers.write32(K::LAYOUT.eicr, u32::MAX);
        let changed = self.mailbox.poll();
        self.ask_for_groups::<K>();
        changed
    }

    fn set_receive_tail(&self, _queue: usize, tail: usize) {
        self.registers.write32(K::LAYOUT.receive + queue::TAIL, tail as u32);
    }

    fn set_transmit_tail(&self, tail: usize) {
        self.registers.write32(K::LAYOUT.transmit + queue::TAIL, tail as u32);
    }

    fn take_errors(&mut self) -> (u64, u64) {
        let dropped = K::LAYOUT.dropped.map_or(0, |register| self.registers.read32(register));
        (dropped.into(), 0)
    }

    fn needs_reset(&self) -> bool {
        self.mailbox.is_answered()
    }
}

impl<K: Kind> VirtualFunction<K> {
    /// Asks for what the host may refuse.
    async fn ask(&mut self, request: &[u32], refusal: Refusal) -> Result<(), Trouble> {
        let answer = self.mailbox.ask(request).await.ok_or(Trouble::Silent)?;
        if is_granted(&answer) { Ok(()) } else { Err(Trouble::Refused(refusal)) }
    }

    fn place(&self, base: usize, ring: &Descriptors) {
        let r = &self.registers;
        r.write32(base, ring.address as u32);
        r.write32(base + queue::BASE_HIGH, (ring.address >> 32) as u32);
        r.write32(base + queue::LENGTH, ring.bytes as u32);
        r.write32(base + queue::HEAD, 0);
        r.write32(base + queue::TAIL, 0);
    }

    /// Enables the queue whose first register is at `base`.
    async fn enable_queue(&self, base: usize, control: u32) {
        let register = base + queue::CONTROL;
        self.registers.write32(register, control | queue::ENABLE);
        if !wait_for(QUEUE_US, || self.registers.read32(register) & queue::ENABLE != 0).await {
            log::warn!("{}: the queue at {base:#x} is not enabled in time", K::FAMILY);
        }
    }
}

impl<K> VirtualFunction<K> {
    /// Asks for the groups that are still to be asked for. Nobody waits for the answer, which an
    /// interrupt announces.
    fn ask_for_groups<F: Kind>(&mut self) {
        if !self.mailbox.is_known() {
            return;
        }
        let every = F::every_group();
        if let Some(answer) = self.mailbox.take_answer() {
            let asked_for_every = self.every_for.take();
            let has_mode = asked_for_every.is_none() || !F::GROUPS_HAVE_MODES;
            if !(is_granted(&answer) && (has_mode || answer[1] == every[1])) {
                let family = F::FAMILY;
                match asked_for_every {
                    Some(groups) => {
                        log::warn!("{family}: the host does not grant every group");
                        // Unless there are others by now.
                        self.groups.get_or_insert(groups.first());
                    }
                    None => log::warn!("{family}: the host refuses frames to groups"),
                }
            }
        }
        let Some(groups) = &self.groups else { return };
        let request = groups.request().unwrap_or(&every);
        if self.mailbox.post(request)
            && let Some(groups) = self.groups.take()
        {
            self.every_for = groups.request().is_none().then_some(groups);
        }
    }
}

/// A request for frames to groups.
struct Groups {
    words: [u32; mailbox::WORDS],
    count: usize,
}

impl Groups {
    fn of(table: &Table) -> Self {
        let mut groups = Self { words: [0; mailbox::WORDS], count: 0 };
        for (index, number) in table.numbers().enumerate() {
            if let Some(word) = groups.words.get_mut(1 + index / 2) {
                *word |= u32::from(number) << (16 * (index % 2));
            }
            groups.count += 1;
        }
        let count = groups.count.min(MOST_GROUPS) as u32;
        groups.words[0] = request::SET_GROUPS | count << request::COUNT_SHIFT;
        groups
    }

    /// Those that there is room for.
    fn first(self) -> Self {
        Self { count: self.count.min(MOST_GROUPS), ..self }
    }

    /// `None` if there is no room for that many.
    fn request(&self) -> Option<&[u32]> {
        let words = 1 + self.count.div_ceil(2);
        (self.count <= MOST_GROUPS).then(|| &self.words[..words])
    }
}

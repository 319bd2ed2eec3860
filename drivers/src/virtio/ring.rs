//! The split virtqueue (Virtual I/O Device 1.3, 2.7): descriptors, and the two rings in which their
//! numbers go to the device and come back.
//!
//! Both sides say at which index they want to be told of progress (2.7.7, 2.7.10). So polling with
//! interrupts off costs nothing: the index that was asked for last lies behind.

use ::virtio::virtq::{AvailF, DescF, UsedF};
use core::sync::atomic::{Ordering, fence};
use unikernel::dma::{Coherent, Completed, Error, Pool};

/// The available ring's flags and index, before its entries.
const AVAIL_FLAGS: usize = 0;
const AVAIL_INDEX: usize = 1;
const AVAIL_ENTRIES: usize = 2;
/// The used ring has its flags and index in one word, entries of two words after it.
const USED_INDEX: usize = 0;
const USED_ENTRIES: usize = 1;

/// A used buffer. Both numbers are the device's word.
#[derive(Debug)]
pub(super) struct Used {
    /// The descriptor that heads the chain.
    pub(super) id: usize,
    /// Bytes written.
    pub(super) len: usize,
    /// That the device is done with it.
    pub(super) done: Completed,
}

pub(super) struct Ring {
    /// Two words a descriptor: address; length, flags and next.
    descriptors: Coherent<u64>,
    avail: Coherent<u16>,
    used: Coherent<u32>,
    size: u16,
    has_event_index: bool,
    /// The hypervisor's dirty log sees what the device writes.
    is_logged: bool,
    /// Index of the available ring as written so far, and as the device knows it.
    next_avail: u16,
    told: u16,
    /// Index of the next used entry to look at.
    next_used: u16,
    /// The same when the used ring was last marked.
    marked: u16,
}

impl Ring {
    /// A ring of `size` descriptors, a power of two, that asks for no interrupt. Its device's
    /// writes are marked unless the hypervisor's dirty log sees them anyway.
    pub(super) fn new(
        pool: &'static Pool,
        size: u16,
        has_event_index: bool,
        is_logged: bool,
    ) -> Result<Self, Error> {
        let entries = usize::from(size);
        let mut ring = Self {
            descriptors: pool.coherent(2 * entries, 16)?,
            avail: pool.coherent(AVAIL_ENTRIES + entries + 1, 2)?,
            used: pool.coherent(USED_ENTRIES + 2 * entries + 1, 4)?,
            size,
            has_event_index,
            is_logged,
            next_avail: 0,
            told: 0,
            next_used: 0,
            marked: 0,
        };
        ring.disable_interrupt();
        if has_event_index {
            ring.ask_for_interrupt_at(u16::MAX);
        }
        Ok(ring)
    }

    /// Device addresses of the descriptors, the driver's and the device's ring.
    pub(super) fn device_addresses(&self) -> [u64; 3] {
        [self.descriptors.device_address(), self.avail.device_address(), self.used.device_address()]
    }

    pub(super) fn size(&self) -> u16 {
        self.size
    }

    /// Sets where a descriptor points; the rest of it stays.
    pub(super) fn set_address(&mut self, id: usize, address: u64) {
        self.descriptors.write(2 * id, address);
    }

    /// Sets the rest of a descriptor.
    pub(super) fn set_rest(&mut self, id: usize, len: usize, flags: DescF, next: usize) {
        let flags = u64::from(flags.bits().to_ne());
        self.descriptors.write(2 * id + 1, len as u64 | flags << 32 | (next as u64) << 48);
    }

    /// Makes the chain that starts at descriptor `id` available, as of the next [`Ring::publish`].
    pub(super) fn push(&mut self, id: usize) {
        let entry = usize::from(self.next_avail & (self.size - 1));
        self.avail.write(AVAIL_ENTRIES + entry, id as u16);
        self.next_avail = self.next_avail.wrapping_add(1);
    }

    /// Shows the device what was pushed. Returns whether it wants to be notified.
    pub(super) fn publish(&mut self) -> bool {
        if self.marked != self.next_used {
            self.mark_completed();
        }
        let (old, new) = (self.told, self.next_avail);
        if old == new {
            return false;
        }
        self.avail.write(AVAIL_INDEX, new);
        self.told = new;
        // The device writes its wish first and looks at the index then: the index has to be visible
        // before the wish is read (2.7.13.4.1).
        fence(Ordering::SeqCst);
        if self.has_event_index {
            let event = self.used.read(self.used.len() - 1) as u16;
            new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
        } else {
            self.used.read(0) as u16 & UsedF::NO_NOTIFY.bits().to_ne() == 0
        }
    }

    /// Marks what the device has written: the used ring, which is one page or two.
    pub(super) fn mark_completed(&mut self) {
        if !self.is_logged {
            self.used.mark(0..self.used.len());
        }
        self.marked = self.next_used;
    }

    /// Whether a used buffer waits.
    pub(super) fn is_pending(&self) -> bool {
        self.pending(self.used.read(USED_INDEX)) != 0
    }

    /// The next used buffer.
    pub(super) fn pop(&mut self) -> Option<Used> {
        // The entry is read after the index that covers it.
        let pending = |word| (self.pending(word) != 0).then_some(());
        let ((), done) = self.used.completed(USED_INDEX, pending)?;
        let at = USED_ENTRIES + 2 * usize::from(self.next_used & (self.size - 1));
        let (id, len) = (self.used.read(at), self.used.read(at + 1));
        self.next_used = self.next_used.wrapping_add(1);
        Some(Used { id: id as usize, len: len as usize, done })
    }

    /// Asks for an interrupt at the next used buffer. One that came before that makes none: look
    /// at [`Ring::is_pending`] afterwards.
    pub(super) fn enable_interrupt(&mut self) {
        if self.has_event_index {
            self.ask_for_interrupt_at(self.next_used);
        } else {
            self.avail.write(AVAIL_FLAGS, 0);
        }
        fence(Ordering::SeqCst);
    }

    /// Asks for none. An earlier wish may still come true once.
    pub(super) fn disable_interrupt(&mut self) {
        if !self.has_event_index {
            self.avail.write(AVAIL_FLAGS, AvailF::NO_INTERRUPT.bits().to_ne());
        }
    }

    fn ask_for_interrupt_at(&mut self, index: u16) {
        self.avail.write(AVAIL_ENTRIES + usize::from(self.size), index);
    }

    /// Used buffers not looked at, by the word that has the index. A device that claims more than
    /// it can have has none.
    fn pending(&self, word: u32) -> u16 {
        let index = (word >> 16) as u16;
        let pending = index.wrapping_sub(self.next_used);
        if pending <= self.size { pending } else { 0 }
    }
}

//! The pool's bytes: the one place where DMA memory is a raw pointer.

use core::ops::Range;
use core::ptr::{self, NonNull};

use super::{Error, PAGE_SIZE, free_list, slots};

/// The memory a [`Pool`](super::Pool) is made of: whole pages that CPU and devices both reach.
#[derive(Debug)]
pub struct PoolMemory {
    base: NonNull<u8>,
    device: u64,
    len: usize,
}

// SAFETY: the memory belongs to the pool alone (contract of `new`) and is not tied to a thread.
unsafe impl Send for PoolMemory {}
// SAFETY: the methods below that touch the bytes are either atomic or unsafe with the caller
// answering for exclusive ownership of the range.
unsafe impl Sync for PoolMemory {}

impl PoolMemory {
    /// Takes over `len` bytes at `base`, which devices reach at `device`.
    ///
    /// # Errors
    /// [`Error::BadMemory`] if one of the three is not a multiple of 4 KiB, or `len` is zero or
    /// does not fit the books.
    ///
    /// # Safety
    /// `base` must be valid for reads and writes of `len` bytes for the rest of the program,
    /// initialised, mapped write-back, and used by nothing else; `device` must be the address at
    /// which devices find that same memory, contiguously.
    pub unsafe fn new(base: NonNull<u8>, device: u64, len: usize) -> Result<Self, Error> {
        let page = PAGE_SIZE as u64;
        let aligned = base.addr().get().is_multiple_of(PAGE_SIZE)
            && device.is_multiple_of(page)
            && len.is_multiple_of(PAGE_SIZE);
        let fits = len != 0
            && u32::try_from(len / slots::SLOT_SIZE).is_ok_and(|n| n < free_list::NONE)
            && device.checked_add(len as u64).is_some();
        if aligned && fits { Ok(Self { base, device, len }) } else { Err(Error::BadMemory) }
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never true: a pool has at least one page.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The address at which devices see the first byte.
    pub fn device_address(&self) -> u64 {
        self.device
    }

    /// A pointer to `len` bytes at `offset`, checked against the pool's end: a wrong offset does
    /// not become a wild pointer.
    #[inline]
    fn at(&self, offset: usize, len: usize) -> *mut u8 {
        assert!(
            offset.checked_add(len).is_some_and(|end| end <= self.len),
            "DMA memory {offset:#x}+{len:#x} is outside the pool"
        );
        // SAFETY: offset is within the memory that `base` points to, by the check above.
        unsafe { self.base.as_ptr().add(offset) }
    }

    /// Where a range begins. Not checked again for each look at a packet: whoever has a run has
    /// checked the range against it.
    ///
    /// # Safety
    /// The range is inside of the pool.
    #[inline]
    unsafe fn in_run(&self, range: &Range<usize>) -> *mut u8 {
        debug_assert!(range.start <= range.end && range.end <= self.len);
        // SAFETY: inside of the memory that `base` points to, by our contract.
        unsafe { self.base.as_ptr().add(range.start) }
    }

    /// `count` elements from `offset` on, checked once for all accesses.
    ///
    /// # Safety
    /// As long as they are used the range is the caller's, and no reference to it exists.
    ///
    /// # Panics
    /// If they are not aligned, or not in the pool.
    pub(super) unsafe fn elements<T>(&self, offset: usize, count: usize) -> Elements<T> {
        let bytes = count.checked_mul(size_of::<T>()).expect("a ring fits into a run");
        let first = NonNull::new(self.at(offset, bytes).cast::<T>()).expect("`base` is not null");
        assert!(first.is_aligned());
        Elements { first, count }
    }

    /// The bytes of a range.
    ///
    /// # Safety
    /// The caller's run contains the range, the CPU owns it, and for the life of the slice nothing
    /// writes to it.
    #[inline]
    pub(super) unsafe fn bytes(&self, range: Range<usize>) -> &[u8] {
        // SAFETY: runs are in the pool, and the caller's contains the range.
        let start = unsafe { self.in_run(&range) };
        // SAFETY: in bounds by `in_run`, initialised by `new`, and by the caller's contract not
        // written.
        unsafe { core::slice::from_raw_parts(start, range.len()) }
    }

    /// The bytes of a range, to be written.
    ///
    /// # Safety
    /// The caller's run contains the range, the CPU owns it, and for the life of the slice nothing
    /// else reads or writes it.
    #[allow(clippy::mut_from_ref, reason = "the run that owns the range is the exclusive borrow")]
    #[inline]
    pub(super) unsafe fn bytes_mut(&self, range: Range<usize>) -> &mut [u8] {
        // SAFETY: runs are in the pool, and the caller's contains the range.
        let start = unsafe { self.in_run(&range) };
        // SAFETY: in bounds by `in_run`, initialised by `new`, exclusive by the caller's contract.
        unsafe { core::slice::from_raw_parts_mut(start, range.len()) }
    }

    /// Writes the byte at `offset` back as it is, so that the hypervisor's dirty log sees a write.
    ///
    /// An atomic add of zero rather than a load and a store: whatever a device puts there at the
    /// same moment stays. A byte rather than a word: one byte lies inside any completed range, a
    /// word may reach over its edge into what a device is still writing. To a page table's dirty
    /// bit they are the same.
    #[inline]
    pub(super) fn touch(&self, offset: usize) {
        add_zero(self.at(offset, 1));
    }
}

/// Elements that the CPU and a device share, each read and written whole.
#[derive(Debug)]
pub(super) struct Elements<T> {
    first: NonNull<T>,
    count: usize,
}

// SAFETY: as for the pool's memory, of which they are a part that has one owner.
unsafe impl<T> Send for Elements<T> {}
// SAFETY: shared, they are only read, and that is volatile.
unsafe impl<T> Sync for Elements<T> {}

impl<T: zerocopy::FromBytes + zerocopy::IntoBytes> Elements<T> {
    /// How many there are.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Reads one that a device may be writing. Volatile: the value may be torn between its parts,
    /// never undefined, since every bit pattern is a `T`.
    #[inline]
    pub(super) fn read(&self, index: usize) -> T {
        let at = self.at(index);
        // SAFETY: in bounds and aligned; any bytes are a valid T. A device is no thread of this
        // program: its writes are, as with MMIO, what volatile is for.
        unsafe { ptr::read_volatile(at) }
    }

    /// Writes one that a device may be reading.
    #[inline]
    pub(super) fn write(&mut self, index: usize, value: T) {
        let at = self.at(index);
        // SAFETY: in bounds and aligned. The range is its owner's, by the contract of
        // `PoolMemory::elements`, so no reference to these bytes exists.
        unsafe { ptr::write_volatile(at, value) }
    }

    #[inline]
    fn at(&self, index: usize) -> *mut T {
        assert!(index < self.count, "element {index} of a ring of {}", self.count);
        // SAFETY: below the count that was checked against the pool.
        unsafe { self.first.as_ptr().add(index) }
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn add_zero(byte: *mut u8) {
    // Assembly because a compiler may turn `fetch_add(0)` into a fence and a load (LLVM does),
    // which dirties nothing. SAFETY: `byte` is in the pool (checked by `at`). The value stays what
    // it is, so neither a reference to it elsewhere nor a device can tell.
    unsafe {
        core::arch::asm!("lock add byte ptr [{}], 0", in(reg) byte, options(nostack));
    }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn add_zero(byte: *mut u8) {
    // SAFETY: `byte` is in the pool (checked by `at`) and valid for the program's life.
    let byte = unsafe { core::sync::atomic::AtomicU8::from_ptr(byte) };
    byte.fetch_add(core::hint::black_box(0), core::sync::atomic::Ordering::Relaxed);
}

/// On the host: memory from the allocator, and the device's way to it.
#[cfg(not(target_os = "none"))]
impl PoolMemory {
    /// Zeroed memory that a fake device sees at `device`. Never freed, like a machine's.
    ///
    /// # Panics
    /// If `len` or `device` is not a multiple of 4 KiB, or there is no memory.
    pub fn allocate(device: u64, len: usize) -> Self {
        let layout = std::alloc::Layout::from_size_align(len.max(PAGE_SIZE), PAGE_SIZE).unwrap();
        // SAFETY: the layout's size is not zero.
        let base = NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) }).expect("memory");
        // SAFETY: fresh, zeroed, never freed, known to nobody else; the fake device's addresses are
        // translated by `device_write` and `device_read` only.
        unsafe { Self::new(base, device, len) }.expect("a pool of whole pages")
    }

    /// What a device does: writes without the CPU, hence without the dirty log, noticing.
    pub(super) fn device_write(&self, offset: usize, data: &[u8]) {
        let to = self.at(offset, data.len());
        // SAFETY: in bounds by `at`; whoever else has the bytes, the fake device has checked that
        // they are a device's to write.
        unsafe { ptr::copy(data.as_ptr(), to, data.len()) };
    }

    /// What a device does: reads what the CPU wrote.
    pub(super) fn device_read(&self, offset: usize, data: &mut [u8]) {
        let from = self.at(offset, data.len());
        // SAFETY: in bounds by `at`. A page copied while a device writes it may come out torn, as
        // on a real machine; the copy is bytes, of which all values are valid.
        unsafe { ptr::copy(from, data.as_mut_ptr(), data.len()) };
    }
}

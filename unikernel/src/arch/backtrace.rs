//! Return addresses found by following frame pointers, for whoever runs `addr2line` on the image.

// From entry.s and the linker script.
unsafe extern "C" {
    static stack_bottom: u8;
    static stack_top: u8;
    static image_start: u8;
    static text_end: u8;
}

const MAX_DEPTH: usize = 24;

/// The frame pointer of the function that this is inlined into.
#[inline(always)]
pub(crate) fn frame_pointer() -> u64 {
    let rbp;
    // SAFETY: reads a register.
    unsafe { core::arch::asm!("mov {}, rbp", out(reg) rbp, options(nomem, nostack)) };
    rbp
}

/// The return addresses of the frames from `rbp` up.
///
/// Trusts nothing on the stack: it ends at the first frame that does not lie further up the main
/// stack than the last, or does not return into the image's code.
pub(crate) fn return_addresses(mut rbp: u64) -> impl Iterator<Item = u64> {
    let (bottom, top) = (&raw const stack_bottom as u64, &raw const stack_top as u64);
    let (text, end) = (&raw const image_start as u64, &raw const text_end as u64);
    let mut above = bottom;
    let frames = core::iter::from_fn(move || {
        if rbp < above || rbp > top - 16 || !rbp.is_multiple_of(8) {
            return None;
        }
        // SAFETY: two aligned words within the main stack, which is always mapped.
        let [caller, return_address] = unsafe { *(rbp as *const [u64; 2]) };
        above = rbp + 16;
        rbp = caller;
        (text..end).contains(&return_address).then_some(return_address)
    });
    frames.take(MAX_DEPTH)
}

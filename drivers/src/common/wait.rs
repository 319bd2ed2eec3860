use unikernel::time::now_ns;

/// Looks that are taken in any case: time also passes while the processor is away, as a virtual one
/// is at times, and that says nothing of the hardware.
const LOOKS: u32 = 16;

/// Looks until `condition` holds; `false` if it does not within `microseconds`. For waits that
/// hardware bounds by microseconds and virtual hardware by nothing.
pub(crate) fn wait_for(microseconds: u64, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = now_ns() + microseconds * 1000;
    let mut looks = 0;
    while looks < LOOKS || now_ns() < deadline {
        if condition() {
            return true;
        }
        looks += 1;
        core::hint::spin_loop();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_that_was_away_looks_again() {
        let mut looks = 0;
        assert!(wait_for(0, || {
            looks += 1;
            looks == LOOKS
        }));
        assert!(!wait_for(0, || false));
    }
}

use unikernel::time::now_ns;

/// Looks until `condition` holds; `false` if it does not within `microseconds`. For waits that
/// hardware bounds by microseconds and virtual hardware by nothing.
pub(crate) fn wait_for(microseconds: u64, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = now_ns() + microseconds * 1000;
    loop {
        if condition() {
            return true;
        }
        if now_ns() >= deadline {
            return false;
        }
        core::hint::spin_loop();
    }
}

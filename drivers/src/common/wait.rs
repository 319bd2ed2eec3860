use embassy_futures::yield_now;
use unikernel::time::now_ns;

/// Looks that are taken in any case: time also passes while the processor is away, as a virtual one
/// is at times, and that says nothing of the hardware.
const LOOKS: u32 = 16;

/// How long nobody else runs at most. What hardware does in less, which is most of it, costs no
/// turn of other tasks.
const BUSY_NS: u64 = 50_000;

/// Looks until `condition` holds; `false` if it does not within `microseconds`. For waits that
/// hardware bounds by microseconds and virtual hardware by nothing. Other tasks run meanwhile.
pub(crate) async fn wait_for(microseconds: u64, mut condition: impl FnMut() -> bool) -> bool {
    let start = now_ns();
    let deadline = start + microseconds * 1000;
    let mut looks = 0;
    loop {
        let now = now_ns();
        if looks >= LOOKS && now >= deadline {
            return false;
        }
        if condition() {
            return true;
        }
        looks += 1;
        if now - start < BUSY_NS {
            core::hint::spin_loop();
        } else {
            yield_now().await;
        }
    }
}

/// Waits so long, however short. Other tasks run meanwhile.
pub(crate) async fn pause(microseconds: u64) {
    wait_for(microseconds, || false).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::Cell;
    use embassy_futures::block_on;
    use embassy_futures::select::select;

    #[test]
    fn a_processor_that_was_away_looks_again() {
        let mut looks = 0;
        let condition = || {
            looks += 1;
            looks == LOOKS
        };
        assert!(block_on(wait_for(0, condition)));
        assert!(!block_on(wait_for(0, || false)));
    }

    #[test]
    fn others_run_while_one_waits() {
        let turns = Cell::new(0);
        let others = async {
            loop {
                turns.set(turns.get() + 1);
                yield_now().await;
            }
        };
        block_on(select(pause(5_000), others));
        // Alone, or at the end, they would have had one.
        assert!(turns.get() > 10, "{} turns", turns.get());
    }
}

//! A panic prints where and why, then ends the machine.

use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

use super::end;
use crate::arch::backtrace;
use crate::{console, power};

#[panic_handler]
fn on_panic(info: &PanicInfo<'_>) -> ! {
    static PANICKED: AtomicBool = AtomicBool::new(false);
    x86_64::instructions::interrupts::disable();
    // A panic while one is being printed: the second message is the one that cannot be trusted.
    if PANICKED.swap(true, Ordering::Relaxed) {
        power::exit(power::FAILED)
    }
    console::finish();
    crate::println!("{info}");
    end(backtrace::frame_pointer())
}

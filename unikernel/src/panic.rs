//! A panic prints where and why, then ends the machine.

use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::arch::backtrace;
use crate::power;

#[panic_handler]
fn on_panic(info: &PanicInfo<'_>) -> ! {
    static PANICKED: AtomicBool = AtomicBool::new(false);
    x86_64::instructions::interrupts::disable();
    // A panic while one is being printed: the second message is the one that cannot be trusted.
    if !PANICKED.swap(true, Ordering::Relaxed) {
        crate::console::finish();
        crate::println!("{info}");
        backtrace::print(backtrace::frame_pointer());
    }
    power::exit(power::FAILED)
}

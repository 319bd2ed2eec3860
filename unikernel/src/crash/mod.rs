//! How the machine ends when something is wrong: with words on the console.

mod exception;
mod nmi;
mod panic;
mod watchdog;

use crate::arch::backtrace;
use crate::{console, power, pvpanic};

pub(crate) use exception::on_exception;
pub(crate) use watchdog::{Patience, start as start_watchdog};

/// Says which way led here, from the frame at `rbp` up, and what was said before, tells the
/// hypervisor, and ends the machine.
fn end(rbp: u64) -> ! {
    for address in backtrace::return_addresses(rbp) {
        crate::println!("  from {address:#x}");
    }
    crate::println!("the last lines before that:");
    console::print_last_lines();
    // Last, since the machine may be stopped there.
    pvpanic::signal();
    power::exit(power::FAILED)
}

//! A non-maskable interrupt, such as a hypervisor's "inject NMI": somebody asks where the machine
//! is. It says so, and goes on.

use crate::arch::backtrace;
use crate::arch::interrupts::Frame;
use crate::console::print_at_once;

/// Prints where the processor was.
///
/// It may have been anywhere, in a critical section too. So nothing is used here that others have
/// half-changed: no heap, no waiting lines, no locks.
pub(super) fn on_nmi(frame: &Frame) {
    // A line may have been in the middle.
    print_at_once(format_args!("\nnmi: at {:#x}, and goes on", frame.rip));
    for address in backtrace::return_addresses(frame.rbp) {
        print_at_once(format_args!("  from {address:#x}"));
    }
}

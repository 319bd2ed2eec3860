//! The async executor: one, on the boot processor, asleep in `hlt` when nothing is runnable.
//!
//! Interrupt handlers only note what was raised. The tasks that wait for it are woken here, between
//! two rounds of tasks, where code of any kind may run: a waker may free memory, a handler may not.

use core::sync::atomic::{AtomicBool, Ordering};

use embassy_executor::Spawner;
use embassy_executor::raw::Executor;
use x86_64::instructions::interrupts;

use crate::arch::interrupts::{Raised, enable_and_sleep, is_raised, take_raised};
use crate::{irq, time};

/// A task is runnable.
static RUNNABLE: AtomicBool = AtomicBool::new(false);

/// `embassy-executor` calls this, by this name, when a task becomes runnable.
#[unsafe(export_name = "__pender")]
fn pend(_context: *mut ()) {
    RUNNABLE.store(true, Ordering::Release);
}

/// Runs tasks for good; `init` spawns the first ones. Switches interrupts on.
pub(crate) fn run(init: impl FnOnce(Spawner)) -> ! {
    let executor: &'static Executor =
        alloc::boxed::Box::leak(alloc::boxed::Box::new(Executor::new(core::ptr::null_mut())));
    interrupts::enable();
    init(executor.spawner());
    loop {
        for raised in take_raised() {
            match raised {
                Raised::Timer => time::on_timer(),
                Raised::Line(line) => irq::raise_line(line),
                Raised::Message(message) => irq::raise_message(message),
            }
        }
        // SAFETY: this loop is the only caller, and the pender does not call it.
        unsafe { executor.poll() };
        // With interrupts off nothing is raised between the look and the sleep.
        interrupts::disable();
        if RUNNABLE.swap(false, Ordering::Acquire) | is_raised() {
            interrupts::enable();
        } else {
            time::before_sleep();
            enable_and_sleep();
        }
    }
}

struct SingleProcessor;

critical_section::set_impl!(SingleProcessor);

// SAFETY: one processor runs this kernel, so with interrupts off nothing else does but an NMI
// or a machine check, which enters no critical section that it could find half-done.
unsafe impl critical_section::Impl for SingleProcessor {
    unsafe fn acquire() -> bool {
        let were_enabled = interrupts::are_enabled();
        interrupts::disable();
        were_enabled
    }

    unsafe fn release(were_enabled: bool) {
        if were_enabled {
            interrupts::enable();
        }
    }
}

//! What `log`'s macros print: a time, a level and where it comes from, on the console.
//!
//! What is said at `debug` is kept for a crash to tell, also where the console is spared it. There
//! is little of that, and none for each packet or connection: strangers could push the rest out.

use core::sync::atomic::{AtomicUsize, Ordering};

use log::LevelFilter;

use crate::console::{keep_line, print_line};
use crate::time;

/// What is kept at least.
const KEPT: LevelFilter = LevelFilter::Debug;

/// What is printed: a `LevelFilter`, and so in the order of `Level`.
static PRINTED: AtomicUsize = AtomicUsize::new(LevelFilter::Off as usize);

/// Starts logging, and prints what is said at `level`.
pub(crate) fn init(level: LevelFilter) {
    static LOGGER: Logger = Logger;
    PRINTED.store(level as usize, Ordering::Relaxed);
    // Only a second call can fail, and there is none.
    let _ = log::set_logger(&LOGGER);
    log::set_max_level(level.max(KEPT));
}

struct Logger;

impl log::Log for Logger {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &log::Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let us = time::now_ns() / 1000;
        let is_printed = record.level() as usize <= PRINTED.load(Ordering::Relaxed);
        let to = if is_printed { print_line } else { keep_line };
        to(format_args!(
            "[{:5}.{:06}] {:5} {}: {}",
            us / 1_000_000,
            us % 1_000_000,
            record.level().as_str(),
            record.target(),
            record.args()
        ));
    }

    fn flush(&self) {}
}

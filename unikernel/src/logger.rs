//! What `log`'s macros print: a time, a level and where it comes from, on the console.

use crate::console::print_line;
use crate::time;

/// Starts logging at `level`.
pub(crate) fn init(level: log::LevelFilter) {
    static LOGGER: Logger = Logger;
    // Only a second call can fail, and there is none.
    let _ = log::set_logger(&LOGGER);
    log::set_max_level(level);
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
        print_line(format_args!(
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

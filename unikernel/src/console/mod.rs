//! The console: COM1 on the target, standard output on a host.
//!
//! Lines other programs wait for go through [`println!`](crate::println); everything meant for
//! people goes through `log`, which puts a time and a level in front.
//!
//! Each byte takes a virtual machine an exit to its hypervisor. Once tasks run, lines therefore
//! wait in memory for one of them, which writes a few bytes at a time and lets the others have
//! their turn: a NIC's ring must not fill meanwhile.

use core::fmt::{self, Write};

/// Prints one line on the console, without the time and level of a log line.
#[macro_export]
macro_rules! println {
    ($($argument:tt)*) => {
        $crate::console::print_line(::core::format_args!($($argument)*))
    };
}

/// The body of [`println!`](crate::println).
#[doc(hidden)]
pub fn print_line(arguments: fmt::Arguments<'_>) {
    each_piece(arguments, |piece| {
        #[cfg(target_os = "none")]
        deferred::keep(piece);
        write(piece);
    });
}

/// Keeps a line for [`print_last_lines`], and does not print it.
#[cfg(target_os = "none")]
pub(crate) fn keep_line(arguments: fmt::Arguments<'_>) {
    each_piece(arguments, deferred::keep);
}

/// The line in pieces.
fn each_piece(arguments: fmt::Arguments<'_>, to: impl FnMut(&[u8])) {
    let mut line = Line { buffer: heapless::Vec::new(), to };
    // `Line` never fails; a `Display` that does has printed what it could.
    let _ = line.write_fmt(arguments);
    let _ = line.write_str("\n");
    line.flush();
}

/// Prints one line before all that waits, and waits for nobody: for a handler that may have
/// interrupted whoever prints.
#[cfg(target_os = "none")]
pub(crate) fn print_at_once(arguments: fmt::Arguments<'_>) {
    struct Serial;

    impl Write for Serial {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            crate::arch::serial::write(text.as_bytes());
            Ok(())
        }
    }

    // As in `print_line`.
    let _ = Serial.write_fmt(arguments);
    let _ = Serial.write_str("\n");
}

/// Waits until everything printed so far is written: before something after which the machine may
/// go on elsewhere.
pub async fn written() {
    #[cfg(target_os = "none")]
    deferred::written().await;
}

/// Keeps the console silent until what this returns is dropped, for a moment in which nobody should
/// wait for it: a line takes a virtual machine milliseconds. A crash is told all the same.
pub fn hold() -> Hold {
    Hold::new()
}

/// Collects what the formatter hands over in fragments: a fragment each would cost a status read.
struct Line<W> {
    buffer: heapless::Vec<u8, 256>,
    to: W,
}

impl<W: FnMut(&[u8])> Line<W> {
    fn flush(&mut self) {
        (self.to)(&self.buffer);
        self.buffer.clear();
    }
}

impl<W: FnMut(&[u8])> Write for Line<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut bytes = text.as_bytes();
        while !bytes.is_empty() {
            let room = self.buffer.capacity() - self.buffer.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            // Cannot fail: `now` was cut to the room there is.
            let _ = self.buffer.extend_from_slice(now);
            if self.buffer.is_full() {
                self.flush();
            }
            bytes = later;
        }
        Ok(())
    }
}

#[cfg(target_os = "none")]
pub use deferred::Hold;
#[cfg(target_os = "none")]
use deferred::write;
#[cfg(target_os = "none")]
pub(crate) use deferred::{finish, print_last_lines, write_deferred};

#[cfg(target_os = "none")]
mod deferred;
#[cfg_attr(not(target_os = "none"), allow(dead_code, reason = "only tested on a host"))]
mod recent;

#[cfg(not(target_os = "none"))]
fn write(bytes: &[u8]) {
    // A closed standard output is no reason for a test to fail.
    let _ = std::io::Write::write_all(&mut std::io::stdout(), bytes);
}

/// A silence that nobody hears: on a host there is no console to wait for.
#[cfg(not(target_os = "none"))]
#[must_use = "dropped, it holds nothing"]
#[derive(Debug)]
pub struct Hold(());

#[cfg(not(target_os = "none"))]
impl Hold {
    fn new() -> Self {
        Self(())
    }
}

//! Progress of long work: a bar on a terminal, a line now and then anywhere else.

use std::{
    fmt::Display,
    io::IsTerminal,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

/// Between two lines when nobody watches a bar.
const LINE_INTERVAL: Duration = Duration::from_secs(15);

/// One piece of work with a title. Dropped unfinished, it leaves the terminal clean for an error.
pub(crate) struct Step {
    title: String,
    started: Instant,
    total: u64,
    /// `None` when standard error is no terminal.
    bar: Option<ProgressBar>,
    last_line: Instant,
}

impl Step {
    /// Work of unknown length.
    pub(crate) fn new(title: impl Display) -> Self {
        Self::start(title, 0, ProgressBar::new_spinner(), "{spinner} {prefix} {msg} {elapsed}")
    }

    /// Work of `total` units.
    pub(crate) fn with_total(title: impl Display, total: u64) -> Self {
        let template = "{prefix} [{bar:30}] {percent}% {msg} (about {eta} left)";
        Self::start(title, total, ProgressBar::new(total), template)
    }

    fn start(title: impl Display, total: u64, bar: ProgressBar, template: &str) -> Self {
        let title = title.to_string();
        let now = Instant::now();
        let bar = if std::io::stderr().is_terminal() {
            bar.set_style(
                ProgressStyle::with_template(template)
                    .expect("a constant template")
                    .progress_chars("=> "),
            );
            bar.set_prefix(title.clone());
            bar.enable_steady_tick(Duration::from_millis(120));
            Some(bar)
        } else {
            eprintln!("{title} ...");
            None
        };
        Self { title, started: now, total, bar, last_line: now }
    }

    /// `position` of the total is done.
    pub(crate) fn set(&mut self, position: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(position);
        } else if self.total > 0 && self.line_is_due() {
            eprintln!("{} ... {}%", self.title, position.min(self.total) * 100 / self.total);
        }
    }

    /// What is being done right now, or how far work of unknown length has come.
    pub(crate) fn message(&mut self, message: impl Display) {
        if let Some(bar) = &self.bar {
            bar.set_message(message.to_string());
        } else if self.line_is_due() {
            eprintln!("{} ... {message}", self.title);
        }
    }

    /// Ends the work with one line that stays.
    pub(crate) fn finish(self, outcome: impl Display) {
        let seconds = self.started.elapsed().as_secs_f64();
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        eprintln!("{}: {outcome} ({seconds:.1} s)", self.title);
    }

    fn line_is_due(&mut self) -> bool {
        let due = self.last_line.elapsed() >= LINE_INTERVAL;
        if due {
            self.last_line = Instant::now();
        }
        due
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

//! Progress of long work: a bar on a terminal, a line now and then anywhere else.

use std::{
    fmt::Display,
    io::IsTerminal,
    sync::LazyLock,
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::detail::{self, Detail};

/// Between two lines when nobody watches a bar.
const LINE_INTERVAL: Duration = Duration::from_secs(15);

/// Those of all work that is under way, one below the other.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Prints a line, or several, to standard output, with no bar between them.
pub fn line(text: &str) {
    BARS.suspend(|| println!("{text}"));
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("a constant template").progress_chars("=> ")
}

/// One piece of work with a title. Dropped unfinished, it leaves the terminal clean for an error.
pub struct Step {
    title: String,
    started: Instant,
    /// `None` when standard error is no terminal.
    bar: Option<ProgressBar>,
    /// Somebody wants to see it.
    is_shown: bool,
    last_line: Instant,
}

impl Step {
    /// Starts work whose length is not known, or not yet.
    pub fn new(title: impl Display) -> Self {
        let title = title.to_string();
        let now = Instant::now();
        let is_shown = detail::shows(Detail::Steps);
        let bar = if is_shown && std::io::stderr().is_terminal() {
            let bar = BARS.add(ProgressBar::new_spinner());
            bar.set_style(style("{spinner} {prefix} {wide_msg} {elapsed}"));
            bar.set_prefix(title.clone());
            bar.enable_steady_tick(Duration::from_millis(120));
            Some(bar)
        } else {
            if is_shown {
                eprintln!("{title} ...");
            }
            None
        };
        Self { title, started: now, bar, is_shown, last_line: now }
    }

    /// `done` of `total` units are done.
    pub fn set(&mut self, done: u64, total: u64) {
        if let Some(bar) = &self.bar {
            if bar.length() != Some(total) {
                bar.set_style(style("{prefix} [{bar:30}] {percent}% ({eta} left)"));
                bar.set_length(total);
            }
            bar.set_position(done);
        } else if total > 0 && self.line_is_due() {
            eprintln!("{} ... {}%", self.title, done.min(total) * 100 / total);
        }
    }

    /// What is being done right now, or how far work of unknown length has come.
    pub fn message(&mut self, message: impl Display) {
        if let Some(bar) = &self.bar {
            bar.set_message(message.to_string());
        } else if self.line_is_due() {
            eprintln!("{} ... {message}", self.title);
        }
    }

    /// Ends the work with one line that stays.
    pub fn finish(self, outcome: impl Display) {
        let seconds = self.started.elapsed().as_secs_f64();
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        if self.is_shown {
            BARS.suspend(|| eprintln!("{}: {outcome} ({seconds:.1} s)", self.title));
        }
    }

    fn line_is_due(&mut self) -> bool {
        let due = self.is_shown && self.last_line.elapsed() >= LINE_INTERVAL;
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

//! What is seen while it happens: throughput, memory left, pages marked. A line on a terminal that
//! is drawn again and again; a plain one now and then anywhere else.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use godwit_probe::Report;

use crate::{migration::MemoryLeft, segment::Segment, source::Latest, system::progress::Step};

/// Between two looks, in this machine's time.
const LOOK: Duration = Duration::from_millis(250);
/// Of the sparkline.
const WIDTH: usize = 24;
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// What is being done now, said by one thread and shown by another, and in the segment's capture.
#[derive(Clone)]
pub(super) struct Stage {
    step: Arc<Mutex<Option<Step>>>,
    segment: Arc<Segment>,
}

impl Stage {
    pub(super) fn new(segment: Arc<Segment>) -> Self {
        Self { step: Arc::default(), segment }
    }

    /// Ends the step before, and begins this one.
    pub(super) fn say(&self, what: &str) {
        self.finish();
        self.segment.remark(what);
        *self.step.lock().unwrap() = Some(Step::new(what));
    }

    /// Ends the last step.
    pub(super) fn finish(&self) {
        if let Some(step) = self.step.lock().unwrap().take() {
            step.finish("done");
        }
    }
}

/// Shows figures beside the step until dropped.
pub(super) struct Live {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Live {
    pub(super) fn start(stage: Stage, latest: Option<Latest>, left: MemoryLeft) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let ends = stop.clone();
        let thread = thread::spawn(move || {
            let mut figures = Figures::default();
            while !ends.load(Relaxed) {
                thread::sleep(LOOK);
                if let Some(report) = latest.as_ref().and_then(Latest::report) {
                    figures.take(&report);
                }
                let text = figures.line(left.bytes());
                if let (Some(step), false) = (&mut *stage.step.lock().unwrap(), text.is_empty()) {
                    step.message(text);
                }
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What was reported so far.
#[derive(Default)]
struct Figures {
    last: Option<Report>,
    /// Bits a second, the latest last.
    rates: VecDeque<f64>,
    /// Pages a second.
    marked: f64,
    /// Nothing new was reported since the last look.
    is_silent: bool,
}

impl Figures {
    fn take(&mut self, report: &Report) {
        let last = self.last.replace(*report);
        let Some(last) = last.filter(|last| last.stream == report.stream) else {
            self.rates.clear();
            return;
        };
        let ms = report.guest_ms.get().saturating_sub(last.guest_ms.get());
        self.is_silent = ms == 0;
        let per_s = |more: u64| if ms == 0 { 0.0 } else { more as f64 * 1000.0 / ms as f64 };
        let pages = |of: &Report| of.pages_marked.get() + of.pages_caught_up.get();
        self.marked = per_s(pages(report).saturating_sub(pages(&last)));
        self.rates.push_back(per_s(report.bytes.get().saturating_sub(last.bytes.get())) * 8.0);
        if self.rates.len() > WIDTH {
            self.rates.pop_front();
        }
    }

    fn line(&self, left: Option<u64>) -> String {
        let mut parts = Vec::new();
        if let Some(rate) = self.rates.back() {
            parts.push(match self.is_silent {
                true => format!("{} no report", self.sparkline()),
                false => format!("{} {:.0} Mbit/s", self.sparkline(), rate / 1e6),
            });
        }
        if let Some(left) = left {
            parts.push(format!("{} MiB left", left >> 20));
        }
        if self.marked > 0.0 {
            parts.push(format!("{:.0} pages/s marked", self.marked));
        }
        parts.join(", ")
    }

    fn sparkline(&self) -> String {
        let top = self.rates.iter().copied().fold(1.0, f64::max);
        let bar = |rate: &f64| {
            let height = (rate / top * (BARS.len() - 1) as f64).round() as usize;
            BARS[height.min(BARS.len() - 1)]
        };
        self.rates.iter().map(bar).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(ms: u64, megabits: u64, pages: u64) -> Report {
        Report {
            guest_ms: ms.into(),
            bytes: (megabits * 125_000).into(),
            pages_marked: pages.into(),
            ..Report::default()
        }
    }

    #[test]
    fn a_line_has_throughput_memory_and_marking() {
        let mut figures = Figures::default();
        assert_eq!(figures.line(None), "");
        for (ms, megabits, pages) in [(0, 0, 0), (250, 100, 0), (500, 300, 500)] {
            figures.take(&report(ms, megabits, pages));
        }
        let line = figures.line(Some(5 << 20));
        assert_eq!(line, "▅█ 800 Mbit/s, 5 MiB left, 2000 pages/s marked");
        figures.take(&report(500, 300, 500));
        assert_eq!(figures.line(None), "▅█▁ no report");
    }

    #[test]
    fn another_stream_begins_anew_and_a_line_is_not_longer_than_that() {
        let mut figures = Figures::default();
        (0..100).for_each(|n| figures.take(&report(250 * n, 100 * n, 0)));
        assert_eq!(figures.sparkline().chars().count(), WIDTH);
        figures.take(&Report { stream: 2.into(), ..report(9, 9, 9) });
        assert_eq!(figures.line(None), "");
    }
}

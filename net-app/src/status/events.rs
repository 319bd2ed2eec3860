//! The status, every second, for as long as a page is open (server-sent events): `status` for
//! programs, and the rows of the page's table.

use alloc::rc::Rc;

use godwit::time::{Duration, Timer};
use picoserve::io::Write;
use picoserve::response::sse::{EventSource, EventWriter};

use super::page;
use crate::app::App;

/// Between two events.
const INTERVAL: Duration = Duration::from_secs(1);
/// Pages that are kept up at the same time: a part of the clients that are served, or they would
/// keep all others out.
const MOST: usize = 8;

/// Counts the pages that are kept up.
#[derive(Clone, Default)]
pub(super) struct Streams(Rc<()>);

/// One of them, for as long as it lives.
pub(super) struct Open(Rc<()>);

impl Streams {
    /// None, where there are enough.
    pub(super) fn open(&self) -> Option<Open> {
        // The first is the counter's own.
        (Rc::strong_count(&self.0) <= MOST).then(|| Open(self.0.clone()))
    }
}

/// The events of one page.
pub(super) struct Events {
    pub(super) app: App,
    pub(super) open: Open,
}

impl EventSource for Events {
    async fn write_events<W: Write>(self, mut writer: EventWriter<'_, W>) -> Result<(), W::Error> {
        let Self { app, open: Open(_counted) } = self;
        loop {
            writer.write_event("status", page::json(&app).as_str()).await?;
            writer.write_event("rows", page::rows(&app).as_str()).await?;
            writer.flush().await?;
            Timer::after(INTERVAL).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_pages_are_kept_up_and_one_that_goes_makes_room() {
        let streams = Streams::default();
        let mut open: alloc::vec::Vec<_> =
            (0..MOST).map(|_| streams.open().expect("room")).collect();
        assert!(streams.open().is_none());
        open.pop();
        assert!(streams.open().is_some());
    }
}

//! The other end of the paced UDP source: counts what arrives and reports it (crate
//! `godwit-probe`).

use core::cell::RefCell;
use core::net::SocketAddr;

use godwit::futures::join::join;
use godwit::net::UdpOptions;
use godwit::time::{Duration, Instant, Ticker};
use godwit_probe::{
    HEADERS, Header, PORT, REPORT_INTERVAL_MS, REPORT_MAGIC, Report, Sequence, Timing, VERSION,
};
use zerocopy::IntoBytes;

use crate::app::App;

/// Socket buffers: what may arrive between two turns of this task.
const OPTIONS: UdpOptions = UdpOptions { datagrams: 1024, bytes: 1024 * 1024 };

/// Reports that a source gets after its last datagram, at most.
const REPORTS: usize = 100;

/// What was received of the current stream.
struct Source {
    endpoint: SocketAddr,
    stream: u32,
    sequence: Sequence,
    timing: Timing,
    packets: u64,
    bytes: u64,
    /// Bytes that may be sent to it. It gets no more than came from it: where it says it is may be
    /// somebody else.
    credit: usize,
}

impl Source {
    fn new(endpoint: SocketAddr, stream: u32) -> Self {
        Self {
            endpoint,
            stream,
            sequence: Sequence::new(),
            timing: Timing::default(),
            packets: 0,
            bytes: 0,
            credit: 0,
        }
    }

    fn is_owed_a_report(&mut self) -> bool {
        let rest = self.credit.checked_sub(size_of::<Report>());
        self.credit = rest.unwrap_or(self.credit);
        rest.is_some()
    }
}

/// Receives and reports, for ever.
pub async fn serve(app: &App) -> ! {
    let socket = app.interface().udp().bind_with(PORT, OPTIONS).expect("memory at boot");
    let source = RefCell::new(None);
    let receive = async {
        loop {
            socket
                .receive_each(|from, payload| count(&mut source.borrow_mut(), from, payload))
                .await;
        }
    };
    let report = async {
        let mut ticker = Ticker::every(Duration::from_millis(REPORT_INTERVAL_MS));
        loop {
            ticker.next().await;
            let report = source.borrow_mut().as_mut().and_then(|source: &mut Source| {
                source.is_owed_a_report().then(|| (source.endpoint, report(app, source)))
            });
            if let Some((endpoint, report)) = report {
                // One that cannot be sent is followed by another.
                let _ = socket.send_to(report.as_bytes(), endpoint).await;
            }
        }
    };
    join(receive, report).await.0
}

fn count(source: &mut Option<Source>, from: SocketAddr, payload: &[u8]) {
    let Some(header) = Header::parse(payload) else { return };
    let stream = header.stream.get();
    let source = match source {
        Some(source) if source.stream == stream => source,
        Some(source) if source.endpoint == from && header.is_late(source.stream) => return,
        _ => source.insert(Source::new(from, stream)),
    };
    source.endpoint = from;
    let seq = header.seq.get();
    source.sequence.receive(seq);
    source.packets += 1;
    if Timing::is_timed(seq) {
        let now = Instant::now().as_micros();
        source.timing.note(now, header.sent_ns.get(), source.packets);
    }
    source.bytes += (payload.len() + HEADERS) as u64;
    source.credit = (source.credit + payload.len()).min(REPORTS * size_of::<Report>());
}

fn report(app: &App, source: &Source) -> Report {
    let (dma, migration) = (app.system().pool().statistics(), app.system().migration().facts());
    let gap = source.sequence.longest_gap();
    let (held, held_logged) = app.recorder().held();
    let mut flags = 0;
    if migration.logging {
        flags |= Report::LOGGING;
    }
    if app.system().pool().is_marking() {
        flags |= Report::MARKING;
    }
    Report {
        magic: REPORT_MAGIC.into(),
        version: VERSION.into(),
        stream: source.stream.into(),
        flags: flags.into(),
        epoch: migration.epoch.into(),
        duplicates: source.sequence.duplicates().into(),
        guest_ms: Instant::now().as_millis().into(),
        packets: source.packets.into(),
        bytes: source.bytes.into(),
        highest_seq: source.sequence.highest().into(),
        missing: source.sequence.missing().into(),
        reordered: source.sequence.reordered().into(),
        gap_first: gap.first.into(),
        gap_length: gap.length.into(),
        pages_marked: dma.pages_marked.into(),
        pages_caught_up: dma.pages_caught_up.into(),
        buffers_received: dma.buffers_received.into(),
        recorder_held: (held as u64).into(),
        recorder_held_logged: (held_logged as u64).into(),
        latency: source.timing.latency(),
        jitter: source.timing.jitter(),
        waypoints: source.timing.waypoints(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_gets_no_more_than_it_sends() {
        let (mut source, from) = (None, SocketAddr::from(([10, 0, 0, 1], 1)));
        let mut datagram = alloc::vec![0; 1400];
        datagram[..size_of::<Header>()].copy_from_slice(Header::new(1, 0, 0).as_bytes());
        let mut reports = |datagrams: usize| {
            for _ in 0..datagrams {
                count(&mut source, from, &datagram);
            }
            let source = source.as_mut().expect("a source");
            (0..1000).take_while(|_| source.is_owed_a_report()).count()
        };
        assert_eq!(reports(1), 1400 / size_of::<Report>());
        assert_eq!(reports(100), REPORTS);
    }
}

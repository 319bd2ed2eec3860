use super::frames::tests::{GUEST, ME, report_frame};
use super::*;
use crate::segment::{Frame, Segment};
use godwit_probe::Sequence;

/// A guest on a port of the segment: counts, reports, and takes no more than `bits_per_s`.
struct FakeGuest {
    stop: Arc<AtomicBool>,
    deaf: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl FakeGuest {
    fn start(segment: &Segment) -> Self {
        let (sender, receiver) = segment.local("guest");
        let stop = Arc::new(AtomicBool::new(false));
        let deaf = Arc::new(AtomicBool::new(false));
        let (stopped, is_deaf) = (stop.clone(), deaf.clone());
        let thread = std::thread::spawn(move || {
            let mut sequence = Sequence::new();
            let mut report = Report::default();
            let mut next = Instant::now();
            while !stopped.load(Relaxed) {
                if let Some(header) =
                    receiver.receive(Duration::from_millis(5)).and_then(|f| header(&f))
                    && !is_deaf.load(Relaxed)
                {
                    if header.stream != report.stream {
                        (sequence, report) = (Sequence::new(), Report::default());
                        report.stream = header.stream;
                    }
                    sequence.receive(header.seq.get());
                    report.packets += 1;
                    report.bytes += 1000;
                }
                let gap = sequence.longest_gap();
                (report.gap_first, report.gap_length) = (gap.first.into(), gap.length.into());
                report.highest_seq = sequence.highest().into();
                if Instant::now() >= next && !is_deaf.load(Relaxed) {
                    next += Duration::from_millis(20);
                    let frame = report_frame(GUEST, ME, report);
                    sender.send(&mut VecDeque::from([frame]), PATIENCE);
                }
            }
        });
        Self { stop, deaf, thread: Some(thread) }
    }
}

impl Drop for FakeGuest {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        let _ = self.thread.take().unwrap().join();
    }
}

fn header(frame: &Frame) -> Option<Header> {
    Header::parse(frame.ethernet().get(42..)?)
}

fn until(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "timed out");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn bench() -> (Segment, FakeGuest, UdpSource) {
    let segment = Segment::start(None).unwrap();
    let guest = FakeGuest::start(&segment);
    let (sender, receiver) = segment.local("traffic");
    let config = Config { from: ME, to: GUEST, ip_length: 1000 };
    let source = UdpSource::start(sender, receiver, config).unwrap();
    (segment, guest, source)
}

#[test]
fn everything_offered_arrives_and_is_reported() {
    let (_segment, _guest, source) = bench();
    source.begin(Rate::Paced(8_000_000));
    until(|| source.trace().total >= 500);
    source.set_rate(Rate::Idle);
    let total = source.trace().total;
    until(|| source.latest().is_some_and(|(_, report)| report.packets == total));
    assert_eq!(source.trace().longest_gap(), None);
}

#[test]
fn a_gap_is_as_long_as_the_guest_was_deaf() {
    let (_segment, guest, source) = bench();
    source.begin(Rate::Paced(8_000_000));
    until(|| source.trace().total >= 300);
    guest.deaf.store(true, Relaxed);
    let start = Instant::now();
    std::thread::sleep(Duration::from_millis(400));
    guest.deaf.store(false, Relaxed);
    let deaf = start.elapsed();
    until(|| source.trace().longest_gap().is_some());
    let gap = source.trace().longest_gap().unwrap();
    let error = gap.length().abs_diff(deaf);
    assert!(error < Duration::from_millis(150), "{gap:?} for {deaf:?}");
}

#[test]
fn starting_over_forgets_a_gap_and_goes_on_at_the_same_rate() {
    let (_segment, guest, source) = bench();
    source.begin(Rate::Paced(8_000_000));
    until(|| source.trace().total >= 100);
    guest.deaf.store(true, Relaxed);
    std::thread::sleep(Duration::from_millis(100));
    guest.deaf.store(false, Relaxed);
    until(|| source.trace().longest_gap().is_some());
    source.start_over();
    until(|| source.latest().is_some_and(|(_, report)| report.packets > 100));
    assert_eq!(source.trace().longest_gap(), None);
}

#[test]
fn a_new_stream_counts_from_zero() {
    let (_segment, _guest, source) = bench();
    source.begin(Rate::Paced(8_000_000));
    until(|| source.latest().is_some_and(|(_, report)| report.packets > 100));
    source.begin(Rate::Paced(800_000));
    until(|| source.latest().is_some_and(|(_, report)| report.packets > 0));
    let trace = source.trace();
    assert_eq!(trace.sent[0].0, 0);
    assert!(trace.reports.iter().all(|(_, report)| report.packets <= trace.total));
}

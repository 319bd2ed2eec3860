use super::frames::tests::{GUEST, ME, report_frame};
use super::*;
use crate::clock::Clock;
use crate::segment::{Frame, Segment};
use godwit_probe::Sequence;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

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

/// A QEMU on a port of the segment, in lockstep with it.
struct Lockstep {
    stream: UnixStream,
    time: Duration,
}

impl Lockstep {
    /// `net/lockstep.c` of the patch in `qemu/lab`.
    const PERIOD: Duration = Duration::from_micros(250);

    /// Tells the time, with so many frames waiting, and reads the answer: the numbers of the
    /// datagrams in it.
    fn tick(&mut self, waiting: u32) -> Vec<u64> {
        self.time += Self::PERIOD;
        let mut tick = vec![0; 4];
        tick.extend((self.time.as_nanos() as u64).to_be_bytes());
        tick.extend(waiting.to_be_bytes());
        self.stream.write_all(&tick).unwrap();
        let mut numbers = Vec::new();
        loop {
            let mut length = [0; 4];
            self.stream.read_exact(&mut length).unwrap();
            let mut bytes = vec![0; u32::from_be_bytes(length) as usize];
            if bytes.is_empty() {
                return numbers;
            }
            self.stream.read_exact(&mut bytes).unwrap();
            let frame = Frame::build(bytes.len(), |wire| wire.extend(&bytes));
            numbers.extend(header(&frame).map(|header| header.seq.get()));
        }
    }
}

/// What a source sends in the time of a QEMU that takes so long for each of its periods.
fn virtual_bench(rate: Rate, ticks: u32, waiting: u32, pause: Duration) -> (Vec<Vec<u64>>, Trace) {
    let clock = Clock::stepped();
    let segment = Segment::start_by(clock, None).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("nic");
    segment.listen("nic", &path).unwrap();
    let (sender, receiver) = segment.local("traffic");
    let config = Config { from: ME, to: GUEST, ip_length: 1000 };
    let source = UdpSource::start(sender, receiver, config).unwrap();
    let mut qemu = Lockstep { stream: UnixStream::connect(path).unwrap(), time: Duration::ZERO };
    // The switch learns where the guest is.
    let hello = frames::introduction(GUEST, ME);
    qemu.stream.write_all(&(hello.ethernet().len() as u32).to_be_bytes()).unwrap();
    qemu.stream.write_all(hello.ethernet()).unwrap();
    // Once that is answered, the source is asleep until a moment that is known.
    qemu.tick(0);
    source.begin(rate);
    let answers = (0..ticks).map(|_| {
        std::thread::sleep(pause);
        qemu.tick(waiting)
    });
    (answers.collect(), source.trace())
}

#[test]
fn in_virtual_time_it_does_not_matter_how_long_anything_takes() {
    // A datagram a millisecond.
    let rate = Rate::Paced(8_000_000);
    let (quick, trace) = virtual_bench(rate, 80, 0, Duration::ZERO);
    let (slow, _) = virtual_bench(rate, 80, 0, Duration::from_millis(2));
    assert_eq!(quick, slow);
    let numbers: Vec<u64> = quick.into_iter().flatten().collect();
    assert!((18..=20).contains(&numbers.len()), "{numbers:?}");
    let between = trace.sent.windows(2).map(|pair| pair[1].1 - pair[0].1);
    assert!(between.into_iter().all(|time| time == Duration::from_millis(1)), "{:?}", trace.sent);
}

#[test]
fn in_virtual_time_a_nic_gets_what_it_takes_and_nothing_is_lost() {
    let (answers, _) = virtual_bench(Rate::Saturating, 40, 120, Duration::ZERO);
    let numbers: Vec<u64> = answers.iter().flatten().copied().collect();
    assert!(answers.iter().all(|answer| answer.len() <= 8), "{answers:?}");
    assert!(numbers.len() > 8 * 30, "{answers:?}");
    assert_eq!(numbers, (0..numbers.len() as u64).collect::<Vec<_>>());
    let (answers, _) = virtual_bench(Rate::Saturating, 40, 128, Duration::ZERO);
    assert!(answers.concat().is_empty(), "{answers:?}");
}

use super::*;
use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionOption;
use pcap_file::pcapng::{Block, PcapNgReader};
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const PATIENCE: Duration = Duration::from_secs(5);
const GUEST: Mac = [0x52, 0x54, 0, 0x67, 0x6f, 1];
const SOURCE: Mac = [2, 0, 0, 0, 0, 9];
const BROADCAST: Mac = [0xff; 6];

fn frame(to: Mac, from: Mac, tag: u8) -> Frame {
    Frame::build(60, |b| {
        b.extend(to);
        b.extend(from);
        b.extend([0x88, 0xb5]);
        b.resize(PREFIX + 60, tag);
    })
}

struct Bench {
    segment: Segment,
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { segment: Segment::start(None).unwrap(), dir: tempfile::tempdir().unwrap() }
    }

    /// A port as a QEMU sees it.
    fn nic(&self, name: &str) -> UnixStream {
        let path = self.dir.path().join(name);
        self.segment.listen(name, &path).unwrap();
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        self.until(|s| s.iter().any(|p| p.name == name && p.connected));
        stream
    }

    fn until(&self, mut condition: impl FnMut(&[PortStatistics]) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition(&self.segment.statistics()) {
            assert!(Instant::now() < deadline, "{:?}", self.segment.statistics());
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn send(stream: &mut UnixStream, frame: &Frame) {
    stream.write_all(frame.wire()).unwrap();
}

fn receive(stream: &mut UnixStream) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).ok()?;
    let mut bytes = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut bytes).unwrap();
    Some(bytes)
}

#[test]
fn floods_then_learns_then_follows_a_gratuitous_arp() {
    let bench = Bench::new();
    let mut a = bench.nic("source");
    let mut b = bench.nic("destination");
    let (sender, receiver) = bench.segment.local("traffic");
    let transmit = |tag| {
        sender.send(&mut VecDeque::from([frame(GUEST, SOURCE, tag)]), PATIENCE);
    };

    transmit(1);
    assert_eq!(receive(&mut a).unwrap()[20], 1);
    assert_eq!(receive(&mut b).unwrap()[20], 1);

    send(&mut a, &frame(BROADCAST, GUEST, 2));
    assert_eq!(receive(&mut b).unwrap()[20], 2);
    assert_eq!(receiver.receive(PATIENCE).unwrap().ethernet()[20], 2);

    transmit(3);
    assert_eq!(receive(&mut a).unwrap()[20], 3);
    send(&mut b, &frame(BROADCAST, GUEST, 4));
    assert_eq!(receive(&mut a).unwrap()[20], 4);
    transmit(5);
    assert_eq!(receive(&mut b).unwrap()[20], 5);
    assert_eq!(receive(&mut a), None);
}

#[test]
fn a_peer_that_does_not_drain_holds_up_nobody_and_gets_nothing_stale() {
    let bench = Bench::new();
    let mut lazy = bench.nic("lazy");
    let (sender, receiver) = bench.segment.local("traffic");
    send(&mut lazy, &frame(BROADCAST, GUEST, 1));
    assert!(receiver.receive(PATIENCE).is_some());

    let total = 20_000;
    for _ in 0..total / 100 {
        sender.send(&mut (0..100).map(|_| frame(GUEST, SOURCE, 2)).collect(), PATIENCE);
    }
    let taken = |s: &[PortStatistics]| s[0].sent + s[0].dropped;
    bench.until(|s| taken(s) + 2 * queue::CAPACITY as u64 > total);
    std::thread::sleep(queue::LIFETIME * 2);
    bench.until(|s| s[0].dropped > 0 && taken(s) + 1 >= total);

    sender.send(&mut VecDeque::from([frame(GUEST, SOURCE, 3)]), PATIENCE);
    let sent_before = bench.segment.statistics()[0].sent;
    let old = std::iter::from_fn(|| receive(&mut lazy)).take_while(|f| f[20] == 2).count() as u64;
    assert!(old <= sent_before + 1, "only what the socket had taken by then: {old}, {sent_before}");
}

#[test]
fn a_waiting_sender_goes_at_the_receivers_pace() {
    let bench = Bench::new();
    let mut guest = bench.nic("guest");
    let (sender, receiver) = bench.segment.local("traffic");
    send(&mut guest, &frame(BROADCAST, GUEST, 1));
    assert!(receiver.receive(PATIENCE).is_some());
    sender.when_full(WhenFull::Wait);

    let total = 20_000u64;
    let sending = std::thread::spawn(move || {
        let numbered = |n: u64| {
            Frame::build(60, |wire| {
                wire.extend(GUEST.iter().chain(&SOURCE).chain(&[0x88, 0xb5]));
                wire.extend(n.to_le_bytes());
            })
        };
        let mut frames: VecDeque<_> = (0..total).map(numbered).collect();
        sender.send(&mut frames, PATIENCE * 4);
        frames.len()
    });
    let numbers: Vec<u64> = std::iter::from_fn(|| receive(&mut guest))
        .map(|frame| u64::from_le_bytes(frame[14..22].try_into().unwrap()))
        .collect();
    assert_eq!(sending.join().unwrap(), 0);
    assert!(numbers.is_sorted());
    // Nothing is lost for want of room, but a test on a busy machine may be slow enough for frames
    // to grow old.
    let port = &bench.segment.statistics()[0];
    assert_eq!(numbers.len() as u64 + port.dropped, total);
    assert!(port.dropped < total / 2, "{port:?}");
}

#[test]
fn a_peer_may_come_back_and_one_that_babbles_is_cut_off() {
    let bench = Bench::new();
    let mut first = bench.nic("nic");
    let (_sender, receiver) = bench.segment.local("traffic");
    first.write_all(&[0xff; 64]).unwrap();
    bench.until(|s| !s[0].connected);
    let mut second = UnixStream::connect(bench.dir.path().join("nic")).unwrap();
    send(&mut second, &frame(BROADCAST, GUEST, 7));
    assert_eq!(receiver.receive(PATIENCE).unwrap().ethernet()[20], 7);
}

#[test]
fn what_stood_behind_a_peer_is_forgotten_with_it() {
    let bench = Bench::new();
    let mut first = bench.nic("nic");
    let mut other = bench.nic("other");
    let (sender, receiver) = bench.segment.local("traffic");
    send(&mut first, &frame(BROADCAST, GUEST, 1));
    assert!(receiver.receive(PATIENCE).is_some() && receive(&mut other).is_some());
    // The first one's end stays open: it is taken off its port, and does not leave it.
    let second = UnixStream::connect(bench.dir.path().join("nic")).unwrap();
    let transmit = || sender.send(&mut VecDeque::from([frame(GUEST, SOURCE, 2)]), PATIENCE);
    let deadline = Instant::now() + PATIENCE;
    while receive(&mut other).is_none() {
        assert!(Instant::now() < deadline, "frames go to where the station was");
        transmit();
    }
    drop(second);
}

#[test]
fn the_tap_has_an_interface_for_each_port() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tap.pcapng");
    let segment = Segment::start(Some(&path)).unwrap();
    let (sender, first) = segment.local("first");
    let (answering, second) = segment.local("second");
    sender.send(&mut VecDeque::from([frame(GUEST, SOURCE, 1)]), PATIENCE);
    assert!(second.receive(PATIENCE).is_some());
    answering.send(&mut VecDeque::from([frame(SOURCE, GUEST, 2)]), PATIENCE);
    assert!(first.receive(PATIENCE).is_some());
    drop(segment);
    let mut capture = PcapNgReader::new(std::fs::File::open(path).unwrap()).unwrap();
    let mut frames = Vec::new();
    while let Some(block) = capture.next_block() {
        if let Block::EnhancedPacket(packet) = block.unwrap() {
            frames.push((packet.interface_id, packet.data.into_owned(), packet.timestamp));
        }
    }
    let [(0, there, at), (1, back, _)] = &frames[..] else { panic!("{frames:?}") };
    assert_eq!((&there[..6], there[20]), (&GUEST[..], 1));
    assert_eq!((&back[..6], back[20]), (&SOURCE[..], 2));
    let age = SystemTime::now().duration_since(UNIX_EPOCH + *at).unwrap();
    assert!(age < PATIENCE, "{age:?}");
    let names: Vec<_> = capture.interfaces().iter().flat_map(|port| &port.options).collect();
    for name in ["first", "second"] {
        let name = InterfaceDescriptionOption::IfName(name.into());
        assert!(names.contains(&&name), "{names:?}");
    }
}

#[test]
fn a_path_that_cannot_be_bound_is_named() {
    let segment = Segment::start(None).unwrap();
    let error = segment.listen("nic", Path::new("/nonexistent/x")).unwrap_err();
    assert!(format!("{error:#}").contains("/nonexistent/x"));
}

/// As QEMU's lockstep backend has it: an empty frame's length, the time, and what waits.
fn tell(stream: &mut UnixStream, time: Duration) {
    let mut tick = vec![0; 4];
    tick.extend((time.as_nanos() as u64).to_be_bytes());
    tick.extend([0; 4]);
    stream.write_all(&tick).unwrap();
}

/// A machine tells the time by all its NICs, then waits for an answer to each. Its first words may
/// be read one by one.
#[test]
fn one_that_tells_the_time_late_is_answered_and_from_then_on_waited_for() {
    let segment = Segment::start_by(Clock::stepped(), None).unwrap();
    let bench = Bench { segment, dir: tempfile::tempdir().unwrap() };
    let (mut first, mut other) = (bench.nic("first"), bench.nic("other"));
    let period = Duration::from_micros(250);
    tell(&mut first, period);
    assert_eq!(receive(&mut first).unwrap().len(), 0);
    tell(&mut other, period);
    assert_eq!(receive(&mut other).unwrap().len(), 0, "the machine stands still for ever");
    tell(&mut first, 2 * period);
    assert!(receive(&mut first).is_none(), "the other NIC's frames were not waited for");
    tell(&mut other, 2 * period);
    assert_eq!(receive(&mut first).unwrap().len(), 0);
    assert_eq!(receive(&mut other).unwrap().len(), 0);
}

//! Whole pre-copy migrations in random interleavings, with a device that writes behind the CPU's
//! back until just before the switchover.

use std::vec;
use std::vec::Vec;

use proptest::prelude::*;
use zerocopy::IntoBytes;

use super::catch_up;
use crate::dma::fake::{DEVICE_BASE, completed, pool};
use crate::dma::{Coherent, FromDevice, PAGE_SIZE, Policy, Pool, RxBuffer, SLOT_SIZE, Stream};

const PAGES: usize = 16;
const RING: usize = 512;

/// What can happen next. Numbers choose among what there is.
#[derive(Clone, Debug)]
enum Step {
    /// The driver posts a buffer of a slot, or of a jumbo frame.
    Post { jumbo: bool },
    /// The device fills a posted buffer and sets its done bit.
    DeviceWrites { which: usize, len: usize },
    /// The device writes a descriptor back.
    DeviceWritesBack { index: usize },
    /// The driver receives a completed buffer; the application keeps it.
    Receive { which: usize },
    /// The driver reaps the descriptors that were written back.
    Reap,
    /// The application drops a buffer.
    Drop { which: usize },
    /// The hypervisor starts to log, with every page to be sent.
    LogOn,
    /// It sends some pages.
    Send { which: usize, count: usize },
    /// It adds what the log has to what is to be sent.
    ReadLog,
    /// The migration is given up.
    Cancel,
    /// The agent polls.
    Poll,
}

fn step() -> impl Strategy<Value = Step> {
    let which = any::<usize>();
    prop_oneof![
        4 => prop::bool::weighted(0.1).prop_map(|jumbo| Step::Post { jumbo }),
        6 => (which, 1..=16384usize).prop_map(|(which, len)| Step::DeviceWrites { which, len }),
        2 => (0..RING).prop_map(|index| Step::DeviceWritesBack { index }),
        6 => which.prop_map(|which| Step::Receive { which }),
        1 => Just(Step::Reap),
        2 => which.prop_map(|which| Step::Drop { which }),
        1 => Just(Step::LogOn),
        6 => (which, 1..PAGES).prop_map(|(which, count)| Step::Send { which, count }),
        2 => Just(Step::ReadLog),
        1 => Just(Step::Cancel),
        1 => Just(Step::Poll),
    ]
}

/// What a driver or an agent may get wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mistake {
    None,
    NoCatchUp,
    RingNotMarked,
    MarkedBeforeDone,
}

struct World {
    pool: &'static Pool,
    mistake: Mistake,
    // The guest.
    posted: Vec<Stream<FromDevice>>,
    done: Vec<(Stream<FromDevice>, usize)>,
    held: Vec<(RxBuffer, usize)>,
    ring: Coherent<[u64; 2]>,
    written_back: Vec<usize>,
    marking: bool,
    // The hypervisor.
    logging: bool,
    to_send: Vec<bool>,
    destination: Vec<[u8; PAGE_SIZE]>,
    // The device.
    serial: u64,
}

impl World {
    fn new(policy: Policy, mistake: Mistake) -> Self {
        let pool = pool(PAGES * PAGE_SIZE, policy);
        Self {
            pool,
            mistake,
            posted: vec![],
            done: vec![],
            held: vec![],
            ring: pool.coherent(RING, 128).unwrap(),
            written_back: vec![],
            marking: false,
            logging: false,
            to_send: vec![false; PAGES],
            destination: vec![[0; PAGE_SIZE]; PAGES],
            serial: 0,
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Post { jumbo: false } => self.posted.extend(self.pool.receive_stream()),
            Step::Post { jumbo: true } => self.posted.extend(self.pool.receive_stream_of(16384)),
            Step::DeviceWrites { which, len } => self.device_writes(which, len),
            Step::DeviceWritesBack { index } => {
                self.serial += 1;
                let at = self.ring.device_address() + index as u64 * 16;
                self.pool.device().write(at, &self.serial.to_le_bytes());
                self.written_back.push(index);
            }
            Step::Receive { which } => {
                if !self.done.is_empty() {
                    let (stream, len) = self.done.swap_remove(which % self.done.len());
                    self.receive(stream, len);
                }
            }
            Step::Reap => self.reap(),
            Step::Drop { which } => {
                if !self.held.is_empty() {
                    self.held.swap_remove(which % self.held.len());
                }
            }
            Step::LogOn => {
                if !self.logging {
                    self.logging = true;
                    self.pool.page_log().start();
                    self.to_send.fill(true);
                }
            }
            Step::Send { which, count } => {
                if self.logging {
                    (0..count).for_each(|n| self.send((which % PAGES + n) % PAGES));
                }
            }
            Step::ReadLog => {
                if self.logging {
                    self.pool.page_log().take().into_iter().for_each(|n| self.to_send[n] = true);
                }
            }
            Step::Cancel => {
                self.logging = false;
                self.pool.page_log().stop();
            }
            Step::Poll => self.poll(),
        }
    }

    fn device_writes(&mut self, which: usize, len: usize) {
        if self.posted.is_empty() {
            return;
        }
        let stream = self.posted.swap_remove(which % self.posted.len());
        if self.mistake == Mistake::MarkedBeforeDone {
            stream.mark(0..1).unwrap();
            if self.logging {
                self.step(&Step::ReadLog);
                (0..PAGES).for_each(|n| self.send(n));
            }
        }
        let len = len.min(stream.capacity());
        self.serial += 1;
        let frame: Vec<u8> = self.serial.to_le_bytes().into_iter().cycle().take(len).collect();
        self.pool.device().write(stream.device_address(), &frame);
        self.done.push((stream, len));
    }

    fn receive(&mut self, stream: Stream<FromDevice>, len: usize) {
        let start = (stream.device_address() - DEVICE_BASE) as usize;
        let buffer = if self.mistake == Mistake::MarkedBeforeDone && self.marking {
            // What a driver that has already marked would do: hand it on as it is.
            self.pool.stop_marking();
            let buffer = stream.receive(&completed(), len).unwrap();
            self.pool.start_marking();
            buffer
        } else {
            stream.receive(&completed(), len).unwrap()
        };
        self.held.push((buffer, start));
    }

    fn reap(&mut self) {
        if self.mistake != Mistake::RingNotMarked {
            self.written_back.iter().for_each(|&n| self.ring.mark(n..n + 1));
        }
        self.written_back.clear();
    }

    fn send(&mut self, page: usize) {
        if std::mem::take(&mut self.to_send[page]) {
            self.destination[page] = self.pool.device().copy_page(page);
        }
    }

    fn poll(&mut self) {
        match (self.marking, self.logging) {
            (false, true) => {
                self.pool.start_marking();
                if self.mistake != Mistake::NoCatchUp {
                    catch_up(self.pool);
                }
            }
            (true, false) => self.pool.stop_marking(),
            _ => {}
        }
        self.marking = self.logging;
    }

    /// From wherever it stands to the end of a migration, by the hypervisor's rules. Returns how
    /// many of the frames and ring entries that the guest can read differ on the destination.
    fn switch_over(&mut self) -> usize {
        self.step(&Step::LogOn);
        self.poll();
        while let Some((stream, len)) = self.done.pop() {
            self.receive(stream, len);
        }
        self.reap();
        self.posted.clear();
        self.step(&Step::ReadLog);
        (0..PAGES).for_each(|n| self.send(n));

        let there = self.destination.as_flattened();
        let stale_frame =
            |(buffer, start): &&(RxBuffer, usize)| there[*start..][..buffer.len()] != buffer[..];
        let ring = (self.ring.device_address() - DEVICE_BASE) as usize;
        let stale_entry =
            |&n: &usize| there[ring + n * 16..][..16] != *self.ring.read(n).as_bytes();
        self.held.iter().filter(stale_frame).count() + (0..RING).filter(stale_entry).count()
    }
}

fn stale_after(policy: Policy, mistake: Mistake, steps: &[Step]) -> usize {
    let mut world = World::new(policy, mistake);
    steps.iter().for_each(|step| world.step(step));
    let stale = world.switch_over();
    let pool = world.pool;
    drop(world);
    assert_eq!(pool.statistics().slots_free, pool.statistics().slots, "slots leaked");
    stale
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn with_marking_nothing_is_stale(steps in prop::collection::vec(step(), 0..120)) {
        prop_assert_eq!(stale_after(Policy::Auto, Mistake::None, &steps), 0);
        prop_assert_eq!(stale_after(Policy::Always, Mistake::None, &steps), 0);
    }
}

/// How many of many random migrations lose something.
fn migrations_that_lose(policy: Policy, mistake: Mistake) -> usize {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let steps = prop::collection::vec(step(), 60..120);
    let lost =
        |_| stale_after(policy, mistake, &steps.new_tree(&mut runner).unwrap().current()) > 0;
    (0..100).map(lost).filter(|&lost| lost).count()
}

#[test]
fn without_marking_migrations_lose_frames() {
    assert!(migrations_that_lose(Policy::Never, Mistake::None) > 10);
    assert_eq!(migrations_that_lose(Policy::Auto, Mistake::None), 0);
}

#[test]
fn each_mistake_is_found() {
    for mistake in [Mistake::NoCatchUp, Mistake::RingNotMarked, Mistake::MarkedBeforeDone] {
        assert_ne!(migrations_that_lose(Policy::Auto, mistake), 0, "{mistake:?}");
    }
}

/// The smallest history that loses a frame without marking, step by step.
#[test]
fn a_frame_that_arrives_after_its_page_was_sent() {
    let mut world = World::new(Policy::Never, Mistake::None);
    world.step(&Step::Post { jumbo: false });
    world.step(&Step::LogOn);
    world.step(&Step::Send { which: 0, count: PAGES });
    world.step(&Step::DeviceWrites { which: 0, len: SLOT_SIZE });
    assert_ne!(world.switch_over(), 0);
}

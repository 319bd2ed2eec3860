//! Generated sequences of what a device may do wrong, between what the stack does. Whatever comes:
//! the model panics at an access to memory that is not the device's, the driver gives every buffer
//! back, and the device comes back into service, by a reset or by another start.

use super::*;
use embassy_futures::block_on;
use model::WHOLE;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use unikernel::dma::RxBuffer;
use unikernel::nic::{BATCH, Batch};

/// A pool for the rings, their buffers, and not much more.
const SMALL: usize = 2 << 20;
/// Looks in which a driver that finds nothing but garbage has to be done with a whole ring.
const LOOKS: usize = 2 * RING;

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    /// A frame arrives.
    Frame(usize),
    /// A write-back says anything.
    Lie(u16, u32),
    /// A descriptor changes that is not the device's: after completion, or before its turn.
    Scribble(u32, u16, u32),
    /// The stack takes so many frames one by one, and keeps some.
    Poll(usize),
    /// The same as a batch, in which there are so many already.
    Batch(usize),
    /// The stack lets go of what it kept.
    Drop,
    /// The stack has a frame to send.
    Send(usize),
    Flush,
    Arm,
    Groups(u8),
    Link(bool),
    Statistics,
    Reset,
    /// Transmit descriptors are left alone, or not any more.
    Stall(bool),
    /// The device does not stop mastering the bus.
    KeepsMastering(bool),
    /// The device does not come out of reset.
    StaysInReset(bool),
    /// After so many reads all registers read as ones, until told otherwise.
    FallsSilent(u32),
    Answers,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Nearly always done: behind one that is not, the driver sees nothing more until a reset.
    let status = prop_oneof![
        8 => Just(WHOLE),
        3 => Just(1),
        6 => any::<u32>().prop_map(|status| status | 1),
        1 => any::<u32>(),
    ];
    let len = prop_oneof![Just(0), Just(u16::MAX), 59u16..1500, 1500u16..2100, any::<u16>()];
    let lie = (len.clone(), status.clone()).prop_map(|(len, status)| Step::Lie(len, status));
    let scribble =
        (0..RING as u32, len, status).prop_map(|(at, len, s)| Step::Scribble(at, len, s));
    let step = prop_oneof![
        6 => (60usize..1514).prop_map(Step::Frame),
        6 => lie,
        1 => scribble,
        3 => (1usize..80).prop_map(Step::Poll),
        4 => (0..=BATCH).prop_map(Step::Batch),
        1 => Just(Step::Drop),
        4 => (0usize..1600).prop_map(Step::Send),
        3 => Just(Step::Flush),
        2 => Just(Step::Arm),
        1 => any::<u8>().prop_map(Step::Groups),
        1 => any::<bool>().prop_map(Step::Link),
        1 => Just(Step::Statistics),
        2 => Just(Step::Reset),
        1 => any::<bool>().prop_map(Step::Stall),
        1 => any::<bool>().prop_map(Step::KeepsMastering),
        1 => any::<bool>().prop_map(Step::StaysInReset),
        1 => (0u32..200).prop_map(Step::FallsSilent),
        1 => Just(Step::Answers),
    ];
    vec(step, 1..120)
}

/// What goes on between device, driver and stack.
struct Encounter {
    rig: Rig,
    kept: Vec<RxBuffer>,
    faults: Faults,
    /// A descriptor was changed behind the driver's back: device and driver disagree on whose turn
    /// it is, and what the device wrote by rights would go to memory that is not its any more.
    is_out_of_step: bool,
    /// The driver has given the device up.
    is_given_up: bool,
}

impl Encounter {
    fn new() -> Self {
        let rig = Rig::with(SMALL, Policy::Auto, family::OFFERS[0]);
        let faults = Faults::default();
        Self { rig, kept: Vec::new(), faults, is_out_of_step: false, is_given_up: false }
    }

    fn change(&mut self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.faults);
        self.rig.model.set_faults(self.faults);
    }

    fn step(&mut self, step: &Step) {
        let rig = &mut self.rig;
        match *step {
            Step::Frame(len) if !self.is_out_of_step => {
                rig.model.receive(&frame(len, len));
            }
            Step::Lie(len, status) if !self.is_out_of_step => {
                rig.model.write_back(&frame(1, 60), len, status);
                // Without the done bit the driver waits there, and the device has gone on.
                self.is_out_of_step = status & 1 == 0;
            }
            Step::Scribble(descriptor, len, status) if !self.is_given_up => {
                rig.model.scribble(descriptor, len, status);
                self.is_out_of_step = true;
            }
            Step::Poll(count) => {
                let frames: Vec<_> = (0..count).filter_map(|_| rig.nic.receive()).collect();
                self.keep(frames);
            }
            Step::Batch(before) => {
                let mut batch: Batch = (0..before).filter_map(|_| rig.nic.receive()).collect();
                rig.nic.receive_batch(&mut batch);
                self.keep(batch);
            }
            Step::Drop => self.kept.clear(),
            Step::Send(len) => {
                if let Ok(mut buffer) = rig.pool.transmit_buffer_of(len.max(1)) {
                    buffer[..len].fill(len as u8);
                    rig.nic.transmit(buffer, len, None);
                }
            }
            Step::Flush => rig.nic.flush(),
            Step::Arm => {
                rig.nic.arm();
            }
            Step::Groups(last) => {
                rig.nic.accept_multicast(&[[0x01, 0, 0x5e, 0, 0, last]]);
            }
            Step::Link(up) => rig.model.set_link(up),
            Step::Statistics => {
                rig.nic.statistics();
            }
            Step::Reset => self.reset(),
            Step::Stall(stalls) => self.change(|faults| faults.stalls_transmit = stalls),
            Step::KeepsMastering(keeps) => self.change(|faults| faults.keeps_mastering = keeps),
            Step::StaysInReset(stays) => self.change(|faults| faults.stays_in_reset = stays),
            Step::FallsSilent(reads) => self.change(|faults| faults.silent_after = Some(reads)),
            Step::Answers => self.change(|faults| faults.silent_after = None),
            _ => {}
        }
    }

    /// The stack has these frames, and keeps some.
    fn keep(&mut self, frames: impl IntoIterator<Item = RxBuffer>) {
        for (number, frame) in frames.into_iter().enumerate() {
            assert!(frame.len() <= self.rig.nic.capabilities().max_frame, "{}", frame.len());
            if number % 3 == 0 && self.kept.len() < 100 {
                self.kept.push(frame);
            }
        }
    }

    fn reset(&mut self) {
        let result = block_on(self.rig.nic.reset());
        if result.is_err() {
            self.is_given_up = true;
            self.ends_with_nothing_taken();
        } else {
            // The rings are new.
            self.is_out_of_step = false;
        }
    }

    /// The driver has nothing any more: what is taken is what the stack keeps.
    fn ends_with_nothing_taken(&mut self) {
        self.kept.clear();
        assert_eq!(self.rig.taken(), 0);
    }

    /// All that the device claims to have is looked at in so many calls, and no more.
    fn comes_to_rest(&mut self) {
        for _ in 0..LOOKS {
            let frame = self.rig.nic.receive();
            self.rig.nic.flush();
            let nic = &mut self.rig.nic;
            if frame.is_none() && (nic.arm() || nic.needs_reset()) {
                return;
            }
        }
        panic!("there is no end to what the device has");
    }

    /// Brought back into service, it serves.
    fn serves(mut self) {
        self.change(|faults| *faults = Faults::default());
        self.rig.model.set_link(true);
        if !self.is_given_up {
            self.comes_to_rest();
            self.reset();
        }
        if self.is_given_up {
            block_on(self.rig.nic.stop());
            self.ends_with_nothing_taken();
            // Whoever had it last.
            self.rig.model.abandon();
            let device = self.rig.machine.root().enumerate().devices.remove(0);
            let (pool, settings) = (self.rig.pool, Settings::default());
            self.rig.nic = block_on(drivers::probe(device, pool, &settings)).unwrap();
        }
        let Rig { model, nic, .. } = &mut self.rig;
        assert!(model.receive(&frame(7, 300)));
        assert_eq!(*nic.receive().expect("a frame"), frame(7, 300));
        model.take_sent();
        self.rig.queue(&frame(8, 300));
        self.rig.nic.flush();
        assert_eq!(self.rig.model.take_sent(), [frame(8, 300)]);
        block_on(self.rig.nic.stop());
        self.ends_with_nothing_taken();
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        failure_persistence: None,
        // The same each time: what fails is the change that is tested.
        rng_seed: RngSeed::Fixed(1),
        ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_a_device_does_no_buffer_is_lost_and_it_comes_back(steps in steps()) {
        let mut encounter = Encounter::new();
        steps.iter().for_each(|step| encounter.step(step));
        encounter.serves();
    }

    #[test]
    fn a_device_that_falls_silent_while_it_starts_is_given_up_whole(reads in 0u32..300) {
        let pool = fake::pool(SMALL, Policy::Auto);
        let faults = Faults { silent_after: Some(reads), ..Faults::default() };
        let (_machine, _port, model, device) = plug(pool, faults, family::OFFERS[0]);
        if let Ok(mut nic) = block_on(drivers::probe(device, pool, &Settings::default())) {
            while nic.receive().is_some() {}
            nic.arm();
            block_on(nic.stop());
        }
        let statistics = pool.statistics();
        prop_assert_eq!(statistics.slots_free, statistics.slots);
        model.connect(None);
    }
}

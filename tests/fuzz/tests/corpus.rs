//! The inputs that are kept, and changed ones.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use fuzz::{TARGETS, Target};

/// How long each target gets changed inputs; the first are the same each time.
const CHANGED: Duration = Duration::from_secs(1);

/// Repeatable numbers (G. Marsaglia, "Xorshift RNGs", 2003).
struct Dice(u64);

impl Dice {
    /// A number below `sides`.
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % sides
    }

    /// What somebody makes of an input who knows how it is meant.
    fn change(&mut self, input: &[u8]) -> Vec<u8> {
        let mut input = input.to_vec();
        for _ in 0..=self.roll(4) {
            if input.is_empty() {
                break;
            }
            let (at, other) = (self.roll(input.len()), self.roll(input.len()));
            match self.roll(8) {
                0 => input.truncate(at.max(1)),
                1 => {
                    let part = input[at.min(other)..at.max(other)].to_vec();
                    input.splice(at..at, part.into_iter().take(2000));
                }
                2 => drop(input.drain(at.min(other)..at.max(other))),
                3 | 4 => input[at] = [0, 1, 2, 0x3f, 0x7f, 0x80, 0xfe, 0xff][self.roll(8)],
                5 => input[at] ^= 1 << self.roll(8),
                _ => input[at] = self.roll(256) as u8,
            }
        }
        input
    }
}

/// Reads an input, and shows the one that does harm.
fn read(target: &Target, input: &[u8]) {
    if catch_unwind(AssertUnwindSafe(|| (target.read)(input))).is_err() {
        panic!("{} is harmed by {input:?}", target.name);
    }
}

fn run(name: &str) {
    let target = Target::named(name).expect("a target");
    let inputs = target.inputs().expect("a corpus");
    assert!(!inputs.is_empty(), "nothing gets far");
    for input in &inputs {
        read(&target, input);
    }
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let start = Instant::now();
    while start.elapsed() < CHANGED {
        let chosen = &inputs[dice.roll(inputs.len())];
        read(&target, &dice.change(chosen));
    }
}

/// A test for each.
macro_rules! tests {
    ($($test:ident $name:literal)*) => {
        $(
            #[test]
            fn $test() {
                run($name);
            }
        )*

        #[test]
        fn every_target_is_tested() {
            let names = [$($name),*];
            assert!(TARGETS.iter().all(|target| names.contains(&target.name)));
        }
    };
}

tests! {
    frames "frames"
    advertisements "advertisements"
    dhcp "dhcp"
    dns "dns"
    iperf3 "iperf3"
    http "http"
    resp "resp"
    command_line "command-line"
    acpi "acpi"
    pci "pci"
    pcapng "pcapng"
}

//! Below other bridges than a root port, in another machine, and to another NIC.

use crate::{
    migrations::{fresh_on_arrival, stale_on_arrival},
    options::Kernel,
    refusal::cancelled,
    suite::{LONG, MINUTES, Suite},
};

/// A machine and a bridge as the command line has them.
const SHAPES: [&[&str]; 3] = [
    &["--bridge", "pci-bridge"],
    &["--bridge", "pcie-pci-bridge"],
    &["--machine", "pc", "--bridge", "pci-bridge"],
];
/// From one model, and address, to another.
const OTHER_NIC: &[&str] = &["--nic", "e1000e", "--destination-nic", "igb"];

/// In the lab on this machine.
pub(crate) fn add_local(suite: &mut Suite, kernel: Kernel) {
    for shape in SHAPES {
        let name = format!("a migration {} cancelled at every stage", shape.join(" "));
        suite.test(&name, LONG, move |log| {
            let options = [&["--lab", "local", "--nic", "e1000e"], shape].concat();
            cancelled(log, kernel, &options)
        });
    }
}

/// In the nested lab.
pub(crate) fn add_nested(suite: &mut Suite, kernel: Kernel, long: bool) {
    for shape in SHAPES.into_iter().chain([OTHER_NIC]) {
        let name = format!("migrate {}", shape.join(" "));
        suite.test(&name, MINUTES, move |log| fresh_on_arrival(log, kernel, shape));
        if long {
            suite.test(&format!("{name} --marking never loses writes"), MINUTES, move |log| {
                stale_on_arrival(log, kernel, &[shape, &["--marking", "never"]].concat())
            });
            let name = format!("{name} cancelled at every stage, nested");
            suite.test(&name, LONG, move |log| cancelled(log, kernel, shape));
        }
    }
    for shape in SHAPES.into_iter().filter(|_| long) {
        let options = [shape, OTHER_NIC].concat();
        let name = format!("migrate {}", options.join(" "));
        suite.test(&name, MINUTES, move |log| fresh_on_arrival(log, kernel, &options));
    }
}

//! Instructions that a frame costs, held to what they were: a figure that no load of this machine
//! changes. `cargo xtask bench instructions` shows where they go.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use lab::{
    bench::instructions::{self, CASES},
    parts::NicModel,
};

use crate::suite::{MINUTES, Suite};

/// NIC, case, and instructions a frame. What is changed for the better is written here as well, or
/// the next change could lose it again.
const FRAMES: [(NicModel, &str, f64); 10] = [
    (NicModel::E1000e, "udp", 660.0),
    (NicModel::E1000e, "udp-marking", 680.0),
    (NicModel::E1000e, "udp-recorded", 935.0),
    (NicModel::E1000e, "reflect", 675.0),
    (NicModel::E1000e, "tcp-received", 1160.0),
    (NicModel::E1000e, "tcp-sent", 1460.0),
    (NicModel::E1000e, "echo-1000", 14_000.0),
    (NicModel::Igb, "udp", 647.0),
    (NicModel::E1000, "udp", 1053.0),
    (NicModel::Virtio, "udp", 1216.0),
];
/// A connection for each request has many turns: an idle machine and a busy one differ by a tenth.
const PAGE: (NicModel, &str, f64) = (NicModel::E1000e, "http", 153_000.0);
/// How far off a count may be.
const ROOM: f64 = 0.02;
/// The same where the client answers: its time decides how many turns the guest takes.
const ROOM_OF_ANSWERS: f64 = 0.05;
const ROOM_OF_A_PAGE: f64 = 0.1;

pub(crate) fn add(suite: &mut Suite, long: bool) {
    for (nic, case, expected) in FRAMES.into_iter().chain(long.then_some(PAGE)) {
        let name = format!("instructions of a frame: {case} with {nic}");
        suite.alone(&name, MINUTES, move |_| count(nic, case, expected));
    }
}

fn count(nic: NicModel, name: &str, expected: f64) -> Result<String> {
    let case = CASES.iter().find(|case| case.name == name).context("no such case")?;
    let counted = instructions::count(case, nic)?.frame.total;
    let room = match name {
        "http" => ROOM_OF_A_PAGE,
        "tcp-sent" => ROOM_OF_ANSWERS,
        name if name.starts_with("echo") => ROOM_OF_ANSWERS,
        _ => ROOM,
    };
    check(counted, expected, room)?;
    Ok(format!("{counted:.0}, expected {expected:.0}"))
}

fn check(counted: f64, expected: f64, room: f64) -> Result<()> {
    let off = (counted - expected) / expected;
    ensure!(
        off.abs() <= room,
        "{counted:.0} instructions a frame are {:+.1}% off the {expected:.0} of {}: see where they \
         go with `cargo xtask bench instructions`, and write down what is meant to be",
        off * 100.0,
        Path::new(file!()).display(),
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_hundredths_are_the_room() {
        assert!(check(1019.0, 1000.0, ROOM).is_ok() && check(981.0, 1000.0, ROOM).is_ok());
        assert!(check(1021.0, 1000.0, ROOM).is_err() && check(979.0, 1000.0, ROOM).is_err());
    }
}

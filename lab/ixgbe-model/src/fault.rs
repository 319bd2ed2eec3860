//! Faults on command: what a broken or hostile device may do to a driver.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// What goes wrong with one received frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// The write-back says that one byte was received.
    Truncated,
    /// The write-back says that more was received than the buffer holds.
    Oversized,
    /// The write-back goes to the descriptor at the tail, which does not belong to the device.
    OutOfRange,
    /// No descriptor is marked as the frame's last.
    Endless,
    /// The write-back comes before the data.
    Early,
    /// Half of the data is written, and the device falls silent for good: reads are all ones.
    Death,
}

/// Faults to come, each with a number of frames.
#[derive(Default)]
pub(crate) struct Faults(VecDeque<(Fault, u64)>);

impl Faults {
    pub(crate) fn add(&mut self, fault: Fault, frames: u64) {
        if frames > 0 {
            self.0.push_back((fault, frames));
        }
    }

    /// What is to go wrong with the next frame.
    pub(crate) fn next(&mut self) -> Option<Fault> {
        let (fault, left) = self.0.front_mut()?;
        let fault = *fault;
        *left -= 1;
        if *left == 0 {
            self.0.pop_front();
        }
        Some(fault)
    }

    /// How many frames are still to be mistreated.
    pub(crate) fn left(&self) -> u64 {
        self.0.iter().map(|(_, frames)| frames).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_come_in_order_and_end() {
        let mut faults = Faults::default();
        faults.add(Fault::Truncated, 2);
        faults.add(Fault::Oversized, 0);
        faults.add(Fault::Death, 1);
        assert_eq!(faults.left(), 3);
        let seen: Vec<Fault> = std::iter::from_fn(|| faults.next()).collect();
        assert_eq!(seen, [Fault::Truncated, Fault::Truncated, Fault::Death]);
    }
}

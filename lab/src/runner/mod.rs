//! Where a machine's QEMU runs: on this machine, or on another one that ssh reaches.

mod here;
mod log;
mod there;

use std::os::unix::net::UnixStream;

use anyhow::Result;

pub use here::Here;
pub use there::{Destination, HELD, Other, There, hold};

use crate::{init::Channel, parts::Qemu};

/// A machine's QEMU, running or not.
#[derive(Debug)]
pub enum Runner {
    /// On this machine.
    Here(Here),
    /// On another.
    There(Box<There>),
}

impl Runner {
    /// Starts it, by that QEMU if it is here, and returns the whole command line.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(&mut self, qemu: &Qemu, arguments: &[String]) -> Result<Vec<String>> {
        match self {
            Self::Here(here) => here.start(qemu, arguments),
            Self::There(there) => there.start(arguments),
        }
    }

    /// Ends it, if it runs.
    pub fn stop(&mut self) {
        match self {
            Self::Here(here) => here.stop(),
            Self::There(there) => there.stop(),
        }
    }

    /// How it has ended, if it has since it was started.
    pub fn ended(&mut self) -> Option<String> {
        match self {
            Self::Here(here) => here.ended(),
            Self::There(there) => there.ended(),
        }
    }

    /// The stream to its monitor or console, which outlives it.
    ///
    /// # Errors
    /// There are too many open files.
    pub fn channel(&self, channel: Channel) -> Result<UnixStream> {
        match self {
            Self::Here(here) => here.channel(channel),
            Self::There(there) => there.channel(channel),
        }
    }

    /// What it said last, each line with the machine's name in front.
    pub fn said(&self) -> String {
        match self {
            Self::Here(here) => here.said(),
            Self::There(there) => there.said(),
        }
    }

    /// The number of the process, if there is one on this machine.
    pub fn process(&self) -> Option<u32> {
        match self {
            Self::Here(here) => here.process(),
            Self::There(_) => None,
        }
    }
}

/// What several of them said last.
pub fn said(runners: &[&Runner]) -> String {
    let said = runners.iter().map(|runner| runner.said());
    said.filter(|said| !said.is_empty()).collect::<Vec<_>>().join("\n")
}

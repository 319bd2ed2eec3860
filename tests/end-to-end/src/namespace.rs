//! Networks of this machine's kernel that are a test's own: what happens there nobody else sees.

use std::{
    fs::File,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    process::Command,
    thread,
};

use anyhow::{Context, Result, anyhow, bail};
use lab::system::command;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::suite::Skipped;

/// A network namespace, for as long as it is.
pub(crate) struct Namespace(String);

impl Namespace {
    pub(crate) fn new(name: &str) -> Result<Self> {
        // What an earlier run has left.
        drop(Self(name.into()));
        if !command::succeeds(&mut ip(&format!("netns add {name}")))? {
            bail!(Skipped("this user may make no network namespace on this machine".into()));
        }
        Ok(Self(name.into()))
    }

    /// Takes this thread there, and with it what it starts: threads and processes.
    pub(crate) fn enter(&self) -> Result<Inside> {
        let before = File::open("/proc/thread-self/ns/net")?.into();
        go_to(&File::open(Path::new("/run/netns").join(&self.0))?)?;
        Ok(Inside { before })
    }

    /// Does something there, in a thread of its own.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        thread::scope(|scope| {
            let there = scope.spawn(|| {
                let _inside = self.enter()?;
                work()
            });
            there.join().map_err(|_| anyhow!("panicked"))?
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The devices in it go with it.
        let _ = command::succeeds(&mut ip(&format!("netns del {}", self.0)));
    }
}

/// This thread is in a namespace.
pub(crate) struct Inside {
    before: OwnedFd,
}

impl Drop for Inside {
    fn drop(&mut self) {
        go_to(&self.before).expect("it was there before");
    }
}

fn go_to(namespace: &impl AsFd) -> Result<()> {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
        .context("cannot enter a network namespace")
}

/// `ip` of iproute2 with these words.
pub(crate) fn ip(words: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(words.split(' '));
    command
}

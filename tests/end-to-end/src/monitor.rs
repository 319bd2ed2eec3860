//! QEMU's monitor for people: for commands of one word whose effect shows in the guest.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    time::Duration,
};

use anyhow::{Context, Result};

/// A machine's monitor, in a folder of its own.
pub(crate) struct Monitor(tempfile::TempDir);

impl Monitor {
    /// For a machine that is not started yet.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self(tempfile::Builder::new().prefix("godwit-monitor-").tempdir()?))
    }

    /// The options that give it to a machine.
    pub(crate) fn options(&self) -> [String; 2] {
        let socket = self.0.path().join("socket");
        ["-monitor".into(), format!("unix:{},server=on,wait=off", socket.display())]
    }

    /// Has the machine do something. What is returned ends the conversation when it is dropped.
    pub(crate) fn execute(&self, command: &str) -> Result<UnixStream> {
        let stream = UnixStream::connect(self.0.path().join("socket"));
        let mut stream = stream.context("QEMU's monitor")?;
        writeln!(stream, "{command}")?;
        Ok(stream)
    }

    /// What it answers, up to the first line that starts so.
    pub(crate) fn ask(&self, command: &str, end: &str) -> Result<String> {
        let stream = self.execute(command)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let lines = BufReader::new(stream).lines().map_while(Result::ok);
        Ok(lines.take_while(|line| !line.starts_with(end)).collect())
    }
}

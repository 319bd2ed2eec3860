//! The other end of the guest's wire: frames are sent in batches, each in one piece, so that QEMU
//! hands it to the NIC in one piece.

use std::{
    io::{Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result};

use crate::segment::{Frame, PREFIX};

/// A guest in software that executes a callback for each instruction is slow.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where QEMU will connect to.
pub(super) struct Listener(UnixListener);

impl Listener {
    pub(super) fn new(path: &Path) -> Result<Self> {
        Ok(Self(UnixListener::bind(path).with_context(|| path.display().to_string())?))
    }

    pub(super) fn accept(self) -> Result<Wire> {
        let stream = self.0.accept()?.0;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Wire(stream))
    }
}

/// A wire with a guest at its other end.
pub(super) struct Wire(UnixStream);

impl Wire {
    /// Sends frames, all at once.
    pub(super) fn send(&mut self, frames: &[Frame]) -> Result<()> {
        let mut bytes = Vec::new();
        for frame in frames {
            let ethernet = frame.ethernet();
            bytes.extend((ethernet.len() as u32).to_be_bytes());
            bytes.extend(ethernet);
        }
        Ok(self.0.write_all(&bytes)?)
    }

    /// The next frame that the guest sends.
    pub(super) fn receive(&mut self) -> Result<Vec<u8>> {
        let mut length = [0; PREFIX];
        self.0.read_exact(&mut length).context("the guest sends nothing")?;
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        self.0.read_exact(&mut frame)?;
        Ok(frame)
    }
}

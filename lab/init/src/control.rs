//! The control port.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, Write},
    path::Path,
    sync::{Arc, Mutex},
};

use anyhow::{Error, Result};
use lab_init::{CHANNELS, CONTROL_PORT, Report, Request};

/// Opens both directions.
pub(crate) fn open() -> Result<(Requests, Reports)> {
    let port =
        OpenOptions::new().read(true).write(true).open(Path::new(CHANNELS).join(CONTROL_PORT))?;
    let requests = Requests(BufReader::new(port.try_clone()?));
    Ok((requests, Reports(Arc::new(Mutex::new(port)))))
}

/// Requests, as they arrive.
pub(crate) struct Requests(BufReader<File>);

impl Requests {
    /// Waits for one. `None` when the lab is gone.
    pub(crate) fn next(&mut self) -> io::Result<Option<serde_json::Result<Request>>> {
        let mut line = String::new();
        Ok(match self.0.read_line(&mut line)? {
            0 => None,
            _ => Some(serde_json::from_str(&line)),
        })
    }
}

/// Reports to the lab, from any thread.
#[derive(Clone)]
pub(crate) struct Reports(Arc<Mutex<File>>);

impl Reports {
    pub(crate) fn send(&self, report: &Report) {
        let mut line = serde_json::to_vec(report).expect("reports are plain data");
        line.push(b'\n');
        // A lab that no longer listens is ending this host anyway.
        let _ = self.0.lock().expect("no holder panics").write_all(&line);
    }

    pub(crate) fn failed(&self, what: impl Into<String>, error: &Error) {
        self.send(&Report::Failed { what: what.into(), why: format!("{error:#}") });
    }
}

//! The control socket: on each line a command in JSON, answered by a line with a reply in JSON.
//!
//! ```text
//! {"command":"record-start"}                              the record begins anew
//! {"command":"record-stop"}                               it stays as it is; the reply has it
//! {"command":"record"}                               {"record":[{"iova":4096,"pages":2}, …]}
//! {"command":"status"}                                    {"status":{"link":true, …}}
//! {"command":"cable","plugged":false}                     link down
//! {"command":"flap","times":100,"down_ms":5,"up_ms":20}   answered when it is over
//! {"command":"fault","fault":"oversized","frames":3}      see [`Fault`]
//! {"command":"interrupt","vector":0,"times":1000}         spurious messages
//! {"command":"exit"}                                      the process ends as by a crash
//! ```

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::{Control, Status};
use crate::{fault::Fault, memory::Pages};

/// What can be asked of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum Command {
    /// Starts a new record of written pages.
    RecordStart,
    /// Ends the record, and returns it.
    RecordStop,
    /// Returns the record.
    Record,
    /// Returns state and counters.
    Status,
    /// Plugs or pulls the cable.
    Cable {
        /// Whether it is to be plugged.
        plugged: bool,
    },
    /// Pulls and plugs the cable repeatedly, and replies when that is over.
    Flap {
        /// How often.
        times: u32,
        /// How long the link is down each time.
        down_ms: u64,
        /// How long it is up each time.
        up_ms: u64,
    },
    /// Mistreats the next received frames.
    Fault {
        /// How.
        fault: Fault,
        /// How many.
        frames: u64,
    },
    /// Sends interrupts nobody asked for.
    Interrupt {
        /// The vector of the MSI-X table.
        vector: usize,
        /// How many.
        times: u64,
    },
    /// Ends the process at once. Refused unless the model is a process of its own.
    Exit,
}

/// The reply to a command, which was carried out unless there is an error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// Why the command was not carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The record, in order of addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<Vec<Pages>>,
    /// State and counters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
}

/// The other end of a control socket.
pub struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects to the control socket at `path`.
    ///
    /// # Errors
    /// No model listens there.
    pub fn connect(path: &Path) -> Result<Self> {
        let stream = UnixStream::connect(path)
            .with_context(|| format!("no 82599 model listens on {}", path.display()))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Sends a command and waits for its reply.
    ///
    /// # Errors
    /// The model is gone, or cannot do what it was asked to.
    pub fn send(&mut self, command: &Command) -> Result<Reply> {
        let mut line = serde_json::to_string(command)?;
        line.push('\n');
        self.stream.get_mut().write_all(line.as_bytes())?;
        line.clear();
        self.stream.read_line(&mut line)?;
        let reply: Reply = serde_json::from_str(&line).context("the 82599 model is gone")?;
        match reply.error {
            Some(error) => bail!("the 82599 model: {error}"),
            None => Ok(reply),
        }
    }
}

/// Serves all clients, each in a thread, until the model stops.
pub(crate) fn serve(listener: &UnixListener, control: &Control, may_exit: bool) {
    for stream in listener.incoming() {
        if control.is_stopping() {
            return;
        }
        let Ok(stream) = stream else { continue };
        let control = control.clone();
        // A command that takes time must not hold up other clients.
        thread::spawn(move || converse(stream, &control, may_exit));
    }
}

fn converse(stream: UnixStream, control: &Control, may_exit: bool) -> Option<()> {
    let mut out = stream.try_clone().ok()?;
    for line in BufReader::new(stream).lines() {
        let reply = match serde_json::from_str(&line.ok()?) {
            Ok(Command::Exit) if may_exit => std::process::exit(1),
            Ok(command) => apply(control, &command),
            Err(error) => Reply { error: Some(error.to_string()), ..Reply::default() },
        };
        let mut text = serde_json::to_string(&reply).ok()?;
        text.push('\n');
        out.write_all(text.as_bytes()).ok()?;
    }
    Some(())
}

fn apply(control: &Control, command: &Command) -> Reply {
    let mut reply = Reply::default();
    match *command {
        Command::RecordStart => control.start_record(),
        Command::RecordStop => reply.record = Some(control.stop_record()),
        Command::Record => reply.record = Some(control.record()),
        Command::Status => reply.status = Some(control.status()),
        Command::Cable { plugged } => control.plug(plugged),
        Command::Flap { times, down_ms, up_ms } => {
            for _ in 0..times {
                control.plug(false);
                thread::sleep(Duration::from_millis(down_ms));
                control.plug(true);
                thread::sleep(Duration::from_millis(up_ms));
            }
        }
        Command::Fault { fault, frames } => control.inject(fault, frames),
        Command::Interrupt { vector, times } => {
            for _ in 0..times {
                control.interrupt(vector);
            }
        }
        Command::Exit => {
            reply.error = Some("this model is part of a process that does more".into());
        }
    }
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_what_the_documentation_says() {
        let flap = r#"{"command":"flap","times":100,"down_ms":5,"up_ms":20}"#;
        assert_eq!(
            serde_json::from_str::<Command>(flap).unwrap(),
            Command::Flap { times: 100, down_ms: 5, up_ms: 20 }
        );
        let fault = r#"{"command":"fault","fault":"out-of-range","frames":3}"#;
        assert_eq!(
            serde_json::from_str::<Command>(fault).unwrap(),
            Command::Fault { fault: Fault::OutOfRange, frames: 3 }
        );
        assert!(serde_json::from_str::<Command>(r#"{"command":"explode"}"#).is_err());
    }
}

//! A client of the QEMU Machine Protocol (QEMU `docs/interop/qmp-spec.rst`), typed for the commands
//! that a migration needs.
//!
//! The `qapi` crate would have all commands, but its types are generated from an older QEMU's
//! schema, and an event or a migration status it does not know ends the connection. Here, what is
//! not known is passed by.

mod commands;

pub use commands::*;

use crate::clock::Clock;
use anyhow::{Context, Result, anyhow, bail};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::VecDeque;
use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// How long a monitor may take to answer. Under emulation, with everything else going on, a second
/// is nothing.
const PATIENCE: Duration = Duration::from_secs(60);

/// A command and what it returns.
pub trait Command: Serialize {
    /// Its name.
    const NAME: &'static str;
    /// What comes back. `Empty` when nothing does.
    type Return: DeserializeOwned;
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Event {
    /// Its name.
    #[serde(rename = "event")]
    pub name: String,
    /// What belongs to it.
    #[serde(default)]
    pub data: Value,
}

/// A refusal by QEMU, in its words.
#[derive(Debug)]
pub struct Refused {
    /// The command.
    pub command: &'static str,
    /// QEMU's description.
    pub description: String,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "QEMU refused {}: {}", self.command, self.description)
    }
}

impl std::error::Error for Refused {}

/// A monitor.
#[derive(Debug)]
pub struct Qmp {
    /// Whose monitor it is, for errors.
    machine: String,
    clock: Clock,
    stream: UnixStream,
    received: Vec<u8>,
    events: VecDeque<Event>,
}

impl Qmp {
    /// Waits for the greeting and negotiates. The stream may still hold what an earlier machine
    /// said.
    pub fn connect(machine: &str, stream: UnixStream) -> Result<Self> {
        let mut qmp = Self {
            machine: machine.into(),
            clock: Clock::real(),
            stream,
            received: Vec::new(),
            events: VecDeque::new(),
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            let message = qmp.message(deadline)?.with_context(|| {
                format!(
                    "the monitor of the {machine} did not greet within {} s",
                    PATIENCE.as_secs()
                )
            })?;
            if message.get("QMP").is_some() {
                break;
            }
        }
        qmp.events.clear();
        qmp.execute(&Capabilities {})?;
        Ok(qmp)
    }

    /// The same monitor, with patience in the time of `clock`.
    #[must_use]
    pub fn timed_by(self, clock: &Clock) -> Self {
        Self { clock: clock.clone(), ..self }
    }

    /// Executes a command. A [`Refused`] is in the error's chain when QEMU answered, but with an
    /// error.
    pub fn execute<C: Command>(&mut self, command: &C) -> Result<C::Return> {
        let mut line =
            serde_json::to_vec(&serde_json::json!({ "execute": C::NAME, "arguments": command }))?;
        line.push(b'\n');
        let machine = self.machine.clone();
        let context = || format!("monitor of the {machine}: {}", C::NAME);
        self.stream.write_all(&line).with_context(context)?;
        let deadline = self.clock.now() + PATIENCE;
        loop {
            let mut message = self.message(deadline).with_context(context)?.with_context(|| {
                format!("{}: no answer within {} s", context(), PATIENCE.as_secs())
            })?;
            if let Some(value) = message.get_mut("return") {
                return serde_json::from_value(value.take()).with_context(context);
            }
            if let Some(error) = message.get("error") {
                let description = error["desc"].as_str().unwrap_or("(no description)").into();
                return Err(anyhow!(Refused { command: C::NAME, description }).context(context()));
            }
            self.note(message).with_context(context)?;
        }
    }

    /// Waits until an event of that name, and takes it and all before it. `None`: not within
    /// `patience`.
    pub fn wait_event(&mut self, name: &str, patience: Duration) -> Result<Option<Event>> {
        let deadline = self.clock.now() + patience;
        loop {
            while let Some(event) = self.events.pop_front() {
                if event.name == name {
                    return Ok(Some(event));
                }
            }
            match self.message(deadline)? {
                Some(message) => self.note(message)?,
                None => return Ok(None),
            }
        }
    }

    /// Keeps an event. An error if it is QEMU's last: no command is answered after that.
    fn note(&mut self, message: Value) -> Result<()> {
        let Ok(event) = serde_json::from_value::<Event>(message) else { return Ok(()) };
        if event.name == "SHUTDOWN" {
            let reason = event.data["reason"].as_str().unwrap_or("unknown");
            bail!(Ends { reason: reason.into() });
        }
        self.events.push_back(event);
        Ok(())
    }

    /// The next message, or `None` at the deadline.
    fn message(&mut self, deadline: Instant) -> Result<Option<Value>> {
        loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.received.drain(..=end).collect();
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                return serde_json::from_slice(&line).map(Some).with_context(|| {
                    let line = String::from_utf8_lossy(&line);
                    format!("the monitor of the {} sent no JSON: {}", self.machine, line.trim_end())
                });
            }
            // A timeout of zero would mean none.
            let left = self.clock.patience(self.clock.until(deadline));
            let left = left.max(Duration::from_micros(1));
            self.stream.set_read_timeout(Some(left))?;
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk) {
                Ok(0) => bail!("the {} closed its monitor", self.machine),
                Ok(count) => self.received.extend_from_slice(&chunk[..count]),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    if self.clock.now() >= deadline {
                        return Ok(None);
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(error).with_context(|| {
                        format!("cannot read the monitor of the {}", self.machine)
                    });
                }
            }
        }
    }
}

/// A machine's QEMU is at its end.
#[derive(Debug)]
pub struct Ends {
    /// Why (QEMU, `qapi/run-state.json`, `ShutdownCause`).
    reason: String,
}

impl Ends {
    /// Whether the guest's processor was reset, which Godwit never asks for.
    pub fn by_reset(&self) -> bool {
        self.reason == "guest-reset"
    }
}

impl fmt::Display for Ends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "QEMU ends: {}", self.reason)?;
        f.write_str(match self.reason.as_str() {
            _ if self.by_reset() => {
                ", which Godwit never asks for: its processor was reset by a triple fault"
            }
            "guest-shutdown" => ", which Godwit asks for when it has panicked",
            _ => "",
        })
    }
}

impl std::error::Error for Ends {}

/// Whether the error is QEMU's own refusal, and not a broken connection.
pub fn refusal(error: &anyhow::Error) -> Option<&Refused> {
    error.downcast_ref()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};

    /// Answers each line with the next of `answers`.
    fn monitor(
        answers: &'static [&'static str],
    ) -> (UnixStream, std::thread::JoinHandle<Vec<String>>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let served = std::thread::spawn(move || {
            let mut writer = theirs.try_clone().unwrap();
            let mut lines = BufReader::new(theirs).lines();
            let mut heard = Vec::new();
            writer.write_all(b"{\"event\": \"STOP\"}\r\n{\"QMP\": {\"version\": {}}}\r\n").unwrap();
            writer.write_all(b"{\"return\": {}}\r\n").unwrap();
            heard.push(lines.next().unwrap().unwrap());
            for answer in answers {
                heard.push(lines.next().unwrap().unwrap());
                // In two pieces, as a relay may deliver it.
                let (a, b) = answer.split_at(answer.len() / 2);
                writer.write_all(a.as_bytes()).unwrap();
                writer.write_all(b.as_bytes()).unwrap();
                writer.write_all(b"\r\n").unwrap();
            }
            heard
        });
        (ours, served)
    }

    #[test]
    fn commands_are_sent_and_answered_with_events_in_between() {
        let (stream, served) = monitor(&[
            "{\"event\": \"NEVER_HEARD_OF\", \"data\": {\"x\": 1}, \"timestamp\": {}}\r\n\
             {\"return\": {\"status\": \"brand-new\", \"ram\": {\"transferred\": 7}}}",
            "{\"return\": {}}",
        ]);
        let mut qmp = Qmp::connect("source", stream).unwrap();
        let info = qmp.execute(&QueryMigrate {}).unwrap();
        assert_eq!(info.status.as_deref(), Some("brand-new"));
        assert_eq!(info.ram.unwrap().transferred, 7);
        let event = qmp.wait_event("NEVER_HEARD_OF", Duration::ZERO).unwrap().unwrap();
        assert_eq!(event.data["x"], 1);
        qmp.execute(&MigrateSetParameters {
            max_bandwidth: 1 << 20,
            avail_switchover_bandwidth: Some(1 << 24),
            downtime_limit: 300,
        })
        .unwrap();
        let heard = served.join().unwrap();
        assert_eq!(heard[0], "{\"arguments\":{},\"execute\":\"qmp_capabilities\"}");
        let sent: Value = serde_json::from_str(&heard[2]).unwrap();
        assert_eq!(sent["arguments"]["max-bandwidth"], 1 << 20);
        assert_eq!(sent["arguments"]["downtime-limit"], 300);
    }

    #[test]
    fn a_refusal_is_in_qemus_words() {
        let (stream, _served) = monitor(&[
            "{\"error\": {\"class\": \"GenericError\", \"desc\": \"Guest is not ready\"}}",
        ]);
        let mut qmp = Qmp::connect("source", stream).unwrap();
        let error = qmp.execute(&MigrateCancel {}).unwrap_err();
        assert_eq!(refusal(&error).unwrap().description, "Guest is not ready");
        assert!(format!("{error:#}").contains("source"), "{error:#}");
    }

    #[test]
    fn a_monitor_that_closes_or_babbles_is_an_error() {
        let (stream, served) = monitor(&["what?"]);
        let mut qmp = Qmp::connect("destination", stream).unwrap();
        assert!(format!("{:#}", qmp.execute(&Cont {}).unwrap_err()).contains("what?"));
        served.join().unwrap();
        let error = qmp.wait_event("X", Duration::from_secs(5)).unwrap_err();
        assert!(error.to_string().contains("destination closed"), "{error}");
    }

    #[test]
    fn a_machine_that_ends_is_not_waited_for() {
        let (stream, _served) = monitor(&[
            "{\"event\": \"SHUTDOWN\", \"data\": {\"guest\": true, \"reason\": \"guest-reset\"}}",
        ]);
        let mut qmp = Qmp::connect("source", stream).unwrap();
        let error = qmp.execute(&Cont {}).unwrap_err();
        assert!(error.downcast_ref::<Ends>().is_some_and(Ends::by_reset), "{error:?}");
        let error = format!("{error:#}");
        assert!(error.contains("source") && error.contains("triple fault"), "{error}");
    }

    #[test]
    fn waiting_for_an_event_ends() {
        let (stream, _served) = monitor(&["{\"return\": {}}"]);
        let mut qmp = Qmp::connect("source", stream).unwrap();
        assert_eq!(qmp.wait_event("RESUME", Duration::from_millis(10)).unwrap(), None);
    }
}

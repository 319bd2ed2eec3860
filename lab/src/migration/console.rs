//! What the guest says on its console.

use anyhow::{Context, Error, Result, bail};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// The family of standbys, as the guest calls it.
const STANDBY: &str = "virtio";

/// A line that scripts may rely on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// An address is up.
    Ready {
        /// The address.
        ip: String,
    },
    /// The guest marks, and has caught up with what came before.
    LoggingOn {
        /// The EPOCH it acknowledges.
        epoch: u32,
        /// Pages it caught up on.
        caught_up: u64,
    },
    /// The guest no longer marks.
    LoggingOff {
        /// The EPOCH it acknowledges.
        epoch: u32,
    },
    /// The guest found itself on the destination.
    Moved,
    /// The NIC was given back to the hypervisor.
    NicDetached,
    /// A NIC has been taken into use.
    NicAttached,
    /// Traffic goes over this one of a pair's NICs from now on.
    NowUsing {
        /// Its standby, else its primary.
        standby: bool,
    },
    /// How many of the frames about to be counted were received while the hypervisor was logging.
    WhileLogging(u64),
    /// The end of an integrity check.
    Checked {
        /// Frames checked.
        checked: u64,
        /// Those whose content is not what was received.
        stale: u64,
    },
    /// Counts of the DMA layer.
    Dma {
        /// Pages marked on reception.
        marked: u64,
        /// Pages marked by catch-up.
        caught_up: u64,
        /// Buffers received.
        received: u64,
    },
    /// The guest died.
    Panic,
}

/// Reads a line; `None` for all that no script relies on.
pub fn parse(line: &str) -> Option<Said> {
    let line = line.trim();
    // The log puts a time and a level before some lines; what a script looks for starts with a name and a colon.
    let start = ["godwit: ", "agent: ", "nic: ", "recorder: ", "dma: "]
        .iter()
        .filter_map(|name| line.find(name))
        .min();
    let lower = line.to_ascii_lowercase();
    if lower.contains("panic") || lower.starts_with("exception") {
        return Some(Said::Panic);
    }
    let line = &line[start?..];
    let words: Vec<&str> = line.split_whitespace().collect();
    let named =
        |name: &str| words.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    let after = |name: &str| {
        let at = words.iter().position(|word| *word == name)?;
        words.get(at + 1)?.parse().ok()
    };
    Some(match &words[..] {
        ["godwit:", "ready", ..] => Said::Ready { ip: named("ip")?.into() },
        ["agent:", "logging", "on", ..] => Said::LoggingOn {
            epoch: named("epoch")?.parse().ok()?,
            caught_up: named("caught-up")?.parse().ok()?,
        },
        ["agent:", "logging", "off", ..] => {
            Said::LoggingOff { epoch: named("epoch")?.parse().ok()? }
        }
        ["agent:", "moved", ..] => Said::Moved,
        ["nic:", "detached", ..] => Said::NicDetached,
        ["nic:", "attached", ..] => Said::NicAttached,
        ["nic:", "now", "using", family, ..] => Said::NowUsing { standby: *family == STANDBY },
        ["recorder:", "while-logging", count, ..] => Said::WhileLogging(count.parse().ok()?),
        ["recorder:", "checked", ..] => {
            Said::Checked { checked: after("checked")?, stale: after("stale")? }
        }
        ["dma:", "marked", ..] => Said::Dma {
            marked: after("marked")?,
            caught_up: after("caught-up")?,
            received: after("received")?,
        },
        _ => return None,
    })
}

/// A line and when it was complete.
#[derive(Clone, Debug)]
pub struct Line {
    /// When.
    pub at: Instant,
    /// Without its end.
    pub text: String,
    /// What a script makes of it.
    pub said: Option<Said>,
}

#[derive(Default)]
struct Heard {
    lines: Vec<Line>,
    closed: bool,
}

/// A guest died, and said so on its console.
#[derive(Debug)]
pub struct Died {
    machine: String,
    /// What it said.
    words: String,
    log: PathBuf,
}

impl std::fmt::Display for Died {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { machine, words, log } = self;
        write!(f, "the {machine}'s guest died: {words} (its console is in {})", log.display())
    }
}

impl std::error::Error for Died {}

/// A console: listens in the background, keeps every line, and writes all to a log.
pub struct Console {
    machine: String,
    log: PathBuf,
    heard: Arc<(Mutex<Heard>, Condvar)>,
}

/// How long what a guest has said may take to be heard.
const MOMENT: Duration = Duration::from_secs(1);

impl Console {
    /// Listens to `stream`, until it closes. Everything said goes to the file `log` as well.
    pub fn listen(machine: &str, mut stream: UnixStream, log: &Path) -> Result<Self> {
        let mut file =
            File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let heard = Arc::<(Mutex<Heard>, Condvar)>::default();
        let shared = heard.clone();
        let body = move || {
            let mut partial = Vec::new();
            let mut chunk = [0; 4096];
            loop {
                match stream.read(&mut chunk) {
                    Ok(0) => break,
                    Ok(count) => {
                        // A log that cannot be written must not end the migration it tells about.
                        let _ = file.write_all(&chunk[..count]);
                        partial.extend_from_slice(&chunk[..count]);
                    }
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    Err(_) => break,
                }
                while let Some(end) = partial.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = partial.drain(..=end).collect();
                    let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                    let said = parse(&text);
                    shared.0.lock().unwrap().lines.push(Line { at: Instant::now(), text, said });
                    shared.1.notify_all();
                }
            }
            shared.0.lock().unwrap().closed = true;
            shared.1.notify_all();
        };
        let name = format!("console-{machine}");
        std::thread::Builder::new()
            .name(name)
            .spawn(body)
            .context("cannot listen to the console")?;
        Ok(Self { machine: machine.into(), log: log.into(), heard })
    }

    /// The number of lines so far: where to look from for what follows.
    pub fn mark(&self) -> usize {
        self.heard.0.lock().unwrap().lines.len()
    }

    /// All lines from `mark` on.
    pub fn since(&self, mark: usize) -> Vec<Line> {
        self.heard.0.lock().unwrap().lines.get(mark..).unwrap_or_default().to_vec()
    }

    /// The first line from `mark` on that `wanted` accepts, if it has been said.
    pub fn find(&self, mark: usize, wanted: impl Fn(&Said) -> bool) -> Option<Line> {
        let heard = self.heard.0.lock().unwrap();
        heard
            .lines
            .get(mark..)?
            .iter()
            .find(|line| line.said.as_ref().is_some_and(&wanted))
            .cloned()
    }

    /// Whether the guest has said something from `mark` on that `wanted` accepts. Others may know of it sooner than its console does.
    pub fn has_said(&self, mark: usize, wanted: impl Fn(&Said) -> bool) -> bool {
        let said = |line: &Line| line.said.as_ref().is_some_and(&wanted);
        let has_not = |heard: &mut Heard| {
            !heard.closed && !heard.lines.get(mark..).unwrap_or_default().iter().any(said)
        };
        let heard = self.heard.0.lock().unwrap();
        let (heard, _) = self.heard.1.wait_timeout_while(heard, MOMENT, has_not).unwrap();
        heard.lines.get(mark..).unwrap_or_default().iter().any(said)
    }

    /// How the guest died, if it has. As with [`Console::has_said`], that may take a moment.
    pub fn death(&self) -> Option<Died> {
        let last_words = |heard: &Heard| {
            let lines = &heard.lines;
            let at = lines.iter().position(|line| line.said == Some(Said::Panic))?;
            // Where it panicked, and on the next line why.
            Some(lines[at..].iter().take(2).map(|line| line.text.clone()).collect::<Vec<_>>())
        };
        let is_short = |heard: &mut Heard| {
            !heard.closed && last_words(heard).is_none_or(|words| words.len() < 2)
        };
        let heard = self.heard.0.lock().unwrap();
        let (heard, _) = self.heard.1.wait_timeout_while(heard, MOMENT, is_short).unwrap();
        let words = last_words(&heard)?.join(" ");
        Some(Died { machine: self.machine.clone(), words, log: self.log.clone() })
    }

    /// Waits for a line that `wanted` accepts, from `mark` on. A panic of the guest, the end of the machine and silence
    /// are errors, which say what was waited for and how the console ends.
    pub fn wait_for(
        &self,
        mark: usize,
        what: &str,
        patience: Duration,
        wanted: impl Fn(&Said) -> bool,
    ) -> Result<Line> {
        let deadline = Instant::now() + patience;
        let mut heard = self.heard.0.lock().unwrap();
        let mut next = mark;
        loop {
            while let Some(line) = heard.lines.get(next) {
                next += 1;
                match &line.said {
                    Some(said) if wanted(said) => return Ok(line.clone()),
                    Some(Said::Panic) => {
                        drop(heard);
                        let died = self.death().map(Error::from).context("it said so")?;
                        return Err(died.context(format!("waiting for {what}")));
                    }
                    _ => {}
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if heard.closed || left.is_zero() {
                let why = if heard.closed {
                    "its console closed".into()
                } else {
                    format!("{} s passed", patience.as_secs())
                };
                let tail: Vec<&str> = heard
                    .lines
                    .iter()
                    .rev()
                    .take(12)
                    .rev()
                    .map(|line| line.text.as_str())
                    .collect();
                bail!(
                    "{why} while waiting for {what} from the {}'s guest. The end of its console:\n{}",
                    self.machine,
                    if tail.is_empty() { "(nothing was said)".into() } else { tail.join("\n") }
                );
            }
            heard = self.heard.1.wait_timeout(heard, left).unwrap().0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_understood() {
        let cases = [
            (
                "godwit: ready ip=10.0.2.15/24 nic=e1000e mac=52:54:00:67:6f:01",
                Said::Ready { ip: "10.0.2.15/24".into() },
            ),
            (
                "agent: logging on epoch=3 caught-up=412",
                Said::LoggingOn { epoch: 3, caught_up: 412 },
            ),
            ("agent: logging off epoch=4", Said::LoggingOff { epoch: 4 }),
            ("agent: moved epoch=5", Said::Moved),
            ("nic: detached", Said::NicDetached),
            ("nic: attached e1000e", Said::NicAttached),
            ("nic: now using virtio", Said::NowUsing { standby: true }),
            ("nic: now using e1000e", Said::NowUsing { standby: false }),
            ("recorder: while-logging 1200", Said::WhileLogging(1200)),
            (
                "  [12.3 INFO] recorder: checked 5000 stale 2\r",
                Said::Checked { checked: 5000, stale: 2 },
            ),
            (
                "dma: marked 10 caught-up 20 received 30",
                Said::Dma { marked: 10, caught_up: 20, received: 30 },
            ),
            ("panicked at src/main.rs:1", Said::Panic),
        ];
        for (line, said) in cases {
            assert_eq!(parse(line), Some(said), "{line}");
        }
        for line in [
            "",
            "agent: no capability above the NIC, marking always",
            "recorder: checked many stale 1",
            "hello",
        ] {
            assert_eq!(parse(line), None, "{line}");
        }
    }

    fn console() -> (UnixStream, Console, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let console = Console::listen("source", ours, &dir.path().join("log")).unwrap();
        (theirs, console, dir)
    }

    #[test]
    fn waiting_finds_lines_of_before_and_after() {
        let (mut guest, console, dir) = console();
        guest.write_all(b"nic: detached\nnic: att").unwrap();
        let patience = Duration::from_secs(5);
        console.wait_for(0, "detach", patience, |said| *said == Said::NicDetached).unwrap();
        let mark = console.mark();
        guest.write_all(b"ached e1000e\n").unwrap();
        console.wait_for(mark, "attach", patience, |said| *said == Said::NicAttached).unwrap();
        assert!(console.find(mark, |said| *said == Said::NicDetached).is_none());
        assert_eq!(
            std::fs::read_to_string(dir.path().join("log")).unwrap(),
            "nic: detached\nnic: attached e1000e\n"
        );
    }

    #[test]
    fn a_panic_a_close_and_silence_are_told_apart() {
        let wanted = |said: &Said| *said == Said::Moved;
        let (mut guest, console, _dir) = console();
        guest.write_all(b"so far so good\n").unwrap();
        while console.mark() == 0 {
            std::thread::yield_now();
        }
        let error = console
            .wait_for(0, "the move", Duration::from_millis(10), wanted)
            .unwrap_err()
            .to_string();
        assert!(error.contains("the move") && error.contains("so far so good"), "{error}");
        guest.write_all(b"panicked at src/main.rs:7:9:\n").unwrap();
        let late = std::thread::spawn(move || {
            std::thread::sleep(MOMENT / 20);
            guest.write_all(b"oops\nbacktrace\n").unwrap();
            guest
        });
        let error = console.wait_for(0, "the move", Duration::from_secs(5), wanted).unwrap_err();
        let words =
            "waiting for the move: the source's guest died: panicked at src/main.rs:7:9: oops (";
        assert!(format!("{error:#}").starts_with(words), "{error:#}");
        assert!(error.downcast_ref::<Died>().is_some());
        let guest = late.join().unwrap();
        let mark = console.mark();
        drop(guest);
        let error = console
            .wait_for(mark, "the move", Duration::from_secs(5), wanted)
            .unwrap_err()
            .to_string();
        assert!(error.contains("closed"), "{error}");
    }
}

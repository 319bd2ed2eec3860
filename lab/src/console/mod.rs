//! What a guest says on its console, wherever it runs: in a lab, or in a QEMU on this machine.

mod said;

pub use said::{Said, parse};

use crate::clock::Clock;
use anyhow::{Context, Error, Result, bail};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

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
    /// A line that has no end yet.
    partial: String,
    closed: bool,
}

/// A guest died, and said so on its console.
#[derive(Debug)]
pub struct Died {
    who: String,
    /// What it said.
    words: String,
    log: PathBuf,
}

impl std::fmt::Display for Died {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { who, words, log } = self;
        write!(f, "{who} died: {words} (its console is in {})", log.display())
    }
}

impl std::error::Error for Died {}

/// A console: listens in the background, keeps every line, and writes all to a log.
pub struct Console {
    clock: Clock,
    who: String,
    log: PathBuf,
    heard: Arc<(Mutex<Heard>, Condvar)>,
}

/// How long what a guest has said may take to be heard.
const MOMENT: Duration = Duration::from_secs(1);
/// How many lines of a console an error shows.
const TAIL: usize = 12;

impl Console {
    /// Listens to `stream`, until it closes: what `who` says, such as "the guest". It goes to the
    /// file `log` as well.
    ///
    /// # Errors
    /// The log cannot be written.
    pub fn listen(who: &str, stream: impl Read + Send + 'static, log: &Path) -> Result<Self> {
        Self::listen_by(&Clock::real(), who, stream, log)
    }

    /// The same in the time of `clock`.
    ///
    /// # Errors
    /// The log cannot be written.
    pub fn listen_by(
        clock: &Clock,
        who: &str,
        mut stream: impl Read + Send + 'static,
        log: &Path,
    ) -> Result<Self> {
        let mut file =
            File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let heard = Arc::<(Mutex<Heard>, Condvar)>::default();
        let (shared, times) = (heard.clone(), clock.clone());
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
                let mut heard = shared.0.lock().unwrap();
                while let Some(end) = partial.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = partial.drain(..=end).collect();
                    let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                    let said = parse(&text);
                    heard.lines.push(Line { at: times.now(), text, said });
                }
                heard.partial = String::from_utf8_lossy(&partial).into_owned();
                shared.1.notify_all();
            }
            shared.0.lock().unwrap().closed = true;
            shared.1.notify_all();
        };
        std::thread::Builder::new()
            .name("console".into())
            .spawn(body)
            .context("cannot listen to the console")?;
        Ok(Self { clock: clock.clone(), who: who.into(), log: log.into(), heard })
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

    /// Whether the guest has said something from `mark` on that `wanted` accepts. Others may know
    /// of it sooner than its console does.
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
        Some(Died { who: self.who.clone(), words, log: self.log.clone() })
    }

    /// Waits for something said from `mark` on that `wanted` accepts.
    ///
    /// # Errors
    /// As those of [`Console::wait_for_line`].
    pub fn wait_for(
        &self,
        mark: usize,
        what: &str,
        patience: Duration,
        wanted: impl Fn(&Said) -> bool,
    ) -> Result<Line> {
        self.wait_for_line(mark, what, patience, |line| line.said.as_ref().is_some_and(&wanted))
    }

    /// Waits for a whole line that `wanted` accepts, from `mark` on.
    ///
    /// # Errors
    /// A panic of the guest, the end of the machine, and silence: they say what was waited for and
    /// how the console ends.
    pub fn wait_for_line(
        &self,
        mark: usize,
        what: &str,
        patience: Duration,
        wanted: impl Fn(&Line) -> bool,
    ) -> Result<Line> {
        let deadline = self.clock.now() + patience;
        let mut heard = self.heard.0.lock().unwrap();
        let mut next = mark;
        loop {
            while let Some(line) = heard.lines.get(next) {
                next += 1;
                if wanted(line) {
                    return Ok(line.clone());
                }
                if line.said == Some(Said::Panic) {
                    drop(heard);
                    let died = self.death().map(Error::from).context("it said so")?;
                    return Err(died.context(format!("waiting for {what}")));
                }
            }
            let left = self.clock.until(deadline);
            if heard.closed || left.is_zero() {
                let why = if heard.closed {
                    "its console closed".into()
                } else {
                    format!("{} s passed", patience.as_secs())
                };
                let tail = heard.lines.len().saturating_sub(TAIL);
                let tail: Vec<&str> =
                    heard.lines[tail..].iter().map(|line| line.text.as_str()).collect();
                bail!(
                    "{why} while waiting for {what} from {}. The end of its console:\n{}",
                    self.who,
                    if tail.is_empty() { "(nothing was said)".into() } else { tail.join("\n") }
                );
            }
            let left = self.clock.patience(left);
            heard = self.heard.1.wait_timeout(heard, left).unwrap().0;
        }
    }

    /// Everything said so far, and whether that is all there will ever be.
    pub fn text(&self) -> (String, bool) {
        let heard = self.heard.0.lock().unwrap();
        let lines = heard.lines.iter().map(|line| line.text.as_str());
        let text = lines.chain([heard.partial.as_str()]).collect::<Vec<_>>().join("\n");
        (text, heard.closed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    const DETACHED: Said = Said::NicDetached { interface: 0 };
    const ATTACHED: Said = Said::NicAttached { interface: 0 };

    fn console() -> (UnixStream, Console, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let console = Console::listen("the guest", ours, &dir.path().join("log")).unwrap();
        (theirs, console, dir)
    }

    #[test]
    fn waiting_finds_lines_of_before_and_after() {
        let (mut guest, console, dir) = console();
        guest.write_all(b"nic: detached\nnic: att").unwrap();
        let patience = Duration::from_secs(5);
        console.wait_for(0, "detach", patience, |said| *said == DETACHED).unwrap();
        let mark = console.mark();
        guest.write_all(b"ached e1000e\n").unwrap();
        console.wait_for(mark, "attach", patience, |said| *said == ATTACHED).unwrap();
        assert!(console.find(mark, |said| *said == DETACHED).is_none());
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
        let words = "waiting for the move: the guest died: panicked at src/main.rs:7:9: oops (";
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

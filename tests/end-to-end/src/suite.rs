//! The tests, run by libtest-mimic in lanes, each of which has one test after the other: a line
//! each.

use std::{
    cell::RefCell,
    fmt::{self, Write},
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Arc, OnceLock, PoisonError, RwLock},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use lab::system::{command, paths, progress, tools};
use libtest_mimic::{Arguments, Completion, Conclusion, Trial};

use crate::{
    junit, restarts,
    worker::{Body, Worker},
};

/// How much of a log a failure shows.
const TAIL: usize = 30;

/// For what boots a guest, and for what runs one migration.
pub(crate) const MINUTES: Duration = Duration::from_secs(10 * 60);
/// For what may build or download something large first, and for a series.
pub(crate) const LONG: Duration = Duration::from_secs(60 * 60);

/// Why a test was not carried out: it lacks something, which is not the project's fault.
#[derive(Debug)]
pub(crate) struct Skipped(pub(crate) String);

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Skipped {}

/// A test without which others make no sense.
#[derive(Clone)]
pub(crate) struct Need {
    name: String,
    /// Known once it is over.
    has_failed: Arc<OnceLock<bool>>,
}

/// A test that is running. Whoever needs it hears of its end even if that is a panic of ours, which
/// is a failure: they would wait for ever.
struct Ended<'n>(&'n OnceLock<bool>);

impl Ended<'_> {
    fn tell(self, has_failed: bool) {
        let _ = self.0.set(has_failed);
    }
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        // Unless it was told.
        let _ = self.0.set(true);
    }
}

/// What else may run on this machine while a test does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Beside {
    Others,
    Nobody,
}

/// The tests to be run.
pub(crate) struct Suite {
    /// In any lane.
    tests: Vec<Trial>,
    /// One at a time, after the others.
    alone: Vec<Trial>,
    needs: Vec<Need>,
    logs: PathBuf,
}

impl Suite {
    pub(crate) fn new() -> Self {
        let logs = paths::target().join("test-logs");
        Self { tests: Vec::new(), alone: Vec::new(), needs: Vec::new(), logs }
    }

    /// Adds a test that has so long to end, and shows the same whatever else runs on this machine:
    /// another test does, where there are processors for two.
    pub(crate) fn test(
        &mut self,
        name: &str,
        deadline: Duration,
        body: impl FnOnce(&Path) -> Result<String> + Send + 'static,
    ) -> Need {
        let (need, trial) = self.trial(name, deadline, Beside::Others, Box::new(body));
        self.tests.push(trial);
        need
    }

    /// Adds one that is to have this machine for itself: its figures are in the machine's own time.
    pub(crate) fn alone(
        &mut self,
        name: &str,
        deadline: Duration,
        body: impl FnOnce(&Path) -> Result<String> + Send + 'static,
    ) {
        let (_, trial) = self.trial(name, deadline, Beside::Nobody, Box::new(body));
        self.alone.push(trial);
    }

    fn trial(&self, name: &str, deadline: Duration, beside: Beside, body: Body) -> (Need, Trial) {
        let need = Need { name: name.into(), has_failed: Arc::default() };
        let (this, needs) = (need.clone(), self.needs.clone());
        let log = self.logs.join(format!("{}.log", name.replace([' ', '/', ':', '=', ','], "-")));
        let run = move || {
            let ended = Ended(&this.has_failed);
            let completion = run(&this.name, &needs, deadline, beside, body, &log);
            ended.tell(completion.is_err());
            completion.map_err(|error| format!("{error:#}").into())
        };
        (need, Trial::ignorable_test(name, run))
    }

    /// What the tests are called.
    #[cfg(test)]
    pub(crate) fn titles(&self) -> impl Iterator<Item = &str> {
        self.tests.iter().chain(&self.alone).map(Trial::name)
    }

    /// The tests added from now on are carried out once that one is over, if it did not fail.
    pub(crate) fn needs(&mut self, need: Need) {
        self.needs.push(need);
    }

    /// Runs those whose name contains `filter`, so many at a time, or lists them. Says in the end
    /// what came out.
    pub(crate) fn run(self, lanes: usize, filter: Option<String>, list: bool) -> Result<ExitCode> {
        let logs = self.logs.clone();
        let lock = paths::target().join("test-logs.lock");
        let lock = fs::File::create(&lock).with_context(|| lock.display().to_string())?;
        let test_threads = Some(lanes);
        let mut arguments = Arguments { filter, list, test_threads, ..Arguments::default() };
        if !list {
            if lock.try_lock().is_err() {
                bail!(
                    "another `cargo xtask test` is running, and has its logs in {}",
                    logs.display()
                );
            }
            if logs.exists() {
                fs::remove_dir_all(&logs).with_context(|| logs.display().to_string())?;
            }
            fs::create_dir_all(&logs).with_context(|| logs.display().to_string())?;
            // Its own words go there: ours have seconds, remarks and logs.
            let words = logs.join("libtest.log");
            arguments.logfile = Some(words.display().to_string());
        }
        let started = Instant::now();
        let conclusion = self.carry_out(&arguments);
        if list {
            return Ok(ExitCode::SUCCESS);
        }
        let (passed, failed) = (conclusion.num_passed, conclusion.num_failed);
        let skipped = conclusion.num_ignored;
        println!();
        if passed + failed + skipped == 0 {
            println!("no test has {:?} in its name", arguments.filter.unwrap_or_default());
        }
        let results = logs.join("junit.xml");
        junit::write(&results)?;
        println!("logs: {}, results for CI: {}", logs.display(), results.display());
        let skipped_too = if skipped > 0 { format!(", {skipped} skipped") } else { String::new() };
        if let Some(restarts) = restarts::said() {
            println!("{restarts}");
        }
        println!("{lanes} at a time, {:.0} s in all", started.elapsed().as_secs_f64());
        println!("{passed} passed, {failed} failed{skipped_too}");
        let is_good = failed == 0 && passed > 0;
        Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn carry_out(self, arguments: &Arguments) -> Conclusion {
        let filter = arguments.filter.as_deref().unwrap_or_default();
        for need in self.needs.iter().filter(|need| !need.name.contains(filter)) {
            // It is not run, and nobody is to wait for it.
            let _ = need.has_failed.set(false);
        }
        // A lane takes the next test from the front. So one that needs another finds it running, or
        // over, and those that run alone keep no lane waiting for long.
        libtest_mimic::run(arguments, self.tests.into_iter().chain(self.alone).collect())
    }
}

/// Runs one test, and prints its line.
fn run(
    name: &str,
    needs: &[Need],
    deadline: Duration,
    beside: Beside,
    body: Body,
    log: &Path,
) -> Result<Completion> {
    /// Held while a test runs, by one that runs alone for itself.
    static MACHINE: RwLock<()> = RwLock::new(());
    thread_local! {
        /// This lane's.
        static WORKER: RefCell<Option<Worker>> = const { RefCell::new(None) };
    }
    // Before the machine is taken, which what is needed may still want.
    let failed = needs.iter().find(|need| *need.has_failed.wait());
    let (_shared, _whole) = match beside {
        Beside::Others => (Some(MACHINE.read().unwrap_or_else(PoisonError::into_inner)), None),
        Beside::Nobody => (None, Some(MACHINE.write().unwrap_or_else(PoisonError::into_inner))),
    };
    let started = Instant::now();
    let result = match failed {
        Some(need) => Err(Skipped(format!("`{}` failed", need.name)).into()),
        None => WORKER.with_borrow_mut(|worker| Worker::run(worker, body, log, deadline)),
    };
    let seconds = started.elapsed().as_secs_f64();
    match result {
        Ok(remark) => {
            junit::note(name, started.elapsed(), &junit::Outcome::Passed(&remark));
            let separator = if remark.is_empty() { "" } else { ": " };
            progress::line(&format!("test {name} ... ok{separator}{remark} ({seconds:.1} s)"));
            Ok(Completion::Completed)
        }
        Err(error) if is_for_want(&error) => {
            let why = format!("{error:#}");
            junit::note(name, started.elapsed(), &junit::Outcome::Skipped(&why));
            progress::line(&format!("test {name} ... ignored, {why}"));
            Ok(Completion::ignored_with(why))
        }
        Err(error) => {
            let why = format!("{error:#}");
            junit::note(name, started.elapsed(), &junit::Outcome::Failed(&why));
            let mut said = format!("test {name} ... FAILED ({seconds:.1} s)\n    {why}");
            if log.exists() {
                let text = fs::read(log).unwrap_or_default();
                let tail = command::tail(&String::from_utf8_lossy(&text), TAIL);
                write!(said, "\n  the end of {}:\n{tail}", log.display())?;
            }
            progress::line(&said);
            Err(error)
        }
    }
}

/// Whether a test failed only for want of something that this machine does not have.
fn is_for_want(error: &anyhow::Error) -> bool {
    error.is::<Skipped>() || error.is::<tools::Missing>()
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering::Relaxed},
        thread,
    };

    use super::*;

    /// For what is to happen in any case, on a machine however busy.
    const LATE: Duration = Duration::from_secs(60);
    const AWHILE: Duration = Duration::from_millis(100);

    fn carry_out(suite: Suite, lanes: usize, filter: Option<&str>) -> Conclusion {
        let words = tempfile::NamedTempFile::new().unwrap();
        suite.carry_out(&Arguments {
            test_threads: Some(lanes),
            logfile: Some(words.path().display().to_string()),
            filter: filter.map(str::to_owned),
            ..Arguments::default()
        })
    }

    #[test]
    fn two_lanes_have_two_tests_at_a_time_and_none_beside_one_that_runs_alone() {
        static RUNNING: AtomicUsize = AtomicUsize::new(0);
        /// The most that there were at a time.
        fn most_for(length: Duration, enough: usize) -> usize {
            let deadline = Instant::now() + length;
            let mut most = RUNNING.fetch_add(1, Relaxed) + 1;
            while most < enough && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(1));
                most = most.max(RUNNING.load(Relaxed));
            }
            // The other has to have seen it too.
            thread::sleep(AWHILE);
            RUNNING.fetch_sub(1, Relaxed);
            most
        }
        let check = |lanes: usize| {
            let mut suite = Suite::new();
            for name in ["alone 1", "alone 2"] {
                suite.alone(name, LATE, |_| {
                    let most = most_for(AWHILE, 2);
                    anyhow::ensure!(most == 1, "{most} at a time");
                    Ok(String::new())
                });
            }
            for name in ["one", "another"] {
                suite.test(name, LATE, move |_| {
                    let most = most_for(if lanes == 1 { AWHILE } else { LATE }, 2);
                    anyhow::ensure!(most == lanes, "{most} at a time");
                    Ok(String::new())
                });
            }
            assert_eq!(carry_out(suite, lanes, None).num_passed, 4, "{lanes} lanes");
        };
        check(2);
        check(1);
    }

    #[test]
    fn what_is_needed_is_waited_for_unless_it_is_left_out() {
        let suite = || {
            let mut suite = Suite::new();
            let need = suite.test("needed", LATE, |_| {
                thread::sleep(AWHILE);
                bail!("on purpose")
            });
            suite.needs(need);
            suite.test("another", LATE, |_| Ok(String::new()));
            suite
        };
        let conclusion = carry_out(suite(), 2, None);
        assert_eq!((conclusion.num_failed, conclusion.num_ignored), (1, 1));
        assert_eq!(carry_out(suite(), 2, Some("another")).num_passed, 1);
    }

    #[test]
    fn a_lane_that_panics_with_what_is_needed_keeps_no_other_waiting() {
        /// Is too much for a worker: what a panic left behind panics when it is dropped.
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("on purpose");
            }
        }
        let mut suite = Suite::new();
        let need = suite.test("needed", LATE, |_| {
            thread::sleep(AWHILE);
            std::panic::panic_any(Bomb)
        });
        suite.needs(need);
        suite.test("another", LATE, |_| Ok(String::new()));
        let conclusion = carry_out(suite, 2, None);
        assert_eq!((conclusion.num_failed, conclusion.num_ignored), (1, 1));
    }
}

//! The tests, run one after the other by libtest-mimic, a line each.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use lab::system::{command, paths, tools};
use libtest_mimic::{Arguments, Completion, Trial};

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
    has_failed: Arc<AtomicBool>,
}

/// The tests to be run.
pub(crate) struct Suite {
    tests: Vec<Trial>,
    needs: Vec<Need>,
    logs: PathBuf,
}

impl Suite {
    pub(crate) fn new() -> Self {
        Self { tests: Vec::new(), needs: Vec::new(), logs: paths::target().join("test-logs") }
    }

    /// Adds a test that has so long to end.
    pub(crate) fn test(
        &mut self,
        name: &str,
        deadline: Duration,
        body: impl FnOnce(&Path) -> Result<String> + Send + 'static,
    ) -> Need {
        let need = Need { name: name.into(), has_failed: Arc::default() };
        let (this, needs) = (need.clone(), self.needs.clone());
        let log = self.logs.join(format!("{}.log", name.replace([' ', '/', ':', '=', ','], "-")));
        let run = move || {
            let completion = run(&this.name, &needs, deadline, Box::new(body), &log);
            this.has_failed.store(completion.is_err(), Relaxed);
            completion.map_err(|error| format!("{error:#}").into())
        };
        self.tests.push(Trial::ignorable_test(name, run));
        need
    }

    /// What the tests are called.
    #[cfg(test)]
    pub(crate) fn titles(&self) -> impl Iterator<Item = &str> {
        self.tests.iter().map(Trial::name)
    }

    /// The tests added from now on are carried out only if that one did not fail.
    pub(crate) fn needs(&mut self, need: Need) {
        self.needs.push(need);
    }

    /// Runs those whose name contains `filter`, or lists them. Says in the end what came out.
    pub(crate) fn run(self, filter: Option<String>, list: bool) -> Result<ExitCode> {
        let lock = paths::target().join("test-logs.lock");
        let lock = fs::File::create(&lock).with_context(|| lock.display().to_string())?;
        let mut arguments =
            Arguments { filter, list, test_threads: Some(1), ..Arguments::default() };
        if !list {
            if lock.try_lock().is_err() {
                bail!(
                    "another `cargo xtask test` is running, and has its logs in {}",
                    self.logs.display()
                );
            }
            if self.logs.exists() {
                fs::remove_dir_all(&self.logs).with_context(|| self.logs.display().to_string())?;
            }
            fs::create_dir_all(&self.logs).with_context(|| self.logs.display().to_string())?;
            // Its own words go there: ours have seconds, remarks and logs.
            let words = self.logs.join("libtest.log");
            arguments.logfile = Some(words.display().to_string());
        }
        let conclusion = libtest_mimic::run(&arguments, self.tests);
        if list {
            return Ok(ExitCode::SUCCESS);
        }
        let (passed, failed) = (conclusion.num_passed, conclusion.num_failed);
        let skipped = conclusion.num_ignored;
        println!();
        if passed + failed + skipped == 0 {
            println!("no test has {:?} in its name", arguments.filter.unwrap_or_default());
        }
        let results = self.logs.join("junit.xml");
        junit::write(&results)?;
        println!("logs: {}, results for CI: {}", self.logs.display(), results.display());
        let skipped_too = if skipped > 0 { format!(", {skipped} skipped") } else { String::new() };
        if let Some(restarts) = restarts::said() {
            println!("{restarts}");
        }
        println!("{passed} passed, {failed} failed{skipped_too}");
        let is_good = failed == 0 && passed > 0;
        Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Runs one test, and prints its line.
fn run(
    name: &str,
    needs: &[Need],
    deadline: Duration,
    body: Body,
    log: &Path,
) -> Result<Completion> {
    static WORKER: Mutex<Option<Worker>> = Mutex::new(None);
    let started = Instant::now();
    let result = match needs.iter().find(|need| need.has_failed.load(Relaxed)) {
        Some(need) => Err(Skipped(format!("`{}` failed", need.name)).into()),
        None => {
            let mut worker = WORKER.lock().expect("a worker catches panics");
            Worker::run(&mut worker, body, log, deadline)
        }
    };
    let seconds = started.elapsed().as_secs_f64();
    match result {
        Ok(remark) => {
            junit::note(name, started.elapsed(), &junit::Outcome::Passed(&remark));
            let separator = if remark.is_empty() { "" } else { ": " };
            println!("test {name} ... ok{separator}{remark} ({seconds:.1} s)");
            Ok(Completion::Completed)
        }
        Err(error) if is_for_want(&error) => {
            let why = format!("{error:#}");
            junit::note(name, started.elapsed(), &junit::Outcome::Skipped(&why));
            println!("test {name} ... ignored, {error:#}");
            Ok(Completion::ignored_with(why))
        }
        Err(error) => {
            let why = format!("{error:#}");
            junit::note(name, started.elapsed(), &junit::Outcome::Failed(&why));
            println!("test {name} ... FAILED ({seconds:.1} s)\n    {error:#}");
            if log.exists() {
                let text = fs::read(log).unwrap_or_default();
                let tail = command::tail(&String::from_utf8_lossy(&text), TAIL);
                println!("  the end of {}:\n{tail}", log.display());
            }
            Err(error)
        }
    }
}

/// Whether a test failed only for want of something that this machine does not have.
fn is_for_want(error: &anyhow::Error) -> bool {
    error.is::<Skipped>() || error.is::<tools::Missing>()
}

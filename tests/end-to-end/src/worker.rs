//! A thread that tests run in, so that one that panics or hangs is not the end of all.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        atomic::{AtomicU32, Ordering::Relaxed},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::Duration,
};

use anyhow::{Result, anyhow};
use lab::system::process;

/// What a test does: it may write to the log it is given, and returns what is worth saying about
/// its success.
pub(crate) type Body = Box<dyn FnOnce(&Path) -> Result<String> + Send>;

/// For a test that is out of time to notice that its processes are gone.
const MOMENT: Duration = Duration::from_secs(10);

/// The thread. One runs all tests of a lane: processes die with the thread that started them, and
/// what tests share has to outlive the first of them.
pub(crate) struct Worker {
    /// The thread's, and that of all threads that tests start: what they leave is found by it.
    name: String,
    jobs: Sender<(Body, PathBuf)>,
    results: Receiver<Result<String>>,
}

impl Worker {
    fn start() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("tests-{}", COUNT.fetch_add(1, Relaxed));
        let (jobs, inbox) = channel::<(Body, PathBuf)>();
        let (outbox, results) = channel();
        let work = move || {
            for (body, log) in inbox {
                let result = catch_unwind(AssertUnwindSafe(|| body(&log)));
                let result =
                    result.unwrap_or_else(|panic| Err(anyhow!("panicked: {}", words(&panic))));
                if outbox.send(result).is_err() {
                    break;
                }
            }
        };
        thread::Builder::new().name(name.clone()).spawn(work).expect("a thread is to be had");
        Self { name, jobs, results }
    }

    /// Runs a test in the worker, or in a new one if there is none. One that does not end in time
    /// loses its processes, and if it still does not end, it is left behind with its worker.
    pub(crate) fn run(
        worker: &mut Option<Self>,
        body: Body,
        log: &Path,
        deadline: Duration,
    ) -> Result<String> {
        let running = worker.get_or_insert_with(Self::start);
        running.jobs.send((body, log.into())).expect("a worker only ends when it is dropped");
        match running.results.recv_timeout(deadline) {
            Ok(result) => return result,
            Err(RecvTimeoutError::Disconnected) => unreachable!("it catches panics"),
            Err(RecvTimeoutError::Timeout) => {}
        }
        let killed = process::kill_started_by(&running.name);
        if running.results.recv_timeout(MOMENT).is_err() {
            *worker = None;
        }
        killed?;
        Err(anyhow!("did not end within {} s", deadline.as_secs_f64()))
    }
}

/// What a panic said.
fn words(panic: &Box<dyn Any + Send>) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no words")
}

#[cfg(test)]
mod tests {
    use std::{process::Command, sync::atomic::AtomicBool, time::Instant};

    use super::*;

    /// For a test that is to end by itself, on a machine however busy.
    const LATE: Duration = Duration::from_secs(60);
    const SOON: Duration = Duration::from_millis(200);

    fn run(
        worker: &mut Option<Worker>,
        deadline: Duration,
        body: impl FnOnce() -> String + Send + 'static,
    ) -> String {
        let body = Box::new(move |_: &Path| Ok(body()));
        match Worker::run(worker, body, Path::new("log"), deadline) {
            Ok(said) => said,
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn a_panic_is_a_failure_and_the_worker_goes_on() {
        let mut worker = None;
        assert_eq!(
            run(&mut worker, LATE, || panic!("on purpose, {}", 1)),
            "error: panicked: on purpose, 1"
        );
        assert!(worker.is_some());
        assert_eq!(run(&mut worker, LATE, || "fine".into()), "fine");
    }

    #[test]
    fn a_test_that_hangs_loses_its_processes_and_then_its_worker() {
        let mut worker = None;
        let started = Instant::now();
        let said = run(&mut worker, SOON, || {
            let _ = Command::new("sleep").arg("600").status();
            "woken".into()
        });
        assert_eq!(said, "error: did not end within 0.2 s");
        assert!(worker.is_some() && started.elapsed() < MOMENT, "its process was not killed");

        static STOP: AtomicBool = AtomicBool::new(false);
        run(&mut worker, SOON, || {
            while !STOP.load(Relaxed) {
                thread::sleep(Duration::from_millis(10));
            }
            String::new()
        });
        assert!(worker.is_none());
        STOP.store(true, Relaxed);
        assert_eq!(run(&mut worker, LATE, || "another".into()), "another");
    }
}

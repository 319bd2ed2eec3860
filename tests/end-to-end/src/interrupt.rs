//! The tool, told to end at a moment that nobody chose.

use std::{
    fs,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Child, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail, ensure};
use lab::system::process::Guard;
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    migrations::path,
    program::xtask,
    suite::{MINUTES, Suite},
};

/// How often; half of it by each signal.
const TIMES: usize = 6;
/// A migration on this machine takes about as long.
const LENGTH: Duration = Duration::from_secs(12);
/// For the tool to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// With the status that each ends the tool with.
const SIGNALS: [(Signal, i32); 3] = [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)];

pub(crate) fn add(suite: &mut Suite) {
    suite.test("interrupted at any moment, the tool leaves nothing", MINUTES, interrupted);
}

fn interrupted(log: &Path) -> Result<String> {
    let mut moments = Vec::new();
    for time in 0..TIMES {
        let temporary = tempfile::tempdir()?;
        let report = log.with_extension("report");
        let out = fs::File::create(log)?;
        let mut tool = Guard::command(xtask()?.get_program());
        tool.args(["migrate", "--lab", "local", "--seconds", "1", "--report", path(&report)?])
            .env("TMPDIR", temporary.path())
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out);
        let mut tool = Guard::spawn(&mut tool)?;
        let moment = LENGTH.mul_f64(fraction());
        thread::sleep(moment);
        let (signal, status) = SIGNALS[time % SIGNALS.len()];
        let during = format!("{signal:?} after {:.2} s", moment.as_secs_f64());
        // One that is done by now has nothing to clear away either.
        let _ = kill_process(Pid::from_child(&tool), signal);
        let ended = wait(&mut tool).with_context(|| during.clone())?;
        ensure!(ended.success() || ended.code() == Some(status), "{during}: {ended}");
        let left: Vec<_> = fs::read_dir(temporary.path())?.collect::<Result<_, _>>()?;
        ensure!(left.is_empty(), "{during}: {left:?} is left");
        let running = running_with(temporary.path())?;
        ensure!(running.is_empty(), "{during}: {running:?} run on");
        moments.push(during);
    }
    Ok(moments.join(", "))
}

fn wait(tool: &mut Child) -> Result<ExitStatus> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = tool.try_wait()? {
            ensure!(status.signal().is_none(), "the tool did not handle it ({status})");
            return Ok(status);
        }
        if Instant::now() > deadline {
            bail!("the tool did not end within {} s", PATIENCE.as_secs());
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Processes with that directory for temporary files: the tool's, and no others.
fn running_with(temporary: &Path) -> Result<Vec<String>> {
    let variable = format!("TMPDIR={}", temporary.display());
    let mut running = Vec::new();
    for entry in fs::read_dir("/proc")?.filter_map(Result::ok) {
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        if environment.split(|byte| *byte == 0).any(|entry| entry == variable.as_bytes()) {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            running.push(String::from_utf8_lossy(&line).replace('\0', " "));
        }
    }
    Ok(running)
}

/// Between 0 and 1, another each time.
fn fraction() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    f64::from(now.subsec_micros() % 1_000) / 1_000.0
}

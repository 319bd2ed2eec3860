//! `cargo xtask run`, as people run it.

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use lab::{
    addresses::HTTP_PORT,
    build::crates,
    guest::{Guest, READY},
    system::process::Guard,
};

use crate::{
    program::xtask,
    suite::{MINUTES, Suite},
    tap::Tap,
};

const TAP: &str = "godwit-run";
const OURS: &str = "10.83.0.1";
const GUEST: Ipv4Addr = Ipv4Addr::new(10, 83, 0, 2);
/// For an answer of a guest in software on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Long enough to be ready in.
const TIMEOUT: Duration = Duration::from_secs(20);

pub(crate) fn add(suite: &mut Suite) {
    suite.test("run --net tap serves on a tap device", MINUTES, on_a_tap);
    suite.test("run --timeout ends with 124, and not before", MINUTES, timed_out);
}

fn on_a_tap(log: &Path) -> Result<String> {
    let _tap = Tap::new(TAP, &format!("{OURS}/24"))?;
    // Which gives it a /sys where the device is.
    let mut run = Guard::command("ip");
    run.args(["netns", "exec", TAP]).arg(crates::xtask()?);
    run.args(["run", "--accel", "tcg", "--net", &format!("tap:{TAP}")]);
    run.args(["--append", &format!("ip={GUEST}/24 gw={OURS}")]);
    let mut guest = Guest::spawn(&mut run, log)?;
    guest.wait_for(READY)?;
    let mut stream = TcpStream::connect((GUEST, HTTP_PORT))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET / HTTP/1.1\r\nHost: guest\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    ensure!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    Ok(String::new())
}

fn timed_out(log: &Path) -> Result<String> {
    let started = Instant::now();
    let out = fs::File::create(log)?;
    let mut tool = xtask()?;
    tool.args(["run", "--accel", "tcg", "--timeout", &TIMEOUT.as_secs().to_string()]);
    let status = tool.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out).status()?;
    ensure!(status.code() == Some(124), "it ended with {status}");
    ensure!(started.elapsed() >= TIMEOUT, "it ended after {:?}", started.elapsed());
    let said = fs::read_to_string(log)?;
    ensure!(said.contains(READY), "what ended was no guest that ran");
    Ok(String::new())
}

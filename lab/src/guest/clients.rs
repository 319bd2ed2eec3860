//! Programs of this machine that ask a guest, by a port that is forwarded to it.

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket},
    process::Command,
    sync::{
        LazyLock,
        atomic::{AtomicU16, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::system::{
    command,
    tools::{self, Tool},
};

/// For an answer of a guest in software on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// For a server in a guest to open its port again.
const REOPENING: Duration = Duration::from_secs(10);

/// One HTTP request, to the end of the answer, by somebody who has `token`.
///
/// # Errors
/// The guest does not answer.
pub fn request(port: u16, method: &str, path: &str, token: Option<&str>) -> Result<String> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    request_by(stream, method, path, token)
}

/// The same by a connection that is there, which waits no longer than it has been told to.
///
/// # Errors
/// The guest does not answer.
pub fn request_by(
    mut stream: impl Read + Write,
    method: &str,
    path: &str,
    token: Option<&str>,
) -> Result<String> {
    let credentials =
        token.map_or(String::new(), |token| format!("Authorization: Bearer {token}\r\n"));
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: guest\r\n{credentials}\
         Content-Length: 0\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).with_context(|| format!("{method} {path}"))?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Runs iperf3 against a port of this machine and returns what was received in bits a second.
///
/// # Errors
/// iperf3 is not there, or received nothing.
pub fn iperf3(port: u16, arguments: &[&str]) -> Result<f64> {
    tools::require("measuring throughput", &[Tool::program("iperf3", "iperf3")])?;
    let output = command::run(
        Command::new("iperf3")
            .args(["--client", "127.0.0.1", "--json", "--port", &port.to_string()])
            .args(arguments),
    )?;
    iperf3_rate(&output.stdout)
}

/// What was received in bits a second, of what iperf3 says with `--json`.
///
/// # Errors
/// It is no result, or nothing was received.
pub fn iperf3_rate(said: &[u8]) -> Result<f64> {
    let result: serde_json::Value = serde_json::from_slice(said).context("iperf3's result")?;
    if let Some(error) = result["error"].as_str() {
        bail!("iperf3: {error}");
    }
    let sum = [&result["end"]["sum_received"], &result["end"]["sum"]]
        .into_iter()
        .find(|sum| sum["bytes"].as_u64().is_some_and(|bytes| bytes > 0))
        .with_context(|| format!("iperf3 transferred nothing: {}", result["end"]))?;
    sum["bits_per_second"].as_f64().context("no rate in iperf3's result")
}

/// The same soon after another run: iperf3's own server closes its port between two of them, and
/// opens it again. On a busy machine it may still be with the first.
///
/// # Errors
/// As those of [`iperf3`].
pub fn iperf3_after_another(port: u16, arguments: &[&str]) -> Result<f64> {
    let deadline = Instant::now() + REOPENING;
    loop {
        match iperf3(port, arguments) {
            Err(error) if is_between(&error) && Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(200));
            }
            result => return result,
        }
    }
}

/// Behind a forwarded port every connection is made, and one to a closed port ends at once: in
/// iperf3's words, one of these.
fn is_between(error: &anyhow::Error) -> bool {
    const WORDS: [&str; 4] = ["reset by peer", "closed unexpectedly", "refused", "server is busy"];
    let text = format!("{error:#}");
    WORDS.iter().any(|words| text.contains(words))
}

/// A port nobody has, TCP and UDP, and none that was given out before in this process. It is below
/// those that Linux takes for clients (`ip_local_port_range`, from 32768 on): between this answer
/// and the guest's start there may be thousands of those.
///
/// # Errors
/// None was found.
pub fn free_port() -> Result<u16> {
    const FIRST: u16 = 16384;
    const COUNT: u16 = 16384;
    /// Where it starts is chance, so that two runs side by side do not meet.
    static NEXT: LazyLock<AtomicU16> =
        LazyLock::new(|| AtomicU16::new(RandomState::new().build_hasher().finish() as u16));
    for _ in 0..100 {
        let port = FIRST + NEXT.fetch_add(1, Relaxed) % COUNT;
        let address = (Ipv4Addr::LOCALHOST, port);
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port of this machine is free for both TCP and UDP")
}

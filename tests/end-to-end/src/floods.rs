//! Floods from made-up addresses, with other clients served meanwhile and memory bounded, on a tap
//! device of this machine.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::OwnedFd,
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use etherparse::{IpFragOffset, IpNumber, Ipv4Header, PacketBuilder};
use lab::{
    guest::clients,
    system::{
        command,
        tools::{self, Tool},
    },
};
use rustix::net::{AddressFamily, SendFlags, SocketType, ipproto, sendto, socket};
use serde_json::Value;

use crate::{
    suite::{MINUTES, Suite},
    tap::Tap,
};

const TAP: &str = "godwit-floods";
const OURS: &str = "10.81.0.1";
const GUEST: Ipv4Addr = Ipv4Addr::new(10, 81, 0, 2);
/// Packets a second, and how long they come.
const RATE: u32 = 10_000;
const SECONDS: u64 = 10;
/// Of each second, in which a batch is sent.
const BATCHES: u32 = 100;
/// What a client that connects while others do may take, in software on a busy machine.
const PATIENCE: &str = "3";
/// Heap that may be in use afterwards and was not before, in bytes: what was allocated for clients.
const SLACK: u64 = 2 << 20;
/// Of the speed before, what there is afterwards at least: a busy machine has noise.
const SPEED: f64 = 0.5;

pub(crate) fn add(suite: &mut Suite) {
    suite.alone("a flood of SYNs keeps nobody out", MINUTES, |log| flood(log, syn));
    suite.alone("a flood of fragments keeps nobody out", MINUTES, |log| flood(log, fragment));
}

/// The `n`th packet of a flood. Half of them come from the guest's link, half from elsewhere.
type Packet = fn(u32) -> Result<Vec<u8>>;

fn source(n: u32) -> [u8; 4] {
    let [_, a, b, c] = n.wrapping_mul(0x9e37_79b1).to_be_bytes();
    if n.is_multiple_of(2) { [10, 81, 1 | a, b] } else { [198, 18 | a & 1, b, c] }
}

fn syn(n: u32) -> Result<Vec<u8>> {
    let ports = (1024 + (n % 60_000) as u16, [80, 5201, 7][n as usize % 3]);
    let packet = PacketBuilder::ipv4(source(n), GUEST.octets(), 64);
    let packet = packet.tcp(ports.0, ports.1, n, 64_000).syn();
    let mut bytes = Vec::new();
    packet.write(&mut bytes, &[])?;
    Ok(bytes)
}

/// The first part of a datagram whose rest never comes.
fn fragment(n: u32) -> Result<Vec<u8>> {
    const PART: usize = 1400;
    let mut header = Ipv4Header::new(PART as u16, 64, IpNumber::UDP, source(n), GUEST.octets())?;
    header.identification = (n >> 4) as u16;
    (header.dont_fragment, header.more_fragments) = (false, true);
    // At the front and far behind, as who wants to take up memory has it.
    header.fragment_offset = IpFragOffset::try_new([0, 8000][n as usize % 2])?;
    header.header_checksum = header.calc_header_checksum();
    let mut bytes = Vec::new();
    header.write(&mut bytes)?;
    bytes.resize(bytes.len() + PART, n as u8);
    Ok(bytes)
}

fn flood(log: &Path, packet: Packet) -> Result<String> {
    let tools = [Tool::program("curl", "curl"), Tool::program("iperf3", "iperf3")];
    tools::require("this test", &tools)?;
    let tap = Tap::new(TAP, &format!("{OURS}/16"))?;
    let _guest = tap.boot(log, &format!("ip={GUEST}/16 gw={OURS}"))?;
    let before = iperf3()?;
    let heap = heap_in_use()?;

    let is_over = AtomicBool::new(false);
    let (sent, served, most) = thread::scope(|scope| {
        let flood = scope.spawn(|| send(packet, &is_over));
        let served = serve();
        is_over.store(true, Relaxed);
        let sent = flood.join().expect("it does not panic")?;
        let (served, most) = served?;
        Ok::<_, anyhow::Error>((sent, served, most))
    })?;
    let wanted = u64::from(RATE) * SECONDS;
    ensure!(sent >= wanted * 8 / 10, "only {sent} of {wanted} packets were sent");

    let left = heap_in_use()?;
    ensure!(most <= heap + SLACK, "the heap grew from {heap} to {most} bytes meanwhile");
    ensure!(left <= heap + SLACK, "the heap grew from {heap} to {left} bytes");
    let after = iperf3()?;
    ensure!(after > before * SPEED, "{before:.0} Mbit/s before, {after:.0} after");
    Ok(format!(
        "{sent} packets, {served} requests served, heap {heap} {most} {left}, \
         {before:.0} and {after:.0} Mbit/s"
    ))
}

/// Sends packets at their rate, until it is over. Returns how many.
fn send(packet: Packet, is_over: &AtomicBool) -> Result<u64> {
    let raw: OwnedFd =
        socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::RAW)).context("a raw socket")?;
    let guest = SocketAddrV4::new(GUEST, 0);
    let (start, mut sent) = (Instant::now(), 0);
    for batch in 0.. {
        if is_over.load(Relaxed) {
            break;
        }
        for _ in 0..RATE / BATCHES {
            // A full queue drops it.
            if sendto(&raw, &packet(sent)?, SendFlags::DONTWAIT, &guest).is_ok() {
                sent += 1;
            }
        }
        let next = start + Duration::from_secs(1) * (batch + 1) / BATCHES;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    Ok(sent.into())
}

/// Has requests served while it lasts. Returns how many, and the most that the heap had in use.
fn serve() -> Result<(usize, u64)> {
    let (start, mut served, mut most) = (Instant::now(), 0, 0);
    while start.elapsed() < Duration::from_secs(SECONDS) {
        most = most.max(heap_in_use().with_context(|| format!("after {served} requests"))?);
        served += 1;
        thread::sleep(Duration::from_millis(100));
    }
    Ok((served, most))
}

fn heap_in_use() -> Result<u64> {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--max-time", PATIENCE]);
    let said = command::run(curl.arg(format!("http://{GUEST}/status.json")))?;
    let memory = &serde_json::from_slice::<Value>(&said.stdout)?["memory"];
    let [heap, free] = ["heap", "heap_free"].map(|name| memory[name].as_u64());
    Ok(heap.context("no heap")? - free.context("no free heap")?)
}

fn iperf3() -> Result<f64> {
    let mut iperf3 = Command::new("iperf3");
    iperf3.args(["--client", &GUEST.to_string(), "--json", "--time", "2"]);
    Ok(clients::iperf3_rate(&command::run(&mut iperf3)?.stdout)? / 1e6)
}
